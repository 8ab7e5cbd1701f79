"""Where on its voltage curve a module stands (top, mid, bottom), and how far its cells are apart there."""

from __future__ import annotations

import polars as pl

from pipeline.limits import Limits
from pipeline.schema import CELL_COLUMNS, TEMP_COLUMNS


def cells_in(readings: pl.LazyFrame) -> list[str]:
    """The cell columns that this frame has, c00 first."""
    said = readings.collect_schema()
    return [name for name in CELL_COLUMNS if name in said]


def temps_in(readings: pl.LazyFrame) -> list[str]:
    """The temperature columns that this frame has, t00 first."""
    said = readings.collect_schema()
    return [name for name in TEMP_COLUMNS if name in said]


def mean_mv(cells: list[str]) -> pl.Expr:
    """Mean cell, mV; of a module without cell voltages the middle of its lowest and highest.

    Widened first: Polars 2.1 sums the stored Int16 in 16 bits, and sixteen cells of 3.3 V come out below zero.
    """
    middle = (pl.col("cell_min_mv").cast(pl.Int32) + pl.col("cell_max_mv")) / 2
    return pl.coalesce(pl.mean_horizontal(pl.col(cells).cast(pl.Int32)), middle) if cells else middle


def lowest_mv(cells: list[str]) -> pl.Expr:
    """Lowest cell, mV, widened to Int32: differences of the stored Int16 may overflow."""
    said = pl.col("cell_min_mv")
    return (pl.coalesce(pl.min_horizontal(cells), said) if cells else said).cast(pl.Int32)


def highest_mv(cells: list[str]) -> pl.Expr:
    """Highest cell, mV, Int32."""
    said = pl.col("cell_max_mv")
    return (pl.coalesce(pl.max_horizontal(cells), said) if cells else said).cast(pl.Int32)


def with_cells_in_short(rows: pl.LazyFrame) -> pl.LazyFrame:
    """The rows with mean, low and high (mV), worked out only where `dynamics` has not done it before."""
    cells, there = cells_in(rows), rows.collect_schema().names()
    made = {"mean": mean_mv, "low": lowest_mv, "high": highest_mv}
    return rows.with_columns(**{name: of(cells) for name, of in made.items() if name not in there})


def warmer_dc(temps: list[str]) -> pl.Expr:
    """The warmest sensor above the mean of the others, 0.1 K; null below three sensors."""
    if len(temps) < 3:
        return pl.lit(None, pl.Float64)
    n = pl.sum_horizontal(pl.col(temps).is_not_null().cast(pl.Int32))
    warm = pl.max_horizontal(temps).cast(pl.Float64)
    others = (pl.sum_horizontal(pl.col(temps).cast(pl.Int32)) - warm) / (n - 1)
    return pl.when(n >= 3).then(warm - others)


def band(mean: pl.Expr, limits: Limits) -> pl.Expr:
    """top, mid, bottom, or null between them. Voltage counts before SOC, for SOC drifts: both must say the middle."""
    soc = pl.col("soc_pm")
    full = pl.coalesce("full_mah", pl.lit(limits.full_mah))
    resting = pl.col("current_ma").abs() < limits.mid_c_rate * full
    return (
        pl.when(mean >= limits.top_mv)
        .then(pl.lit("top"))
        .when(mean <= limits.bottom_mv)
        .then(pl.lit("bottom"))
        .when(soc >= limits.top_soc_pm)
        .then(pl.lit("top"))
        .when(soc <= limits.bottom_soc_pm)
        .then(pl.lit("bottom"))
        .when(soc.is_between(*limits.mid_soc_pm) & resting & mean.is_between(*limits.mid_mv))
        .then(pl.lit("mid"))
    )
