"""Validation of the trend: each module's slope and its interval against how its capacity truly fell."""

from __future__ import annotations

import numpy as np
import polars as pl

from pipeline.chemistry import Floats
from pipeline.methods.slope import theil_sen
from pipeline.validation.bars import frozen
from pipeline.validation.replay import Replayed
from pipeline.validation.row import Row, judged, rmse

LONG = 150
"""Days of record from which a trend is judged."""
KEY = ["site", "unit"]


def trends(done: Replayed) -> list[Row]:
    """RMSE of the slope, its own and drawn to its siblings', points a year; share of intervals that hold the truth."""
    told = done.tables["trend"].filter(pl.col("day") == pl.col("day").max(), pl.col("span_days") >= LONG)
    both = told.join(_true(done), on=KEY).with_columns(off=100 * (pl.col("slope") - pl.col("true")))
    leant = both.with_columns(
        off=100 * (pl.col("shrunk") - pl.col("true")),
        inside=((pl.col("shrunk") - pl.col("true")).abs() <= 1.96 * pl.col("shrunk_error")),
        held=pl.col("true").is_between(pl.col("lo"), pl.col("hi")),
    )
    return [
        judged(*frozen("trend: points a year, own slope, RMSE"), _each(both, "off"), rmse),
        judged(*frozen("trend: points a year, with siblings, RMSE"), _each(leant, "off"), rmse),
        judged(*frozen("trend: own 95 % interval holds the truth"), _each(leant, "held"), _mean, ""),
        judged(*frozen("trend: interval with siblings holds it"), _each(leant, "inside"), _mean, ""),
    ]


def _mean(shares: Floats) -> float:
    return float(np.mean(shares))


def _each(frame: pl.DataFrame, column: str) -> list[Floats]:
    return [np.array([float(value)]) for value in frame[column]]


def _true(done: Replayed) -> pl.DataFrame:
    """Slope of the true health over the record, share a year; seven days apart are enough to draw a line."""
    modules = done.truth["module"].sort(*KEY, "day")
    rows = []
    for (site, unit), group in modules.group_by(KEY, maintain_order=True):
        days = (group["day"] - group["day"][0]).dt.total_days().to_numpy().astype(float)
        rows.append((site, unit, 365 * theil_sen(days[::7], group["soh"].to_numpy()[::7])))
    return pl.DataFrame(rows, schema=[*KEY, "true"], orient="row")
