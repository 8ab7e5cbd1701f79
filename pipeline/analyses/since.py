"""Since when? A finding that was there a few days ago is the same one, not a new one."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl

SAME = ["site", "unit", "analysis", "pattern", "cell"]
FORGOTTEN = timedelta(days=4)
"""A finding that was not there for so long begins anew; a few days without a full charge do not end one."""


def since(findings: pl.LazyFrame, earlier: pl.LazyFrame, day: date) -> pl.LazyFrame:
    """Fill `since_day`: the first day of the unbroken run that reaches to `day`, from the findings of days before."""
    recent = earlier.filter((pl.col("status") == "finding") & pl.col("day").is_between(day - FORGOTTEN, day, "left"))
    began = recent.sort("day").group_by(SAME).agg(began=pl.col("since_day").last())
    known = findings.join(began, on=SAME, how="left", nulls_equal=True, maintain_order="left")
    first = pl.when(pl.col("status") == "finding").then(pl.coalesce("began", pl.lit(day)))
    return known.with_columns(since_day=first).drop("began")
