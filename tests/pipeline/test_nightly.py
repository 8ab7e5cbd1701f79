from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipeline.days import local_day
from pipeline.limits import HOUR
from pipeline.nightly.diary import Busy, Diary
from pipeline.nightly.nights import Shift, arrivals, look, work
from pipeline.nightly.site_day import CODE_VERSION, Done, Owed, Site, due, nightly
from pipeline.stores.archive import Archive
from tests.pipeline.fleets import DAY, MIDNIGHT, MINUTE, Shelf, frame, reading

BARN = Site("barn", "acme", "UTC")
LONDON = Site("barn", "acme", "Europe/London")
EVEN = (3300,) * 4
DAILY = ("module_day", "cell_day", "spread_hist", "finding")


def quiet(day: date = DAY, tz: str = "UTC", /, **said: Any) -> list[dict[str, Any]]:
    """A reading every ten minutes of a local day."""
    bounds = local_day(day, tz)
    return [reading(ts - MIDNIGHT, EVEN, **said) for ts in range(bounds.start, bounds.end, 10 * MINUTE)]


@pytest.mark.parametrize(("day", "hours"), [(date(2026, 3, 29), 23), (date(2026, 6, 1), 24), (date(2026, 10, 25), 25)])
def test_a_day_is_as_long_as_the_people_at_the_site_live_it(day: date, hours: int) -> None:
    neighbours = quiet(day - timedelta(days=1), "Europe/London") + quiet(day + timedelta(days=1), "Europe/London")
    shelf = Shelf(frame(quiet(day, "Europe/London") + neighbours))
    nightly(shelf, day, [LONDON])
    row = shelf.tables["module_day"].row(0, named=True)
    assert (row["n"], row["expected"], row["dq"]) == (hours * 6, hours * 6, 0)


def test_a_day_far_from_greenwich_is_read_from_two_partitions() -> None:
    shelf = Shelf(frame(quiet(DAY, "Pacific/Auckland")))
    assert shelf.tables["reading"]["date"].n_unique() == 2
    nightly(shelf, DAY, [Site("barn", "acme", "Pacific/Auckland")])
    assert shelf.tables["module_day"]["n"].to_list() == [144]


def test_a_bank_beside_its_modules_changes_nothing() -> None:
    modules = quiet(current_ma=1_000) + quiet(current_ma=2_000, module="m2", unit="u2")
    bank = quiet(
        current_ma=3_000, module="bank", unit="barn.s1.bank.1", kind="bank", faults="cell_overvoltage_protection"
    )
    alone, beside = Shelf(frame(modules)), Shelf(frame(modules + bank))
    nightly(alone, DAY, [BARN])
    nightly(beside, DAY, [BARN])
    assert all(alone.tables[table].equals(beside.tables[table]) for table in DAILY)
    assert beside.tables["module_day"]["unit"].to_list() == ["u1", "u2"]


@pytest.mark.parametrize("kind", ["station", "inverter", "shunt"])
def test_what_is_no_module_is_in_no_table_of_modules(kind: str) -> None:
    other = quiet(current_ma=3_000, module="x", unit="barn.s1.x.1", kind=kind, faults="cell_overvoltage_protection")
    alone, beside = Shelf(frame(quiet())), Shelf(frame(quiet() + other))
    nightly(alone, DAY, [BARN])
    nightly(beside, DAY, [BARN])
    assert all(alone.tables[table].equals(beside.tables[table]) for table in DAILY)


def test_a_module_without_cells_has_a_day_but_no_finding_about_cells() -> None:
    bounds = local_day(DAY, "UTC")
    rows = [reading(ts - MIDNIGHT, voltage_mv=27_100) for ts in range(bounds.start, bounds.end, 10 * MINUTE)]
    shelf = Shelf(frame(rows))
    nightly(shelf, DAY, [BARN])
    assert shelf.tables["module_day"].select("unit", "n", "dq").rows() == [("u1", 144, 0)]
    assert (shelf.tables["cell_day"].height, shelf.tables["spread_hist"].height) == (0, 0)
    assert {*shelf.tables["finding"]["status"]} <= {"not_observable", "ok"}
    assert shelf.tables["finding"]["cell"].null_count() == shelf.tables["finding"].height


def test_one_serial_at_two_sites_is_two_batteries() -> None:
    rows = quiet(unit="00000000") + quiet(unit="00000000", site="mill", current_ma=5_000)
    shelf = Shelf(frame(rows))
    nightly(shelf, DAY, [BARN, Site("mill", "acme", "UTC")])
    assert shelf.tables["module_day"].select("site", "current_ma_mean").rows() == [("barn", 0.0), ("mill", 5_000.0)]


def test_a_module_that_moved_during_the_day_is_where_it_came_to() -> None:
    rows = quiet()
    moved = [row | {"stack": "s2", "module": "m7"} for row in rows[100:]]
    shelf = Shelf(frame(moved + rows[:100]))
    nightly(shelf, DAY, [BARN])
    assert shelf.tables["module_day"].select("stack", "module", "n").rows() == [("s2", "m7", 144)]


def test_working_a_day_twice_leaves_the_same_tables() -> None:
    shelf = Shelf(frame(quiet(faults="cell_overvoltage_protection", cell_min_mv=3300)))
    nightly(shelf, DAY, [BARN])
    once = {table: shelf.tables[table] for table in DAILY}
    nightly(shelf, DAY, [BARN])
    assert all(shelf.tables[table].equals(once[table]) for table in DAILY)


def test_rows_that_a_second_run_no_longer_gives_are_gone() -> None:
    shelf = Shelf(frame(quiet()))
    nightly(shelf, DAY, [BARN])
    shelf.tables["reading"] = shelf.tables["reading"].clear()
    night = nightly(shelf, DAY, [BARN])
    assert [shelf.tables[table].height for table in DAILY] == [0, 0, 0, 0]
    assert night.upto == {}


def test_sites_of_other_days_and_places_are_left_alone() -> None:
    shelf = Shelf(frame(quiet() + quiet(site="mill")))
    nightly(shelf, DAY, [Site("mill", "acme", "UTC")])
    nightly(shelf, DAY, [BARN])
    assert shelf.tables["module_day"]["site"].to_list() == ["mill", "barn"]


def test_parts_are_whole_sites_and_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    sites = [Site(name, "acme", tz) for name, tz in (("a", "UTC"), ("b", "UTC"), ("c", "UTC"), ("d", "Asia/Kolkata"))]
    rows = [row for s in sites for unit in ("u1", "u2") for row in quiet(DAY, s.tz, site=s.id, unit=unit, module=unit)]
    whole, torn, told = Shelf(frame(rows)), Shelf(frame(rows)), list[tuple[int, int]]()
    nightly(whole, DAY, sites)
    monkeypatch.setattr("pipeline.nightly.parts.MODULES", 3)
    nightly(torn, DAY, sites, lambda done, of: told.append((done, of)))
    key = ["site", "unit"]
    assert torn.tables["module_day"].sort(key).equals(whole.tables["module_day"].sort(key))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_what_was_found_is_published_once_it_is_stored() -> None:
    shelf, published = Shelf(frame(quiet())), dict[str, int]()

    def publish(table: str, rows: pl.DataFrame) -> None:
        assert shelf.tables[table].equals(rows)
        published[table] = rows.height

    nightly(shelf, DAY, [BARN], publish=publish)
    assert (published["module_day"], published["finding"], list(published)[-1]) == (1, 11, "finding")


def test_a_finding_keeps_the_day_on_which_it_began() -> None:
    days = [DAY + timedelta(days=n) for n in (0, 1, 3, 9)]
    uneven = [row | {"c02": 3400, "voltage_mv": 13_300} for day in days for row in quiet(day)]
    shelf = Shelf(frame(uneven))
    for day in days:
        nightly(shelf, day, [BARN])
    rows = shelf.tables["finding"].filter(pl.col("status") == "finding").sort("day")
    assert rows["since_day"].to_list() == [DAY, DAY, DAY, days[3]]


def test_the_real_archive_holds_a_night_and_its_repetition(tmp_path: Path) -> None:
    archive = Archive(str(tmp_path / "archive"))
    rows = quiet() + quiet(site="mill") + quiet(DAY + timedelta(days=1))
    archive.append("reading", frame(rows), app_id="ingest", version=1)
    sites = [BARN, Site("mill", "acme", "UTC"), Site("silent", "acme", "UTC")]
    nightly(archive, DAY, sites)
    once = {table: archive.scan(table).sort("site", "unit").collect() for table in DAILY}
    nightly(archive, DAY, sites)
    assert once["module_day"]["site"].to_list() == ["barn", "mill"]
    for table in DAILY:
        again = archive.scan(table).sort("site", "unit").collect()
        order = [name for name in ("site", "unit", "cell", "band", "bin_mv", "finding_id") if name in again.columns]
        assert again.sort(order).equals(once[table].sort(order))


# ---- what is owed ----

NIGHT = (DAY, local_day(DAY, "UTC").end)
QUARTER_PAST, SIX = NIGHT[1] + 15 * MINUTE, NIGHT[1] + 6 * HOUR
NEXT, BEFORE = DAY + timedelta(days=1), DAY - timedelta(days=1)
CAME = {("barn", DAY): 1_000}
DONE = {("barn", DAY): Done(CODE_VERSION, 1_000)}
CASES: dict[str, tuple[int, dict[Any, Done], dict[Any, int], list[tuple[date, str]]]] = {
    "nothing is known of the site": (SIX, {}, {}, []),
    "the day is not over": (NIGHT[1] - 1, {}, CAME, []),
    "midnight has just passed": (QUARTER_PAST - 1, {}, CAME, []),
    "a quarter past midnight, with data": (QUARTER_PAST, {}, CAME, [(DAY, "new")]),
    "done": (QUARTER_PAST, DONE, CAME, []),
    "rows came after it was done": (QUARTER_PAST, DONE, {("barn", DAY): 1_001}, [(DAY, "late rows")]),
    "done by other code": (QUARTER_PAST, {("barn", DAY): Done(CODE_VERSION - 1, 1_000)}, CAME, [(DAY, "new code")]),
    "a silent day, within the grace": (SIX - 1, {("barn", BEFORE): Done(CODE_VERSION, 0)}, {}, []),
    "a silent day, after it": (SIX, {("barn", BEFORE): Done(CODE_VERSION, 0)}, {}, [(DAY, "new")]),
    "after two days of downtime": (QUARTER_PAST + 48 * HOUR, {}, CAME, [(DAY, "new"), (NEXT, "new")]),
    "far back": (NIGHT[1] + 40 * 24 * HOUR, {}, CAME, [(NEXT + timedelta(days=n), "new") for n in range(8, 40)][:31]),
}


@pytest.mark.parametrize("name", CASES)
def test_which_nights_are_owed(name: str) -> None:
    now, done, came, expected = CASES[name]
    if name == "far back":
        owed = due(now, done, came, [BARN])
        assert len(owed) == 30  # 31 days within reach, and the last one silent and still within its grace
        assert DAY not in [entry.day for entry in owed]
        return
    assert [(entry.day, entry.why) for entry in due(now, done, came, [BARN])] == expected


@pytest.mark.parametrize(
    ("tz", "day", "ready"),
    [
        ("Europe/London", date(2026, 3, 29), "2026-03-29 23:15"),  # 23 hours
        ("Europe/London", date(2026, 10, 25), "2026-10-26 00:15"),  # 25 hours
        ("Asia/Kathmandu", date(2026, 6, 1), "2026-06-01 18:30"),
        ("Pacific/Auckland", date(2026, 6, 1), "2026-06-01 12:15"),
        ("America/Santiago", date(2026, 9, 5), "2026-09-06 04:15"),  # the clocks skip this midnight
    ],
)
def test_a_day_is_owed_a_quarter_of_an_hour_after_its_local_midnight(tz: str, day: date, ready: str) -> None:
    at = int(datetime.strptime(ready, "%Y-%m-%d %H:%M").replace(tzinfo=UTC).timestamp() * 1000)
    site = replace(BARN, tz=tz)
    assert due(at - 1, {}, {("barn", day): 1}, [site]) == []
    assert due(at, {}, {("barn", day): 1}, [site]) == [Owed(site, day, "new")]


# ---- the diary and the shift ----


class Noon:
    """A clock that stands where it is put."""

    def __init__(self, now: int) -> None:
        self.now = now

    def wall(self) -> int:
        return self.now

    def boot(self) -> int:
        return self.now

    def boot_id(self) -> str:
        return "0" * 8

    def quality(self) -> Any:
        return "ntp"


@pytest.fixture
def diary(tmp_path: Path) -> Any:
    book = Diary(tmp_path / "state" / "nightly.db")
    yield book
    book.close()


def test_a_shift_does_what_is_owed_once_and_again_when_late_rows_come(diary: Diary) -> None:
    shelf = Shelf(frame(quiet()))
    shift = Shift(shelf, diary, Noon(QUARTER_PAST))
    assert [(o.day, o.why) for o in look(shift, [BARN])] == [(DAY, "new")]
    assert [night.rows["module_day"] for night in work(shift, look(shift, [BARN]))] == [1]
    assert look(shift, [BARN]) == []
    late = reading(5, EVEN, arrival_ts=QUARTER_PAST + 1)
    shelf.append("reading", frame([late]))
    assert [(o.day, o.why) for o in look(shift, [BARN])] == [(DAY, "late rows")]
    list(work(shift, look(shift, [BARN])))
    assert look(shift, [BARN]) == []


def test_a_night_that_fails_stays_owed_and_frees_the_lock(diary: Diary) -> None:
    class Broken(Shelf):
        def replace(self, table: str, frame: pl.DataFrame, *, where: dict[str, Any]) -> None:
            raise OSError("disk full")

    shift = Shift(Broken(frame(quiet())), diary, Noon(QUARTER_PAST))
    with pytest.raises(OSError, match="disk full"):
        list(work(shift, look(shift, [BARN])))
    mended = replace(shift, store=Shelf(frame(quiet())))
    assert len(list(work(mended, look(mended, [BARN])))) == 1


def test_two_workers_do_not_meet_and_a_dead_ones_lock_expires(diary: Diary, tmp_path: Path) -> None:
    other = Diary(tmp_path / "state" / "nightly.db")
    with diary.working(0):
        with pytest.raises(Busy), other.working(29 * MINUTE):
            pass
        diary.keep(20 * MINUTE)
        with pytest.raises(Busy), other.working(49 * MINUTE):
            pass
        with other.working(50 * MINUTE):
            pass
    with other.working(51 * MINUTE):
        pass
    other.close()


def test_arrivals_are_by_the_sites_own_day_and_only_of_modules() -> None:
    at = 23 * HOUR
    rows = [reading(at, EVEN), reading(at, EVEN, site="mill"), reading(0, EVEN, kind="bank"), reading(0, site="gone")]
    sites = [BARN, Site("mill", "acme", "Europe/Berlin")]
    newest = MIDNIGHT + at + 500
    assert arrivals(Shelf(frame(rows)), SIX, 0, sites) == {("barn", DAY): newest, ("mill", NEXT): newest}
    assert arrivals(Shelf(frame(rows)), SIX, newest, sites) == {}
