"""How far apart were each module's cells at the top, in the middle and at the bottom? Counts that add up over days."""

from __future__ import annotations

import polars as pl

from pipeline.analyses.curve import band, cells_in, with_cells_in_short
from pipeline.limits import Limits

BIN_MV = 5
"""Width of a bin of spread_hist; stored days add up only while it stays."""


def spread(readings: pl.LazyFrame, limits: Limits) -> pl.LazyFrame:
    """spread_hist without its place: readings by unit, band and bin; `bin_mv` is the bin's lower edge.

    Readings with all cells below the curve's knee are left out: there 2 % of capacity, as sound cells differ, are
    150 mV and more. A unit that counts in coarse steps has no spread below a few of them: such readings are in the
    lowest bin.
    """
    cells = cells_in(readings)
    rows = with_cells_in_short(readings)
    apart = pl.col("high") - pl.col("low")
    noise = _coarse(cells, limits) & (apart < limits.coarse_floor_mv)
    bin_mv = pl.when(apart.is_null()).then(None).when(noise).then(0).otherwise(apart // BIN_MV * BIN_MV)
    where = "band" if "band" in readings.collect_schema() else band(pl.col("mean"), limits).alias("band")
    told = rows.select("unit", where, "high", bin_mv=bin_mv).filter(pl.col("high") >= limits.knee_mv).drop("high")
    counted = told.drop_nulls().group_by("unit", "band", "bin_mv").agg(n=pl.len().cast(pl.Int64))
    return counted.sort("unit", "band", "bin_mv")


def _coarse(cells: list[str], limits: Limits) -> pl.Expr:
    """Whether all that a unit's cells said are whole steps."""
    if not cells:
        return pl.lit(False)
    whole = [(pl.col(cell) % limits.coarse_mv == 0).fill_null(True) for cell in cells]
    return pl.all_horizontal(whole).all().over("unit")


def percentile(hist: pl.LazyFrame, share: float, by: list[str]) -> pl.LazyFrame:
    """The spread that `share` of the readings stay below, by `by`: the upper edge of the bin that holds it."""
    ordered = hist.sort(*by, "bin_mv").with_columns(upto=pl.col("n").cum_sum().over(by), all=pl.col("n").sum().over(by))
    reached = ordered.filter(pl.col("upto") >= share * pl.col("all"))
    return reached.group_by(by).agg(spread_mv=pl.col("bin_mv").min() + BIN_MV)
