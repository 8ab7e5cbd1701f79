"""Remaining life and warranty as findings: years with an interval, health at the warranty's end, or why not."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from pipeline.analyses.findings import as_json, finding, reason
from pipeline.analyses.ledger import UNIT
from pipeline.analyses.life import END

SOON, LIKELY = 1.0, 0.5
"""Years of remaining life at which somebody is told, and the chance of falling below the warranty's line."""
NUMBERS = ("soh", "soh_sigma", "shrunk", "shrunk_error", "age_days", "span_days", "siblings", "by", "knee_days")


def remaining(rows: pl.LazyFrame) -> pl.LazyFrame:
    """A finding's row a unit: years to 80 % of nominal; not_observable with the reason where nobody can tell."""
    censored = pl.col("p50").is_null()
    soon = pl.col("p50") < SOON
    status = pl.when(censored).then(pl.lit("not_observable")).when(soon).then(pl.lit("finding")).otherwise(pl.lit("ok"))
    bent = soon & pl.col("knee_days").is_not_null()
    why = [
        pl.when(censored).then(reason_named(pl.col("why").fill_null("no_trend_yet"))),
        pl.when(soon).then(reason("capacity_now", 100 * pl.col("soh"), "%", 100 * END)),
        pl.when(bent).then(reason("loss_runs_away_since", pl.col("knee_days"), "days")),
    ]
    told = {
        "pattern": pl.lit("remaining_life"),
        "value": pl.col("p50"),
        "lo": pl.col("p10"),
        "hi": pl.col("p90"),
        "threshold": pl.lit(SOON),
        "value_unit": pl.lit("years"),
        "confidence": pl.when(censored).then(0.0).otherwise(0.8),
    }
    return finding(rows.select(*UNIT, status=status, **told, **_why(why, soon, NUMBERS)), "life")


def margin(rows: pl.LazyFrame) -> pl.LazyFrame:
    """A finding's row a unit that has a warranty running: health at its end, and the chance of a breach before it."""
    known = rows.filter(pl.col("p_breach").is_not_null())
    breach = pl.col("p_breach") > LIKELY
    why = [
        pl.when(breach).then(reason("below_the_warranty_before_its_end", 100 * pl.col("p_breach"), "%", 100 * LIKELY))
    ]
    told = {
        "pattern": pl.lit("warranty"),
        **{name: 100 * pl.col(f"at_end_{of}") for name, of in (("value", "p50"), ("lo", "p10"), ("hi", "p90"))},
        "threshold": 100 * pl.col("warranty_left"),
        "value_unit": pl.lit("%"),
        "confidence": pl.max_horizontal("p_breach", 1 - pl.col("p_breach")),
    }
    status = pl.when(breach).then(pl.lit("finding")).otherwise(pl.lit("ok"))
    numbers = ("warranty_years", "warranty_left", "p_breach", *NUMBERS)
    return finding(known.select(*UNIT, status=status, **told, **_why(why, breach, numbers)), "life")


def reason_named(name: pl.Expr) -> pl.Expr:
    """A reason whose name is in a column, and that has no number."""
    blank = pl.lit(None, pl.Float64)
    return pl.struct(id=name, value=blank, threshold=blank, value_unit=pl.lit(None, pl.String))


def _why(why: Sequence[pl.Expr], bad: pl.Expr, numbers: tuple[str, ...]) -> dict[str, pl.Expr]:
    fault = pl.when(bad).then(pl.lit("capacity_fade"))
    return {
        "fault": fault,
        "reasons": as_json(pl.concat_list(why).list.drop_nulls()),
        "action": as_json(pl.concat_list(fault).list.drop_nulls()),
        "evidence": as_json(pl.struct(pl.lit("trend").alias("table"), *numbers)),
    }
