"""Old readings as one row a module and minute: what a trend over years needs, at a tenth of the room."""

from __future__ import annotations

import polars as pl

from cellherd.reading import SCALARS
from pipeline.schema import CELL_COLUMNS, EXTREMES, PLACE, READING_60S, TEMP_COLUMNS

MINUTE = 60_000
LAST = frozenset(
    {"remaining_mah", "full_mah", "cycles", "soh_pm", "charge_on", "discharge_on", "balancing", "cell_min_at"}
    | {"cell_max_at"}
)
"""Scalars of which a mean would say nothing: the last one said stands for the minute."""


def minutes(readings: pl.LazyFrame) -> pl.LazyFrame:
    """READING_60S of readings: `n` of them, means rounded to whole units, extremes, and every fault of the minute."""
    cells = [pl.col(name) for name in CELL_COLUMNS]
    widest = pl.max_horizontal(cells) - pl.min_horizontal(cells)
    spread = pl.coalesce(widest, pl.col("cell_max_mv") - pl.col("cell_min_mv"))
    timed = readings.with_columns(at=pl.col("ts") // MINUTE * MINUTE, spread_mv=spread).sort("ts")
    grouped = timed.group_by(*PLACE, "date", "at").agg(
        pl.len().alias("n"),
        *(pl.col(q.name).drop_nulls().last() if q.name in LAST else _mean(q.name) for q in SCALARS),
        *(pl.col(name.rpartition("_")[0]).min().alias(name) for name in EXTREMES if name.endswith("_min")),
        *(pl.col(name.rpartition("_")[0]).max().alias(name) for name in EXTREMES if name.endswith("_max")),
        *(_mean(name) for name in (*CELL_COLUMNS, *TEMP_COLUMNS)),
        pl.col("faults").drop_nulls().unique(),
    )
    named = grouped.rename({"at": "ts"}).with_columns(faults=_joined())
    return named.select(pl.col(name).cast(kind) for name, kind in READING_60S.items())


def _mean(name: str) -> pl.Expr:
    return pl.col(name).mean().round()


def _joined() -> pl.Expr:
    """One text of several: every id once; "" where the device said that there is none, null where it never spoke."""
    ids = pl.col("faults").list.join(" ").str.split(" ").list.unique().list.sort().list.join(" ")
    return pl.when(pl.col("faults").list.len() > 0).then(ids.str.strip_chars(" "))
