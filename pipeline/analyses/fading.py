"""What the trend says to a person: points a year with an interval, drawn to its siblings', or why there is none yet."""

from __future__ import annotations

import polars as pl

from pipeline.analyses.findings import as_json, finding, reason
from pipeline.analyses.ledger import UNIT
from pipeline.analyses.trend import WEEKS

FAST, SURE = -0.05, 0.05
"""Share a year that a module loses beyond what ages fast (home storage loses 0.01 to 0.04), and the p of no trend."""
EVIDENCE = ("slope", "error", "shrunk", "shrunk_error", "p", "method", "cohort", "siblings", "weeks", "span_days")
SPLIT = ("calendar", "cyclic", "share", "share_lo", "share_hi")


def fading(leant: pl.LazyFrame, module_day: pl.LazyFrame) -> pl.LazyFrame:
    """A finding's row a unit of module_day: what `leaning` gave, in points a year."""
    rows = module_day.select(UNIT).join(leant, on=UNIT, how="left")
    seen = pl.col("shrunk").is_not_null() & pl.col("shrunk").is_not_nan() & pl.col("shrunk_error").is_not_nan()
    fast = (pl.col("shrunk") + 1.645 * pl.col("shrunk_error") < FAST) & (pl.col("p") < SURE)
    status = pl.when(~seen).then(pl.lit("not_observable")).when(fast).then(pl.lit("finding")).otherwise(pl.lit("ok"))
    return finding(rows.with_columns(status=status).sort(UNIT).select(*UNIT, "status", **_told()), "trend")


def _told() -> dict[str, pl.Expr]:
    bad, unseen = pl.col("status") == "finding", pl.col("status") == "not_observable"
    percent, half = 100 * pl.col("shrunk"), 196 * pl.col("shrunk_error")
    why = [
        pl.when(unseen).then(reason("weeks_with_a_full_cycle", pl.col("weeks").fill_null(0), "count", WEEKS)),
        pl.when(bad).then(reason("capacity_lost_in_a_year", -percent, "%", -100 * FAST)),
        pl.when(bad & (pl.col("siblings") > 0)).then(reason("like_modules_compared_with", pl.col("siblings"), "count")),
    ]
    wanted = pl.when(bad | unseen).then(pl.lit("capacity_fade"))
    numbers = [pl.col(name) for name in (*EVIDENCE, *SPLIT)]
    return {
        "pattern": pl.lit("trend"),
        "fault": pl.when(bad).then(pl.lit("capacity_fade")),
        "value": pl.when(~unseen).then(percent),
        "lo": pl.when(~unseen).then(percent - half),
        "hi": pl.when(~unseen).then(percent + half),
        "threshold": pl.lit(100 * FAST),
        "value_unit": pl.lit("% a year"),
        "confidence": pl.when(unseen).then(0.0).otherwise(1 - pl.col("p").fill_null(1.0)),
        "reasons": as_json(pl.concat_list(why).list.drop_nulls()),
        "action": as_json(pl.concat_list(wanted).list.drop_nulls()),
        "evidence": as_json(pl.struct(pl.lit("trend").alias("table"), *numbers)),
    }
