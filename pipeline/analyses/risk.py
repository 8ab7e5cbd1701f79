"""How likely is each module's next lockout, and is it getting worse? Counts with shrinkage towards the cohort."""

from __future__ import annotations

import math

import polars as pl

from pipeline.analyses.rare import chi2_quantile
from pipeline.limits import DAY, Risk

UNIT = ["site", "unit"]
TERMS = ("again_within_30_days", "back_after_a_reset", "getting_worse", "cells_out_of_step", "dangerous_cause")
"""What the risk score is made of, in the order of Risk.weights."""


def risk(sessions: pl.LazyFrame, units: pl.LazyFrame, as_of: int, limits: Risk) -> pl.LazyFrame:
    """(site, unit) with p7, p30, rate (a day), n, beta, beta_lo, beta_hi, score 0..100 and its terms.

    `sessions` come from `recurrence`; `units` are (site, unit, cohort, from_ts, linked, near): since when each is
    watched, how sure a mismatch is (0..1), and on how many of the last days it came near a limit. Gamma-Poisson: prior
    from the moments of those of the cohort that come near as often; counts are forgotten with a half-life.
    Worsening: Crow-AMSAA, time-truncated (MIL-HDBK-189C), 95 % interval.
    """
    age = (as_of - pl.col("start")) / DAY
    counts = (
        sessions.filter(pl.col("start") < as_of)
        .group_by(UNIT)
        .agg(
            n=pl.len().cast(pl.Int64),
            weighed=(pl.col("weight") * 0.5 ** (age / limits.forgets)).sum(),
            fresh_reset=(pl.col("after_reset") & (age <= limits.fresh)).any(),
            danger=(pl.col("danger") & (age <= limits.fresh)).any(),
            starts=pl.col("start").sort(),
        )
    )
    forgets = limits.forgets / math.log(2)
    days = ((as_of - pl.col("from_ts")) / DAY).clip(1.0, float(limits.history))
    rows = units.join(counts, on=UNIT, how="left", maintain_order="left").with_columns(
        days=days, seen=forgets * (1 - 0.5 ** (days / limits.forgets))
    )
    known = rows.with_columns(
        *(pl.col(name).fill_null(0) for name in ("n", "weighed")),
        *(pl.col(name).fill_null(value=False) for name in ("fresh_reset", "danger")),
    )
    times = pl.col("near").fill_null(0)
    often = pl.when(times == 0).then(pl.lit("never")).when(times < limits.near_often).then(pl.lit("at times"))
    how = often.otherwise(pl.lit("often"))
    alike = known.with_columns(alike=pl.concat_str("cohort", how, separator=", near a limit "))
    shrunk = alike.with_columns(*_prior()).with_columns(*_chances())
    return shrunk.with_columns(_worsening(as_of)).unnest("trend").with_columns(*_score(limits)).drop("starts")


def _prior() -> tuple[pl.Expr, pl.Expr]:
    """a and b by moments of those `alike`; where they vary no more than chance the prior is as heavy as ten units.

    Where few of them lock out daily and the others never, they say next to nothing of one that has not yet.
    """
    rate = pl.col("weighed") / pl.col("seen")
    mean = (pl.col("weighed").sum() + 0.5) / (pl.col("seen").sum() + 0.5 * pl.col("seen").mean())
    spare = rate.var().fill_null(0.0) - mean / pl.col("seen").mean()
    b = pl.when(spare > 0).then(mean / spare).otherwise(10 * pl.col("seen").mean())
    b = b.clip(LIGHTEST, 10 * pl.col("seen").mean())
    return (mean * b).over("alike").alias("a"), b.over("alike").alias("b")


def _chances() -> tuple[pl.Expr, ...]:
    shape, scale = pl.col("a") + pl.col("weighed"), pl.col("b") + pl.col("seen")
    chances = (1 - (scale / (scale + days)) ** shape for days in (7.0, 30.0))
    return (*(p.alias(f"p{days}") for p, days in zip(chances, (7, 30), strict=True)), (shape / scale).alias("rate"))


def _worsening(as_of: int) -> pl.Expr:
    kind = pl.Struct({"beta": pl.Float64, "beta_lo": pl.Float64, "beta_hi": pl.Float64})

    def beta(row: dict[str, object]) -> dict[str, float] | None:
        starts, begin = row["starts"], row["from_ts"]
        if not isinstance(starts, list) or not isinstance(begin, int) or len(starts) < MIN_TREND:
            return None
        span = as_of - begin
        logs = sum(math.log(span / max(start - begin, 1)) for start in starts if start < as_of)
        n, shape = len(starts), len(starts) / logs if logs > 0 else math.inf
        low, high = (shape * chi2_quantile(share, n) / (2 * n) for share in (0.025, 0.975))
        return {"beta": shape, "beta_lo": low, "beta_hi": high}

    return pl.struct("starts", "from_ts").map_elements(beta, return_dtype=kind).alias("trend")


LIGHTEST = 0.05
"""Days that the prior weighs at least."""
MIN_TREND = 3
"""Sessions below which no trend is told."""


def _score(limits: Risk) -> tuple[pl.Expr, ...]:
    chances = (
        pl.when(pl.col("n") > 0).then("p30").otherwise(0.0),
        pl.col("fresh_reset").cast(pl.Float64),
        (pl.col("beta_lo") > 1).fill_null(value=False).cast(pl.Float64),
        pl.col("linked").fill_null(0.0) * (pl.col("n") > 0),
        pl.col("danger").cast(pl.Float64),
    )
    terms = [w * p for w, p in zip(limits.weights, chances, strict=True)]
    safe = pl.lit(1.0)
    for term in terms:
        safe = safe * (1 - term)
    named = (term.alias(name) for name, term in zip(TERMS, terms, strict=True))
    return (*named, (100 * (1 - safe)).alias("score"))
