from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import polars as pl
import pytest

from pipeline.analyses.episodes import episodes
from pipeline.days import local_day
from pipeline.limits import LFP
from pipeline.nightly.site_day import Site, nightly
from tests.pipeline.fleets import DAY, MIDNIGHT, MINUTE, Shelf, frame, reading

BARN = Site("barn", "acme", "UTC")
TRIP = "cell_overvoltage_protection"
EVEN = (3300,) * 4


def minutes(*spans: tuple[int, int], fault: str = TRIP, start: int = 0, stop: int = 1440) -> list[dict[str, Any]]:
    """A reading a minute, with the fault from (inclusive) to (exclusive) each span."""
    return [
        reading(n * MINUTE, EVEN, faults=fault if any(a <= n < b for a, b in spans) else "") for n in range(start, stop)
    ]


def found(rows: list[dict[str, Any]], shelf: Shelf | None = None) -> dict[str, Any] | None:
    shelf = shelf or Shelf(frame(rows))
    answer = nightly(shelf, DAY, [BARN]).findings.filter(pl.col("analysis") == "lockouts")
    return answer.row(0, named=True) if answer.height else None


def runs(rows: list[dict[str, Any]]) -> list[tuple[str, float, float]]:
    answer = episodes(frame(rows).lazy().sort("unit", "ts"), local_day(DAY, "UTC"), LFP).collect()
    return [(fault, (a - MIDNIGHT) / MINUTE, (b - MIDNIGHT) / MINUTE) for _, fault, a, b in answer.iter_rows()]


def test_an_episode_lasts_from_the_first_reading_with_the_fault_to_the_first_without() -> None:
    assert runs(minutes((100, 110), (300, 301))) == [(TRIP, 100, 110), (TRIP, 300, 301)]


def test_two_faults_at_once_are_two_episodes() -> None:
    both = minutes((100, 110), fault="comm_lost " + TRIP)
    assert runs(both) == [(TRIP, 100, 110), ("comm_lost", 100, 110)]


def test_readings_that_do_not_speak_of_faults_end_nothing() -> None:
    rows = [row | ({"faults": None} if 104 <= n < 107 else {}) for n, row in enumerate(minutes((100, 110)))]
    assert runs(rows) == [(TRIP, 100, 110)]


def test_a_flag_that_is_gone_for_seconds_is_the_same_episode() -> None:
    rows = [reading(n * 10_000, EVEN, faults=TRIP if 10 <= n < 20 and n != 15 else "") for n in range(30)]
    assert len(runs(rows)) == 1


def test_a_fault_standing_at_midnight_reaches_to_it() -> None:
    assert runs(minutes((0, 5), (1435, 1440), start=2)) == [(TRIP, 0, 5), (TRIP, 1435, 1440)]


def test_a_fault_standing_when_the_readings_stop_at_noon_ends_there() -> None:
    assert runs(minutes((700, 720), stop=720)) == [(TRIP, 700, 719)]


REPEATS = {
    "once": ([(100, 110)], "ok"),
    "twice": ([(100, 110), (500, 510)], "ok"),
    "three times in a day": ([(100, 110), (500, 510), (900, 910)], "finding"),
    "twice, the second at once": ([(100, 110), (115, 120)], "ok"),
}


@pytest.mark.parametrize("name", REPEATS)
def test_a_repeat_lockout_is_three_in_a_day(name: str) -> None:
    spans, status = REPEATS[name]
    row = found(minutes(*spans))
    assert row is not None
    assert (row["status"], row["pattern"], row["value"]) == (status, TRIP, len(spans))
    assert row["fault"] == ("repeat_lockout" if status == "finding" else TRIP)


@pytest.mark.parametrize("fault", ["full_charge_reached", "user_limit_reached", "cell_overvoltage_warning", "made_up"])
def test_benign_states_and_warnings_never_are(fault: str) -> None:
    assert found(minutes(*((n, n + 5) for n in range(0, 1400, 100)), fault=fault)) is None


def test_two_faults_of_a_unit_are_two_findings() -> None:
    rows = minutes((10, 15), (100, 110), (500, 510), fault=f"{TRIP} cell_undervoltage_protection")
    answer = nightly(Shelf(frame(rows)), DAY, [BARN]).findings.filter(pl.col("analysis") == "lockouts")
    assert answer["pattern"].n_unique() == answer["finding_id"].n_unique() == 2


def earlier(spans: list[tuple[int, int]], days_ago: int) -> list[dict[str, Any]]:
    shift = days_ago * 1440
    return [
        reading((n - shift) * MINUTE, EVEN, faults=TRIP if any(a <= n < b for a, b in spans) else "")
        for n in range(1440)
    ]


def test_five_in_a_week_count_from_the_small_tables_of_earlier_nights() -> None:
    shelf = Shelf(frame([row for ago in (4, 3, 2, 1) for row in earlier([(100, 120)], ago)] + minutes((800, 820))))
    for ago in (4, 3, 2, 1):
        nightly(shelf, DAY - timedelta(days=ago), [BARN])
    shelf.tables["reading"] = shelf.tables["reading"].filter(pl.col("date") == DAY)  # earlier readings are not needed
    row = found([], shelf)
    assert row is not None
    assert (row["status"], row["value"], row["threshold"]) == ("finding", 5, 5)
    assert [entry["id"] for entry in json.loads(row["reasons"])] == ["came_within_7_days"]


def test_back_at_once_on_two_days_is_a_repeat_although_few() -> None:
    shelf = Shelf(frame(earlier([(100, 120), (125, 130)], 3) + minutes((800, 820), (828, 840))))
    nightly(shelf, DAY - timedelta(days=3), [BARN])
    row = found([], shelf)
    assert row is not None
    assert (row["status"], row["value"], row["threshold"]) == ("finding", 2, 2)
    assert [entry["id"] for entry in json.loads(row["reasons"])] == ["back_at_once_after_its_release"]


def test_an_episode_over_midnight_is_one() -> None:
    shelf = Shelf(frame(earlier([(1400, 1440)], 1) + minutes((0, 30), (500, 510))))
    nightly(shelf, DAY - timedelta(days=1), [BARN])
    row = found([], shelf)
    assert row is not None
    assert (row["status"], row["value"]) == ("ok", 2)
