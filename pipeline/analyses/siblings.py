"""What do like modules do? One uncertain slope leans on its siblings', and their losses tell years from cycles."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from pipeline.analyses.ledger import UNIT
from pipeline.methods.regression import Floats
from pipeline.methods.shares import shares
from pipeline.methods.shrinkage import cohort, shrunk

FEWEST = 8
COLD_DC, WARM_DC = 100, 250
AGES = (730, 1825)
SPLIT = ("share", "share_lo", "share_hi")
LEANT = ("shrunk", "shrunk_error", *SPLIT, "knee_median")
FLOOR = 1e-4
"""Standard error of a slope below which none is believed, share a year."""
DIFFER = 0.25
"""Like modules differ by at least this share of their mean slope, even where twenty short records do not show it: a
module that surely fades fast is not to hide among slow ones."""


def named(rows: pl.LazyFrame) -> pl.LazyFrame:
    """`cohort` of rows (model, temp_dc, age_days): same model, climate and age. What is not known is a class too."""
    cold, warm = pl.col("temp_dc") < COLD_DC, pl.col("temp_dc") > WARM_DC
    climate = pl.when(cold).then(pl.lit("cold")).when(warm).then(pl.lit("warm")).otherwise(pl.lit("mild"))
    age = pl.sum_horizontal((pl.col("age_days") > edge).cast(pl.Int32) for edge in AGES).cast(pl.String)
    return rows.with_columns(cohort=pl.concat_str(pl.col("model"), climate, age, separator="/"))


@dataclass(frozen=True, slots=True)
class Circle:
    """Like modules: who they are, slopes with standard errors (n,), and what they all have in common."""

    who: tuple[tuple[str, str], ...]
    slope: Floats
    error: Floats
    split: tuple[float | None, ...]
    knee: float | None


def leaning(rows: pl.DataFrame, others: pl.DataFrame) -> pl.DataFrame:
    """rows of `trends` with `siblings` and LEANT, from `others`: the newest rows of trend from days before, all sites.

    The circle is the cohort, or everybody of the model where the cohort has fewer than eight; without eight the
    slope stays its own. A module's slope is drawn to the others' only.
    """
    usable = others.filter(pl.col("error").is_not_nan() & pl.col("error").is_not_null() & pl.col("slope").is_not_nan())
    near, wide = (
        {str(name): _circle(frame) for (name,), frame in usable.group_by(by, maintain_order=True)}
        for by in ("cohort", "model")
    )
    nobody = _circle(usable.clear())
    found = []
    for row in rows.to_dicts():
        kin = near.get(row["cohort"], nobody)
        enough = len(kin.who) - ((row["site"], row["unit"]) in kin.who) >= FEWEST
        found.append(_leant(row, kin if enough else wide.get(row["model"], nobody)))
    schema = {"siblings": pl.Int64, **dict.fromkeys(LEANT, pl.Float64)}
    return rows.hstack(pl.DataFrame(found, schema=schema, orient="row"))


def _circle(kin: pl.DataFrame) -> Circle:
    stresses = (kin["calendar"].to_numpy(), kin["cyclic"].to_numpy(), 1 - kin["soh"].to_numpy())
    split = shares(*stresses, resamples=100) if kin.height >= FEWEST else None
    knees = kin["knee_loss"].drop_nulls()
    return Circle(
        tuple(kin.select(UNIT).iter_rows()),
        kin["slope"].to_numpy(),
        np.maximum(kin["error"].to_numpy(), FLOOR),
        (split.share, split.lo, split.hi) if split else (None,) * 3,
        float(np.median(knees.to_numpy())) if knees.len() else None,
    )


def _leant(row: dict[str, Any], kin: Circle) -> tuple[float | None, ...]:
    slope, error = row["slope"], row["error"]
    at = (row["site"], row["unit"])
    others = np.ones(len(kin.who), bool)
    if at in kin.who:
        others[kin.who.index(at)] = False
    count = int(np.count_nonzero(others))
    if count < FEWEST or not np.isfinite(error) or not np.isfinite(slope):
        return (count, slope, error, *(None,) * 4)
    around = cohort(kin.slope[others], kin.error[others])
    wide = replace(around, between=max(around.between, (DIFFER * around.mean) ** 2))
    value, left = shrunk(slope, max(error, FLOOR), wide)
    return (count, value, float(np.hypot(left, row["unseen"])), *kin.split, kin.knee)
