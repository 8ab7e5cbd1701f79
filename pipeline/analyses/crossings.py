"""When did each cell pass full and empty, and how much charge had been counted then? Needs no curve, only two marks."""

from __future__ import annotations

import numpy as np
import polars as pl

from pipeline.analyses.curve import cells_in
from pipeline.analyses.steps import with_the_one_before
from pipeline.chemistry import Chemistry, Floats
from pipeline.limits import HOUR, Limits

UP, DOWN = 1, -1
NEAR_MV = 25
"""Readings so far inside of a mark can have no cell that passes it, however its voltage is compensated."""
AGAIN, EVENT_MS = 0.05, 12 * HOUR
"""A mark passed again within so much charge (of nominal) and time is the same event."""
COUNTED = ("ts", "in_mah", "out_mah", "rest_h", "fall_mah")
KEPT = (*COUNTED, "current_ma", "lagged_ma", "temp_dc")


def crossings(rows: pl.LazyFrame, resistances: pl.LazyFrame, limits: Limits, chemistry: Chemistry) -> pl.LazyFrame:
    """crossing without its place, from `dynamics`; `resistances` has (unit, nominal, fast_mohm, slow_mohm, ratios).

    `ratios` lists each cell's own share of the fast resistance. The voltage is taken without what current adds to it,
    V - kt (R0 I + R1 If), and the charge at the mark is interpolated between two readings.
    """
    names = cells_in(rows)
    filling = (pl.col("current_ma") > 0) & (pl.col("high") >= chemistry.up_mv - NEAR_MV)
    emptying = (pl.col("current_ma") < 0) & (pl.col("low") <= chemistry.down_mv + NEAR_MV)
    soon = pl.col("dt_ms") <= limits.late * pl.col("period_ms")
    near = with_the_one_before(rows, (filling | emptying) & soon)
    frame = near.select("unit", "wanted", "kt", *KEPT, *names).join(resistances, on="unit", maintain_order="left")
    eager = frame.collect(engine="streaming")
    parts = [_passing(eager, _compensated(eager, names), chemistry, way) for way in (UP, DOWN)] if names else []
    empty = eager.select("unit", *KEPT, "nominal", "fast_mohm", "slow_mohm").clear()
    found = pl.concat([_numbered(empty, UP, np.zeros(0, np.int64)), *parts])
    return _once(found.lazy())


def _numbered(rows: pl.DataFrame, way: int, cells: np.ndarray[tuple[int], np.dtype[np.int64]]) -> pl.DataFrame:
    floats = [pl.col(name).cast(pl.Float64) for name in rows.columns if name not in {"unit", "ts"}]
    told = rows.with_columns(floats)
    return told.with_columns(cell=pl.Series(cells, dtype=pl.Int16), direction=pl.lit(way, pl.Int8))


def _compensated(rows: pl.DataFrame, names: list[str]) -> Floats:
    """Cell voltages without current's share, mV, (readings, cells); NaN where a cell says nothing."""
    volts = rows.select(pl.col(names).cast(pl.Float64)).to_numpy()
    ampere, lagged, kt, fast, slow = (
        rows[name].cast(pl.Float64).to_numpy()[:, None]
        for name in ("current_ma", "lagged_ma", "kt", "fast_mohm", "slow_mohm")
    )
    ratios = rows.select(
        pl.col("ratios").list.get(int(name[1:]), null_on_oob=True).fill_null(1.0).alias(name) for name in names
    ).to_numpy()
    return np.asarray(volts - kt * (fast * ratios * ampere + slow * lagged) / 1000)


def _passing(rows: pl.DataFrame, volts: Floats, chemistry: Chemistry, way: int) -> pl.DataFrame:
    mark = chemistry.up_mv if way == UP else chemistry.down_mv
    beyond = volts >= mark if way == UP else volts <= mark
    right_way = np.sign(rows["current_ma"].fill_null(0).to_numpy()) == way
    wanted = rows["wanted"].to_numpy() & right_way
    passed = wanted[1:, None] & beyond[1:] & ~beyond[:-1] & ~np.isnan(volts[:-1])
    at, cell = np.nonzero(passed)
    share = (mark - volts[at, cell]) / (volts[at + 1, cell] - volts[at, cell])
    after, before = rows[at + 1], rows[at]
    between = {n: before[n].to_numpy() + share * (after[n] - before[n]).to_numpy() for n in COUNTED}
    told = after.select("unit", *KEPT, "nominal", "fast_mohm", "slow_mohm").with_columns(
        pl.Series(name, values) for name, values in between.items()
    )
    return _numbered(told.with_columns(pl.col("ts").round().cast(pl.Int64)), way, cell)


def _once(found: pl.LazyFrame) -> pl.LazyFrame:
    """The first crossing of each event: near a mark noise and load pass it again and again."""
    key = ["unit", "cell", "direction"]
    passed = pl.col("in_mah") - pl.col("out_mah")
    ordered = found.sort(*key, "ts")
    same = pl.all_horizontal(pl.col(name) == pl.col(name).shift(1) for name in key)
    again = (
        same
        & ((passed - passed.shift(1)).abs() < AGAIN * pl.col("nominal"))
        & (pl.col("ts") - pl.col("ts").shift(1) < EVENT_MS)
    )
    return ordered.filter(~again.fill_null(value=False)).drop("nominal")
