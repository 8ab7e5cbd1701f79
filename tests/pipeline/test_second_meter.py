"""A shunt beside the modules of a stack: it says when their current sensors are off by a factor, and only then."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import polars as pl
import pytest

from pipeline.limits import LFP
from pipeline.nightly.parts import METER
from pipeline.nightly.site_day import Site, nightly
from pipeline.nightly.stacks import metered_today
from pipeline.quality import Quality
from tests.pipeline.fleets import DAY, MIDNIGHT, MINUTE, Shelf, frame, reading

Place = tuple[str, int]
"""Of a module: its stack, and how many modules the registry knows there."""


def flowing(n: int) -> int:
    """mA in the n-th minute: in, out and none by half-hours."""
    return 20_000 * (n // 30 % 3 - 1)


def read(factor: float = 1.0, offset: int = 0, minutes: Iterable[int] = range(1440)) -> pl.DataFrame:
    """A sensor's day."""
    said = [(MIDNIGHT + n * MINUTE, round(flowing(n) * factor) + offset) for n in minutes]
    return pl.DataFrame(said, schema={"ts": pl.Int64, "current_ma": pl.Int32}, orient="row")


def doubted(
    modules: dict[int, pl.DataFrame], shunts: dict[str, pl.DataFrame], places: dict[int, Place] | None = None
) -> set[int]:
    """Who gets I_GAIN, of modules (by number) and shunts by the stack that they are read with."""
    where = places or dict.fromkeys(modules, ("s1", len(modules)))
    roster = pl.DataFrame(
        [(no, "barn", stack, known, None) for no, (stack, known) in where.items()],
        schema={"no": pl.UInt32, "site": pl.String, "stack": pl.String, "stack_known": pl.UInt32, "rated_mah": float},
        orient="row",
    )
    rows = pl.concat(day.with_columns(unit=pl.lit(no, pl.UInt32)) for no, day in modules.items())
    told = [
        day.group_by(bin=pl.col("ts") // (5 * MINUTE))
        .agg(meter=pl.col("current_ma").mean())
        .with_columns(site=pl.lit("barn"), stack=pl.lit(at[:2]), unit=pl.lit(at))
        for at, day in shunts.items()
    ]
    meters = pl.concat(told).select(METER.keys())
    bits = metered_today(rows.lazy(), roster, meters.lazy(), LFP).collect()
    assert set(bits["dq"]) <= {int(Quality.I_GAIN)}
    return set(bits["unit"])


@pytest.mark.parametrize(("factor", "offset", "wrong"), [
    (1.0, 0, False), (1.025, 0, False), (1.04, 0, True), (0.96, 0, True), (1.0, 900, False), (1.04, -900, True),
    (0.6, 0, False), (-1.0, 0, False),
])  # fmt: skip
def test_a_gain_shows_apart_from_an_offset_and_another_current_is_no_gain(
    factor: float, offset: int, wrong: bool
) -> None:
    assert doubted({0: read(factor, offset)}, {"s1": read()}) == ({0} if wrong else set())


def test_of_a_stack_the_sum_is_held_against_the_shunt_and_all_are_in_doubt() -> None:
    assert doubted({0: read(0.5), 1: read(0.5)}, {"s1": read()}) == set()
    assert doubted({0: read(0.6), 1: read(0.5)}, {"s1": read()}) == {0, 1}


def test_a_module_that_is_silent_or_late_does_not_make_the_others_wrong() -> None:
    half = {0: read(0.5), 1: read(0.5, minutes=range(900, 1440))}
    assert doubted(half, {"s1": read()}) == set()
    assert doubted({0: read(0.9)}, {"s1": read()}, {0: ("s1", 2)}) == set()


def test_a_shunt_meters_its_own_stack_or_the_only_one_of_its_site() -> None:
    wrong = {0: read(1.1), 1: read(1.1)}
    apart: dict[int, Place] = {0: ("s1", 1), 1: ("s2", 1)}
    assert doubted({0: read(1.1)}, {"dc": read()}) == {0}
    assert doubted(wrong, {"dc": read()}, apart) == set()
    assert doubted(wrong, {"s2": read()}, apart) == {1}
    assert doubted({0: read(1.1)}, {"s1": read(), "dc": read(1.3)}) == {0}


def test_two_shunts_of_one_stack_say_nothing_for_each_may_meter_a_part() -> None:
    assert doubted({0: read(1.1)}, {"s1": read(), "s1 loads": read(0.5)}) == set()


def test_too_little_charge_or_too_few_readings_say_nothing() -> None:
    assert doubted({0: read(1.1, minutes=range(120))}, {"s1": read()}) == set()
    assert doubted({0: read(0.055)}, {"s1": read(0.05)}) == set()


@pytest.mark.parametrize(("factor", "wrong"), [(1.0, False), (1.02, False), (1.045, True), (0.955, True)])
@pytest.mark.parametrize("early", [-1, 1])
def test_a_current_that_is_turned_down_between_two_readings_is_no_gain_and_hides_none(
    factor: float, wrong: bool, early: int
) -> None:
    """Now and then one of the two is read before it goes down, the other after."""
    turned = (pl.col("ts") - MIDNIGHT) // (5 * MINUTE) % 11 == 0
    other = pl.col("current_ma") - pl.when(turned & (pl.col("current_ma") > 0)).then(early * 9_000).otherwise(0)
    assert doubted({0: read(factor).with_columns(current_ma=other)}, {"s1": read()}) == ({0} if wrong else set())


@pytest.mark.parametrize("seed", range(8))
def test_where_the_two_are_read_under_other_loads_no_pieces_are_picked(seed: int) -> None:
    """Every third reading of the one belongs to the load before."""
    slots = np.random.default_rng(seed).uniform(-30_000, 30_000, 290).round().astype(int)
    at = np.arange(288)
    before = np.where(at % 3 == 0, at, at + 1)
    times = pl.Series("ts", MIDNIGHT + at * 5 * MINUTE)
    one, other = (
        pl.DataFrame({"ts": times, "current_ma": slots[which].astype(np.int32)}) for which in (at + 1, before)
    )
    assert doubted({0: one}, {"s1": other}) == set()


def test_what_the_day_leaves_open_is_not_told() -> None:
    draw = pl.Series(range(1440)).hash(7).cast(pl.Float64) / 2**64 - 0.5
    flicker = read(1.04).with_columns((pl.col("current_ma") + 60_000 * draw).cast(pl.Int32).alias("current_ma"))
    assert doubted({0: flicker}, {"s1": read()}) == set()


def test_the_night_reads_shunts_where_there_are_any_and_has_no_row_of_them() -> None:
    def of(kind: str, current: float, **said: Any) -> list[dict[str, Any]]:
        cells = (3300, 3301, 3302, 3303) if kind == "module" else ()
        return [
            reading(n * MINUTE, cells, kind=kind, current_ma=round(current * flowing(n)), **said)
            for n in range(0, 1440, 2)
        ]

    right, wrong = of("module", 1.0), of("module", 1.08, site="mill")
    shunts = [*of("shunt", 1.0, module="shunt", unit="x"), *of("shunt", 1.0, module="shunt", unit="y", site="mill")]
    shelf = Shelf(frame(right + wrong + shunts))
    nightly(shelf, DAY, [Site("barn", "acme", "UTC"), Site("mill", "acme", "UTC")])
    days = shelf.tables["module_day"].select("site", "unit", off=pl.col("dq") & int(Quality.I_GAIN) != 0)
    assert days.rows() == [("barn", "u1", False), ("mill", "u1", True)]
