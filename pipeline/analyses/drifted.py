"""Does the state of charge shown go with the charge that passed? A day's count held against what a BMS says of it."""

from __future__ import annotations

import polars as pl

from pipeline.limits import Limits

MOMENTS = (0.0, 0.5, 1.0)
"""Of a change of current between two readings: right after the first of them, half-way, right before the second."""
SURE = 2.0
"""Standard deviations of what is not known of the charge."""


def drifted(pieces: pl.LazyFrame, limits: Limits) -> pl.LazyFrame:
    """(unit, COUNTED): off by `counted_off_pm` within a day, and by more than its readings can miss.

    `pieces` by unit and time: soc (0.1 %), moved and full (mAh), ma (the last current), h (hours from one reading to
    the next), lost (whether time went by uncounted). Between two moments at which a BMS sets itself right, what it
    shows goes with the charge. That is known as well as the readings tell it: the current changed at some moment
    between two of them. What is the same moment each time is tried out, for a load may have the polls' own pace;
    beyond that each change is a random error of h / sqrt(12) times itself, the deviation of a uniform moment.
    """
    pm, same = 1000 / pl.col("full"), pl.col("unit") == pl.col("unit").shift(1)
    changed = (pl.col("ma") - pl.col("ma").shift(1)) * pl.col("h") * pm
    known = pieces.with_columns(
        changed=changed.fill_null(0.0),
        shown=pl.col("soc").cast(pl.Float64) - pl.col("soc").shift(1),
        moved=pl.col("moved") * pm,
    ).with_columns(off=pl.col("shown") - pl.col("moved") + pl.col("changed") / 2)
    begins = (~same | _set(limits) | pl.col("lost")).fill_null(value=True)
    off, late = (pl.when(~begins).then(name).otherwise(0.0).cum_sum() for name in ("off", "changed"))
    stretches = known.with_columns(off=off, late=late, stretch=begins.cum_sum()).group_by("unit", "stretch").agg(
        pl.min_horizontal(_range(pl.col("off") + (at - 0.5) * pl.col("late")) for at in MOMENTS),
        sigma=(pl.col("changed").slice(1) ** 2).sum().sqrt() / 12**0.5,
    )  # fmt: skip
    least = (limits.doubts.counted_off_pm**2 + (SURE * pl.col("sigma")) ** 2).sqrt()
    return stretches.group_by("unit").agg(COUNTED=(pl.col("off") > least).any())


def _set(limits: Limits) -> pl.Expr:
    """Whether the state of charge went farther than the charge can have brought it. One that stands is not set."""
    return pl.col("off") * pl.col("shown").sign() > limits.doubts.set_pm + pl.col("changed").abs() / 2


def _range(of: pl.Expr) -> pl.Expr:
    return of.max() - of.min()
