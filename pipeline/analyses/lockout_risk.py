"""Which modules are likely to lock out again, and why we think so: findings from the risk of each."""

from __future__ import annotations

import polars as pl

from pipeline.analyses.findings import as_json, finding, reason
from pipeline.analyses.risk import TERMS
from pipeline.limits import Risk


def lockout_risk(risks: pl.LazyFrame, limits: Risk) -> pl.LazyFrame:
    """A finding's row for each unit: value = risk score 0..100, its three largest terms.

    A finding above `high`. The chance within 30 days, the trend's shape and the counts stand in the evidence.
    """
    rows = risks.sort("site", "unit")
    high = pl.col("score") > limits.high
    terms = pl.concat_list(reason(name, 100 * pl.col(name), "%") for name in TERMS)
    largest = terms.list.eval(
        pl.element()
        .filter(pl.element().struct.field("value") > 0)
        .sort_by(pl.element().filter(pl.element().struct.field("value") > 0).struct.field("value"), descending=True)
        .head(3)
    )
    told = {
        "pattern": pl.lit("risk"),
        "status": pl.when(high).then(pl.lit("finding")).otherwise(pl.lit("ok")),
        "fault": pl.when(high).then(pl.lit("repeat_lockout")),
        "value": pl.col("score"),
        "threshold": pl.lit(limits.high),
        "value_unit": pl.lit("%"),
        "confidence": pl.col("p30"),
        "reasons": as_json(largest),
        "action": as_json(pl.concat_list(pl.when(high).then(pl.lit("repeat_lockout"))).list.drop_nulls()),
        "evidence": as_json(
            pl.struct(
                "p7",
                "p30",
                "rate",
                "n",
                "near",
                "beta",
                "beta_lo",
                "beta_hi",
                "days",
                table=pl.lit("lockout"),
                key=pl.lit("unit"),
            )
        ),
    }
    return finding(rows.select("site", "unit", **told), "lockout_risk")
