"""How far apart were each module's cells at the top, in the middle and at the bottom? Counts that add up over days."""

from __future__ import annotations

import polars as pl

from pipeline.analyses.curve import band, cells_in, highest_mv, lowest_mv, mean_mv
from pipeline.limits import Limits

BIN_MV = 5
"""Width of a bin of spread_hist; stored days add up only while it stays."""


def spread(readings: pl.LazyFrame, limits: Limits) -> pl.LazyFrame:
    """spread_hist without its place: readings by unit, band and bin; `bin_mv` is the bin's lower edge.

    Readings with all cells below the curve's knee are left out: there 2 % of capacity, as sound cells differ, are
    150 mV and more.
    """
    cells = cells_in(readings)
    highest = highest_mv(cells)
    rows = readings.filter(highest >= limits.knee_mv).select(
        "unit", band=band(mean_mv(cells), limits), bin_mv=(highest - lowest_mv(cells)) // BIN_MV * BIN_MV
    )
    counted = rows.drop_nulls().group_by("unit", "band", "bin_mv").agg(n=pl.len().cast(pl.Int64))
    return counted.sort("unit", "band", "bin_mv")


def percentile(hist: pl.LazyFrame, share: float, by: list[str]) -> pl.LazyFrame:
    """The spread that `share` of the readings stay below, by `by`: the upper edge of the bin that holds it."""
    ordered = hist.sort(*by, "bin_mv").with_columns(upto=pl.col("n").cum_sum().over(by), all=pl.col("n").sum().over(by))
    reached = ordered.filter(pl.col("upto") >= share * pl.col("all"))
    return reached.group_by(by).agg(spread_mv=pl.col("bin_mv").min() + BIN_MV)
