"""Charge counted from full to empty, on modules whose capacity is known."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache

import numpy as np
import polars as pl
import pytest

from pipeline.analyses.capacity import capacity
from pipeline.chemistry import CHEMISTRIES, LFP
from pipeline.nightly.site_day import Site, nightly
from pipeline.quality import Quality
from tests.pipeline.cycling import World, dates, days
from tests.pipeline.fleets import DAY, MINUTE, Shelf, lived, reading

WORLD = World(modules=2, cells=4, days=8, period_s=120)
DAILY = ("step_sum", "crossing", "anchor", "capacity", "cell_day", "module_day")


def site(world: World) -> Site:
    places = [("s1", f"m{n}") for n in range(world.modules)]
    rated = dict.fromkeys(places, round(1000 * world.nominal_ah))
    return Site("barn", "acme", "UTC", dict.fromkeys(places, world.chemistry.name), rated)


@cache
def nights(world: World) -> Shelf:
    shelf = Shelf(days(world)[0])
    for day in dates(world):
        nightly(shelf, day, [site(world)])
    return shelf


def soh(shelf: Shelf) -> list[float]:
    last = pl.col("day") == pl.col("day").max()
    rows = shelf.tables["finding"].filter((pl.col("analysis") == "health") & last).sort("unit")
    assert set(rows["status"]) == {"ok"}
    return rows["value"].to_list()


def held(shelf: Shelf) -> np.ndarray:
    known = shelf.tables["capacity"].filter(pl.col("offset_ma").is_not_null() & (pl.col("method") != "anchors"))
    cells = known.group_by("unit", "cell").agg(pl.col("mah").median()).sort("unit", "cell")
    return cells["mah"].to_numpy().reshape(-1, cells["cell"].n_unique()) / 1000


def test_capacity_and_its_order_among_cells_come_out_of_two_marks() -> None:
    _, true = days(WORLD)
    found = held(nights(WORLD))
    assert found == pytest.approx(true, rel=0.01)
    assert found / np.median(found, axis=1)[:, None] == pytest.approx(true / np.median(true, axis=1)[:, None], abs=2e-3)


def test_the_interval_holds_the_true_health() -> None:
    last = pl.col("day") == pl.col("day").max()
    rows = nights(WORLD).tables["finding"].filter((pl.col("analysis") == "health") & last).sort("unit")
    true = 100 * np.median(days(WORLD)[1], axis=1) / WORLD.nominal_ah
    assert all(low < value < high for low, value, high in zip(rows["lo"], true, rows["hi"], strict=True))


def emptied_once(period_s: int) -> dict[str, float]:
    """The capacity row of a cell of 100 Ah that is filled and emptied once, its offset known to 5 mA."""
    unit = {"site": "barn", "unit": "u", "cell": 0, "day": DAY, "dq": 0, "temp_dc": 200.0, "current_ma": -9000.0}
    marks = [
        unit | {"ts": at * 3_600_000, "direction": way, "mah": mah, "moved_mah": -mah, "rest_h": 0.0, "fall_mah": 0.0}
        for at, way, mah in ((0, 1, 0.0), (10, -1, -100_000.0 * LFP.window))
    ]
    ends = {"state": pl.String, "soc": pl.Float64, "soc_sigma": pl.Float64}
    none = pl.DataFrame(marks).clear().with_columns(pl.lit(None, kind).alias(name) for name, kind in ends.items())
    offset = {"offset_ma": 0.0, "offset_sigma": 5.0, "rest_ma": 0.0, "fall_share": 0.0}
    about = {"nominal_mah": 100_000, "period_ms": 1000 * period_s}
    frames = (
        pl.DataFrame(marks),
        none,
        *(pl.DataFrame([{"site": "barn", "unit": "u"} | of]) for of in (offset, about)),
    )
    return capacity(*(frame.lazy() for frame in frames), LFP).collect().row(0, named=True)


@pytest.mark.parametrize(("period_s", "share"), [(10, 0.001), (60, 0.003), (300, 0.008)])
def test_the_rarer_a_module_is_read_the_less_sure_is_what_it_holds(period_s: int, share: float) -> None:
    row = emptied_once(period_s)
    other = (100 * LFP.window_sigma / LFP.window) ** 2 + (0.005 * 10 / LFP.window) ** 2
    assert row["mah"] == pytest.approx(100_000)
    assert (row["sigma"] / 1000) ** 2 - other == pytest.approx((100 * share) ** 2, rel=0.03)


def test_an_offset_of_the_current_sensor_changes_little() -> None:
    plain, shifted = soh(nights(WORLD)), soh(nights(replace(WORLD, offset_ma=WORLD.offset_ma + 100)))
    assert shifted == pytest.approx(plain, rel=0.003)


def test_working_the_nights_again_gives_the_same_tables() -> None:
    shelf = nights(WORLD)
    again = Shelf(shelf.tables["reading"])
    again.tables = dict(shelf.tables)
    for day in dates(WORLD)[-3:]:
        nightly(again, day, [site(WORLD)])
    for table in DAILY:
        order = [n for n in ("day", "unit", "cell", "ts", "method", "direction") if n in shelf.tables[table].columns]
        assert again.tables[table].sort(order).equals(shelf.tables[table].sort(order)), table


def test_cells_in_another_order_give_the_same_in_that_order() -> None:
    order = [2, 0, 3, 1]
    readings = days(WORLD)[0]
    mixed = readings.with_columns(pl.col(f"c{old:02}").alias(f"c{new:02}") for new, old in enumerate(order))
    shelf = Shelf(mixed)
    for day in dates(WORLD):
        nightly(shelf, day, [site(WORLD)])
    assert held(shelf) == pytest.approx(held(nights(WORLD))[:, order])


def test_a_module_that_never_empties_asks_for_a_full_cycle_instead_of_a_number() -> None:
    night = pl.col("ts") % 86_400_000 < 7 * 3_600_000
    shelf = Shelf(days(replace(WORLD, days=1))[0].filter(night))
    nightly(shelf, DAY, [site(WORLD)])
    rows = shelf.tables["finding"].filter(pl.col("analysis") == "health")
    assert set(rows["status"]) == {"not_observable"}
    assert rows["value"].null_count() == rows.height
    assert json.loads(rows["reasons"][0])[0]["id"] == "no_full_cycle_in_30_days"
    assert json.loads(rows["action"][0]) == ["capacity_fade"]


def test_a_cell_with_more_resistance_is_found_and_named() -> None:
    shelf = nights(replace(WORLD, weak=1.8, days=4))
    last = pl.col("day") == pl.col("day").max()
    rows = shelf.tables["finding"].filter((pl.col("pattern") == "weak_under_load") & last)
    assert rows.height == 2
    assert set(rows["cell"]) == {3}
    assert rows["value"].min() > 125


@pytest.mark.parametrize("name", CHEMISTRIES)
def test_each_chemistrys_curve_rises_and_its_marks_lie_on_it(name: str) -> None:
    chemistry = CHEMISTRIES[name]
    soc, mv = np.array(chemistry.ocv).T
    assert (np.diff(soc) > 0).all()
    assert (np.diff(mv) > 0).all()
    assert 0.7 < chemistry.window < 1
    assert chemistry.soc_at(mv) == pytest.approx(soc)


def test_the_window_of_lfp_is_what_the_full_table_gives() -> None:
    assert pytest.approx(0.918, abs=0.002) == LFP.window


def test_the_low_pass_goes_on_from_the_evening_before() -> None:
    rows = [reading(n * MINUTE, (3300,) * 4, current_ma=0) for n in range(30)]
    fading = lived(rows, before=10_000.0).collect()["lagged_ma"].to_numpy()
    assert fading == pytest.approx(10_000 * np.exp(-np.arange(30) / 2), rel=1e-3)
    assert (lived(rows).collect()["lagged_ma"] == 0).all()


def test_the_low_pass_and_the_counters_of_one_unit_know_nothing_of_the_next() -> None:
    first = [reading(n * MINUTE, (3300,) * 4, current_ma=20_000) for n in range(60)]
    second = [reading(n * MINUTE, (3300,) * 4, current_ma=-5_000, unit="u2") for n in range(60)]
    alone, both = lived(second).collect(), lived([*first, *second]).collect().filter(pl.col("unit") == "u2")
    for name in ("lagged_ma", "in_mah", "out_mah"):
        assert both[name].to_list() == pytest.approx(alone[name].to_list())


def test_a_sensor_that_is_off_is_off_on_a_day_without_a_full_charge_too() -> None:
    """Of the last day an hour is heard, in which the module begins to fill."""
    world = World(modules=2, cells=2, days=8, period_s=300, offset_ma=700.0)
    readings, last = days(world)[0], dates(world)[-1]
    hour = pl.from_epoch("ts", time_unit="ms").dt.hour()
    shelf = Shelf(readings.filter((pl.col("date") < last) | (hour == 9)))
    for day in dates(world):
        nightly(shelf, day, [site(world)])
    off = shelf.tables["module_day"].filter(pl.col("dq") & int(Quality.I_OFFSET) != 0)
    assert shelf.tables["crossing"].filter(pl.col("day") == last).is_empty()
    assert set(off.filter(pl.col("day") == last)["unit"]) == {"u0", "u1"}
    assert off["day"].min() > DAY
