"""What stands still while charge flows: a counter, or the cells? Tests over runs of readings that say the same."""

from __future__ import annotations

import polars as pl

from pipeline.analyses.curve import cells_in
from pipeline.limits import HOUR, Limits
from pipeline.quality import Quality

MOVES = 0.02
"""Change of the current, a share of the capacity in A: 0.5 mV and more of a sound cell, so that of a handful one at
least shows it, whatever the size of the module."""
PASSES = 0.01
"""Charge, a share of the capacity, that shows in some cell even on the plateau."""
FULL_PM, HELD = 1000, 0.2
"""Many a BMS says full, or empty, until the cells have left that voltage: a sloped curve takes a seventh for it."""


def standing(rows: pl.LazyFrame, limits: Limits) -> pl.LazyFrame:
    """(unit, dq) from a day's `steps`: STUCK_SOC and FROZEN, a row for each that is so.

    STUCK_SOC: the same state of charge in every reading while `stuck_soc` of the capacity goes in or out; while HELD
    goes out where it says full, or in where it says empty. FROZEN: the very same cells over `frozen` readings under a
    current that is the same too, or moves by MOVES, or brings PASSES: on a flat curve cells may well stand under a
    small one that only flickers.
    """
    hours = pl.min_horizontal("dt_ms", limits.late * pl.col("period_ms")).fill_null(0) / HOUR
    counted = rows.with_columns(
        full=pl.coalesce("full_mah", pl.lit(limits.full_mah)),
        moved=(pl.col("current_ma") * hours).fill_null(0.0).cum_sum(),
    )
    return pl.concat([_stuck(counted, limits), _frozen(counted, cells_in(rows), limits)])


def _stuck(rows: pl.LazyFrame, limits: Limits) -> pl.LazyFrame:
    soc, moved = pl.col("soc_pm"), pl.col("moved")
    said = rows.select("unit", "soc_pm", "moved", "full").drop_nulls("soc_pm")
    other = pl.any_horizontal(
        (pl.col(name) != pl.col(name).shift(1)).fill_null(value=True) for name in ("unit", "soc_pm")
    )
    runs = said.with_columns(run=other.cum_sum()).group_by("run").agg(
        *_of_a_run(), soc.first(), out=moved.max() - moved.last(), into=moved.last() - moved.min()
    )  # fmt: skip
    passed = pl.when(soc >= FULL_PM).then("out").when(soc <= 0).then("into").otherwise("passed")
    least = pl.when(soc.is_between(0, FULL_PM, closed="none")).then(limits.stuck_soc).otherwise(HELD)
    stuck = runs.filter(passed > least * pl.col("full"))
    return stuck.select(pl.col("unit").unique(), dq=pl.lit(int(Quality.STUCK_SOC), pl.Int64))


def _frozen(rows: pl.LazyFrame, cells: list[str], limits: Limits) -> pl.LazyFrame:
    none = rows.select("unit", dq=pl.lit(int(Quality.FROZEN), pl.Int64)).clear()
    if not cells:
        return none
    d, current = limits.doubts, pl.col("current_ma")
    same = pl.all_horizontal(pl.col(name).eq_missing(pl.col(name).shift(1)) for name in cells)
    flows = (current.abs() > d.frozen_rate * pl.col("full")) & pl.any_horizontal(pl.col(cells).is_not_null())
    still = (same & flows & pl.col("dt_ms").is_not_null()).fill_null(value=False)
    marked = rows.select("unit", "current_ma", "moved", "full", still=still, run=(~still).cum_sum())
    runs = (
        marked.filter("still")
        .group_by("run")
        .agg(*_of_a_run(), pl.len().alias("n"), (current.max() - current.min()).alias("range"))
    )
    full = pl.col("full")
    impossible = (pl.col("range") == 0) | (pl.col("range") > MOVES * full) | (pl.col("passed") > PASSES * full)
    frozen = runs.filter((pl.col("n") >= d.frozen) & impossible)
    return frozen.select(pl.col("unit").unique(), dq=pl.lit(int(Quality.FROZEN), pl.Int64))


def _of_a_run() -> tuple[pl.Expr, ...]:
    moved = pl.col("moved")
    return pl.col("unit").first(), pl.col("full").first(), (moved.max() - moved.min()).alias("passed")
