"""Does another meter of the same current agree? A shunt beside the modules of a stack, held against their sum."""

from __future__ import annotations

import polars as pl

from pipeline.limits import HOUR, Stack
from pipeline.quality import Quality

AT = ["heap", "bin"]
OFF = 0.03
"""Beyond it, and beyond what the day leaves open, the two do not agree."""
SAME = 0.3
"""What differs by more is no wrong sensor: the shunt meters another current, or a module without a BMS as well."""
LEAST, PIECES = 0.2, 36
"""Charge that passed the shunt, a share of the stack's capacity, and pieces in which everybody spoke."""
SURE = 1.96


def gains(rows: pl.LazyFrame, mates: pl.LazyFrame, meters: pl.LazyFrame, limits: Stack) -> pl.LazyFrame:
    """(unit, dq = I_GAIN) of the modules of stacks whose summed current is off the shunt's by a factor.

    `rows` are a day's readings; mates (unit, heap, members, nominal), `heap` a number a stack; meters (heap, bin,
    meter: the shunt's mean, mA). Held together by the means of five minutes, for all are read one after the other. An
    offset of either does not show in the factor, which lies between the regression of one current on the other and
    that of the other on the one, whichever is the noisier; both have to be off. Which module of several is wrong
    cannot be told, so all of the stack are in doubt.
    """
    both = _side_by_side(rows, mates, meters, limits)
    x, y, n = pl.col("meter"), pl.col("ma"), pl.len()
    stacks = both.group_by("heap").agg(
        n=n,
        ratio=(y.var() / x.var()).sqrt(),
        r=pl.corr(x, y),
        passed=x.abs().sum() * limits.bin_ms / HOUR,
    )
    ratio, r = pl.col("ratio"), pl.col("r")
    error = SURE * ratio * ((1 - r**2).clip(0) / (pl.col("n") - 2)).sqrt()
    wrong = (ratio * r - error > 1 + OFF) | (ratio / r + error < 1 - OFF)
    held = stacks.filter((pl.col("n") >= PIECES) & (r > 0) & ((ratio - 1).abs() <= SAME) & wrong)
    told = mates.join(held, on="heap").filter(pl.col("passed") >= LEAST * pl.col("nominal").sum().over("heap"))
    return told.select("unit", dq=pl.lit(int(Quality.I_GAIN), pl.Int64))


def _side_by_side(rows: pl.LazyFrame, mates: pl.LazyFrame, meters: pl.LazyFrame, limits: Stack) -> pl.LazyFrame:
    """(heap, bin, ma: sum of its modules, meter), mA, of the pieces in which all of them and the shunt spoke."""
    piece = pl.col("ts") // limits.bin_ms
    own = rows.select("unit", "ts", "current_ma").join(mates, on="unit").group_by("unit", "heap", bin=piece).agg(
        pl.col("members").first(), ma=pl.col("current_ma").mean()
    )  # fmt: skip
    summed = own.group_by(AT).agg(pl.col("members").first(), n=pl.col("ma").count(), ma=pl.col("ma").sum())
    whole = summed.filter(pl.col("n") == pl.col("members")).join(meters, on=AT)
    return whole.select(*AT, "ma", "meter").sort(AT)
