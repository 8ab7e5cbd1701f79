"""Which cell or sensor is the farthest out, and how fast does a temperature change?"""

from __future__ import annotations

import polars as pl

from pipeline.analyses.steps import change


def coldest(temps: list[str]) -> pl.Expr:
    """Lowest temperature, 0.1 degC, Int32."""
    said = pl.col("temp_min_dc")
    return (pl.coalesce(pl.min_horizontal(temps), said) if temps else said).cast(pl.Int32)


def warmest(temps: list[str]) -> pl.Expr:
    """Highest temperature, 0.1 degC, Int32."""
    said = pl.col("temp_max_dc")
    return (pl.coalesce(pl.max_horizontal(temps), said) if temps else said).cast(pl.Int32)


def fastest_change(temps: list[str]) -> pl.Expr:
    """The fastest change of any sensor since the last reading, 0.1 degC a minute; a step under a minute counts as one.

    Null without sensors and at a unit's first reading.
    """
    if not temps:
        return pl.lit(None, pl.Float64)
    return pl.max_horizontal(change(t).abs() for t in temps) / pl.max_horizontal(pl.col("dt_ms") / 60_000, pl.lit(1.0))


def place_of(cells: list[str], value: pl.Expr) -> pl.Expr:
    """Index of the first cell with this voltage; null where none has it."""
    found = (pl.when(pl.col(name) == value).then(pl.lit(int(name[1:]), pl.Int16)) for name in cells)
    return pl.coalesce(*found, pl.lit(None, pl.Int16))
