"""Does another meter of the same current agree? A shunt beside the modules of a stack, held against their sum."""

from __future__ import annotations

import numpy as np
import polars as pl

from pipeline.limits import HOUR, Stack
from pipeline.methods.regression import Floats
from pipeline.methods.resistant import biweight_line
from pipeline.quality import Quality

AT = ["heap", "bin"]
OFF = 0.03
"""Beyond it, and beyond what the day leaves open, the two do not agree."""
SAME = 0.3
"""What differs by more is no wrong sensor: the shunt meters another current, or a module without a BMS as well."""
LEAST, PIECES = 0.2, 36
"""Charge that passed the shunt, a share of the stack's capacity, and pieces in which everybody spoke."""
SURE = 1.96
STEP_MA, ALIKE = 100.0, 0.95
"""A sensor's step; and the correlation from which on the few pieces that differ are left out."""


def gains(rows: pl.LazyFrame, mates: pl.LazyFrame, meters: pl.LazyFrame, limits: Stack) -> pl.LazyFrame:
    """(unit, dq = I_GAIN) of the modules of stacks whose summed current is off the shunt's by a factor.

    `rows` are a day's readings; mates (unit, heap, members, nominal), `heap` a number a stack; meters (heap, bin,
    meter: the shunt's mean, mA). Held together by the means of five minutes, for all are read one after the other. An
    offset of either does not show in the factor, which lies between the regression of one current on the other and
    that of the other on the one, whichever is the noisier; both have to be off. Which module of several is wrong
    cannot be told, so all of the stack are in doubt.
    """
    both = _side_by_side(rows, mates, meters, limits).collect()
    held = pl.LazyFrame(
        [
            (heap, float(np.abs(x).sum()) * limits.bin_ms / HOUR)
            for (heap,), group in both.group_by("heap", maintain_order=True)
            if len(x := group["meter"].to_numpy()) >= PIECES and _off(x, group["ma"].to_numpy())
        ],
        schema={"heap": both.schema["heap"], "passed": pl.Float64},
        orient="row",
    )
    told = mates.join(held, on="heap").filter(pl.col("passed") >= LEAST * pl.col("nominal").sum().over("heap"))
    return told.select("unit", dq=pl.lit(int(Quality.I_GAIN), pl.Int64))


def _off(meter: Floats, ma: Floats) -> bool:
    """Whether every factor that the day leaves open is beyond OFF, to the same side, and none is another current's.

    Where a charger or a BMS turns the current down between the readings of one and of the other, they are far apart,
    and always to the same side; such pieces are left out where they are few. Where all is scattered, any line could
    be drawn through some of the pieces, and they all count.
    """
    if not (np.ptp(meter) and np.ptp(ma)):
        return False
    r = float(np.corrcoef(meter, ma)[0, 1])
    finest = STEP_MA if r > ALIKE else np.inf
    (up, up_error), (down, down_error) = biweight_line(meter, ma, finest), biweight_line(ma, meter, finest)
    if not (up > 0 and down > 0):
        return False
    told = ((up, up_error), (1 / down, down_error / down**2))
    within = [factor + side * SURE * error for factor, error in told for side in (-1, 1)]
    same = abs((up / down) ** 0.5 - 1) <= SAME
    return same and (min(within) > 1 + OFF or max(within) < 1 - OFF)


def _side_by_side(rows: pl.LazyFrame, mates: pl.LazyFrame, meters: pl.LazyFrame, limits: Stack) -> pl.LazyFrame:
    """(heap, bin, ma: sum of its modules, meter), mA, of the pieces in which all of them and the shunt spoke."""
    piece = pl.col("ts") // limits.bin_ms
    own = rows.select("unit", "ts", "current_ma").join(mates, on="unit").group_by("unit", "heap", bin=piece).agg(
        pl.col("members").first(), ma=pl.col("current_ma").mean()
    )  # fmt: skip
    summed = own.group_by(AT).agg(pl.col("members").first(), n=pl.col("ma").count(), ma=pl.col("ma").sum())
    whole = summed.filter(pl.col("n") == pl.col("members")).join(meters, on=AT)
    return whole.select(*AT, "ma", "meter").sort(AT)
