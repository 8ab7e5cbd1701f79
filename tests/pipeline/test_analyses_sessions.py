"""Sessions, their ends, proofs between polls and recurrence, on hand-made frames."""

from __future__ import annotations

import itertools
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellherd.faults import catalogue
from pipeline.analyses.causes import CAUSE, FAMILY, FAULTS_OF
from pipeline.analyses.endings import endings
from pipeline.analyses.episodes import episodes
from pipeline.analyses.proofs import proven, restarts
from pipeline.analyses.recurrence import one_over_midnight, recurrence
from pipeline.analyses.sessions import sessions
from pipeline.analyses.steps import steps
from pipeline.days import local_day
from pipeline.limits import DAY as DAY_MS
from pipeline.limits import HOUR, LFP
from tests.pipeline.fleets import DAY, MIDNIGHT, MINUTE, frame, reading

OV, UV, PACK = "cell_overvoltage_protection", "cell_undervoltage_protection", "pack_overvoltage_protection"
RUN = {"unit": pl.String, "fault": pl.String, "start": pl.Int64, "end": pl.Int64}
SESSION = {
    "site": pl.String,
    "unit": pl.String,
    "cause": pl.String,
    "start": pl.Int64,
    "end": pl.Int64,
    "ended_by": pl.String,
    "n_chatter": pl.Int64,
    "weight": pl.Float64,
    "danger": pl.Boolean,
}


def joined(*runs: tuple[str, str, int, int]) -> list[dict[str, Any]]:
    """Sessions of runs given in minutes."""
    rows = [(unit, fault, a * MINUTE, b * MINUTE) for unit, fault, a, b in runs]
    said = pl.LazyFrame(rows, schema=RUN, orient="row")
    return sessions(said, ["unit"], LFP.lockouts.session_ms).collect().to_dicts()


def test_every_lockout_of_the_catalogue_has_a_cause_and_every_cause_a_family() -> None:
    cutting = {f.id for f in catalogue().values() if f.severity in ("protection", "lockout") and f.priority < 4}
    elsewhere = {"repeat_lockout", "station_inverter_fault", "station_dc_output_fault"}
    assert cutting - CAUSE.keys() == elsewhere
    assert CAUSE.keys() <= catalogue().keys()
    assert FAULTS_OF.keys() == FAMILY.keys()


def test_flags_less_than_half_an_hour_apart_are_one_session() -> None:
    (one,) = joined(("a", OV, 0, 10), ("a", OV, 40, 50))
    assert (one["start"], one["end"], one["n_chatter"]) == (0, 50 * MINUTE, 1)
    assert len(joined(("a", OV, 0, 10), ("a", OV, 41, 50))) == 2


def test_a_long_flag_keeps_a_session_open_over_shorter_ones() -> None:
    assert len(joined(("a", OV, 0, 100), ("a", UV, 10, 12), ("a", OV, 125, 130))) == 1


def test_the_first_fault_is_the_trigger_and_of_two_at_once_the_more_telling() -> None:
    (one,) = joined(("a", PACK, 5, 9), ("a", OV, 5, 8), ("a", UV, 6, 7))
    assert (one["fault"], one["cause"], one["causes"]) == (OV, "OV_CELL", "OV_CELL OV_PACK UV_CELL")


def test_units_do_not_share_sessions_and_benign_faults_make_none() -> None:
    assert [s["unit"] for s in joined(("a", OV, 0, 5), ("b", OV, 1, 6))] == ["a", "b"]
    assert joined(("a", "full_charge_reached", 0, 5), ("a", "cell_overvoltage_warning", 0, 5)) == []


RUNS = st.lists(
    st.tuples(st.sampled_from("ab"), st.sampled_from([OV, UV, PACK]), st.integers(0, 900), st.integers(0, 60))
)


@settings(max_examples=25, deadline=None)
@given(RUNS)
def test_sessions_do_not_overlap_cover_every_run_and_do_not_depend_on_order(
    spans: list[tuple[str, str, int, int]],
) -> None:
    runs = [(unit, fault, a, a + length) for unit, fault, a, length in spans]
    found = joined(*runs)
    assert found == joined(*reversed(runs))
    for unit, _, a, b in runs:
        inside = [s for s in found if s["unit"] == unit and s["start"] <= a * MINUTE and b * MINUTE <= s["end"]]
        assert len(inside) == 1
    for one, other in itertools.pairwise(found):
        assert one["unit"] != other["unit"] or other["start"] - one["end"] > LFP.lockouts.session_ms


def ended(rows: list[dict[str, Any]], again: tuple[int, ...] = ()) -> list[str]:
    ordered = steps(frame(rows).lazy(), LFP).collect().lazy()
    day = local_day(DAY, "UTC")
    found = sessions(episodes(ordered, day, LFP), ["unit"], LFP.lockouts.session_ms)
    known = pl.LazyFrame(
        [("u1", MIDNIGHT + t) for t in again], schema={"unit": pl.String, "ts": pl.Int64}, orient="row"
    )
    return endings(found, ordered, known, day, LFP.lockouts).collect()["ended_by"].to_list()


def minutes(
    fault: str = OV, lasts: tuple[int, int] = (100, 110), silent: tuple[int, int] = (0, 0), **after: Any
) -> list[dict[str, Any]]:
    """A reading a minute; silence has none, and `after` it the readings say something else."""
    return [
        reading(
            n * MINUTE,
            (3300,) * 4,
            faults=fault if lasts[0] <= n < lasts[1] else "",
            **(after if n >= lasts[1] else {}),
        )
        for n in range(300)
        if not silent[0] <= n < silent[1]
    ]


def test_a_flag_that_goes_while_readings_come_is_released_by_itself() -> None:
    assert ended(minutes()) == ["auto_release"]


def test_silence_of_some_minutes_with_the_same_charge_after_it_is_a_reset() -> None:
    assert ended(minutes(silent=(105, 110))) == ["reset"]
    assert ended(minutes(silent=(105, 110), soc_pm=560)) == ["auto_release"]
    assert ended(minutes(silent=(105, 150))) == ["unknown"]


def test_of_slow_polls_a_reset_hides_one() -> None:
    rows = [row for n, row in enumerate(minutes()) if n % 5 == 0]
    assert ended(rows) == ["auto_release"]
    end = next(n for n in range(1, len(rows)) if rows[n - 1]["faults"] and not rows[n]["faults"])
    assert ended([*rows[:end], *rows[end + 1 :]]) == ["reset"]


def test_a_device_that_says_that_it_began_anew_was_switched_off_and_on() -> None:
    assert ended(minutes(silent=(105, 110)), again=(111 * MINUTE,)) == ["power_cycle"]
    assert ended(minutes(), again=(200 * MINUTE,)) == ["auto_release"]


def test_a_path_switched_by_command_is_manual_and_a_standing_fault_is_unknown() -> None:
    assert ended(minutes(fault=f"{OV} software_lock")) == ["manual"]
    rows = [reading(n * MINUTE, (3300,) * 4, faults=OV if n >= 1400 else "") for n in range(1440)]
    assert ended(rows) == ["unknown"]


COUNTER = {"site": pl.String, "unit": pl.String, "name": pl.String, "ts": pl.Int64, "value": pl.Int64}
LOG = {"site": pl.String, "unit": pl.String, "code": pl.String, "device_ts": pl.Int64}
PLACED = {"site": pl.String, "unit": pl.String, "fault": pl.String, "start": pl.Int64, "end": pl.Int64}


def proofs(
    counters: list[tuple[Any, ...]], log: list[tuple[Any, ...]], runs: list[tuple[Any, ...]]
) -> list[tuple[Any, ...]]:
    frames = [
        pl.LazyFrame([("barn", "u1", *row) for row in rows], schema=schema, orient="row")
        for rows, schema in ((counters, COUNTER), (log, LOG), (runs, PLACED))
    ]
    return proven(*frames).select("fault", "start").collect().rows()


@pytest.mark.parametrize(
    ("seen", "expected"),
    [([], [(OV, 9 * HOUR)]), ([(OV, 5 * HOUR, 5 * HOUR + 9)], []), ([(UV, 5 * HOUR, 5 * HOUR)], [(OV, 9 * HOUR)])],
)
def test_a_trip_counter_that_grew_proves_a_lockout_that_no_poll_saw(seen: list[Any], expected: list[Any]) -> None:
    counted = [("trips_cell_overvoltage", 0, 3), ("trips_cell_overvoltage", 9 * HOUR, 4)]
    assert proofs(counted, [], seen) == expected


def test_a_counters_first_value_and_a_reset_one_prove_nothing() -> None:
    assert proofs([("trips_cell_overvoltage", 0, 3), ("trips_cell_overvoltage", 9, 0)], [], []) == []


def test_the_bms_own_log_proves_lockouts_at_its_own_time() -> None:
    trip, release = ("17", 3 * HOUR), ("18", 4 * HOUR)
    assert proofs([], [trip, release], []) == [(OV, 3 * HOUR)]
    assert proofs([], [trip], [(OV, 3 * HOUR + MINUTE // 2, 4 * HOUR)]) == []


def test_an_uptime_that_falls_is_a_restart() -> None:
    rows = [("barn", "u1", "uptime_s", n, v) for n, v in enumerate((100, 160, 5, 65))]
    assert restarts(pl.LazyFrame(rows, schema=COUNTER, orient="row")).collect()["ts"].to_list() == [2]


def chained(*spans: tuple[float, float, str], cause: str = "OV_CELL") -> list[dict[str, Any]]:
    """Sessions given as (start, end, ended_by), hours."""
    rows = [("barn", "u1", cause, round(a * HOUR), round(b * HOUR), how, 0, 1.0, False) for a, b, how in spans]
    said = pl.LazyFrame(rows, schema=SESSION, orient="row")
    return recurrence(said, LFP.lockouts).collect().to_dicts()


def test_the_same_cause_within_a_week_is_a_recurrence_and_later_a_new_one() -> None:
    week = 7 * 24.0
    assert [s["again"] for s in chained((0, 1, "auto_release"), (1 + week, 170, "auto_release"))] == [False, True]
    assert [s["again"] for s in chained((0, 1, "auto_release"), (1.1 + week, 170, "auto_release"))] == [False, False]


@pytest.mark.parametrize(
    ("how", "hours", "expected"),
    [("reset", 24, True), ("reset", 25, False), ("auto_release", 2, False), ("power_cycle", 2, True)],
)
def test_back_within_a_day_of_a_reset_says_that_the_cause_was_not_removed(
    how: str, hours: float, expected: bool
) -> None:
    assert chained((0, 1, how), (1 + hours, 30, "unknown"))[1]["after_reset"] is expected


def test_a_chain_counts_its_sessions_and_resets() -> None:
    last = chained((0, 1, "reset"), (5, 6, "reset"), (100, 101, "auto_release"))[-1]
    assert (last["chain_n"], last["chain_resets"], round(last["chain_days"], 2)) == (3, 2, round(100 / 24, 2))


def test_a_session_over_midnight_is_stored_in_two_rows_and_counted_once() -> None:
    rows = [
        ("barn", "u1", "OV_CELL", a, b, how, 0, 1.0, False)
        for a, b, how in ((DAY_MS - HOUR, DAY_MS, "unknown"), (DAY_MS, DAY_MS + 5, "reset"))
    ]
    (one,) = one_over_midnight(pl.LazyFrame(rows, schema=SESSION, orient="row"), LFP.lockouts).collect().to_dicts()
    assert (one["start"], one["end"], one["ended_by"]) == (DAY_MS - HOUR, DAY_MS + 5, "reset")
