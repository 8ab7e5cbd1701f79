"""How long until the next lockout? Kaplan and Meier (1958), a curve for each cause and cohort."""

from __future__ import annotations

import polars as pl

from pipeline.limits import DAY


def survival(sessions: pl.LazyFrame, units: pl.LazyFrame, as_of: int, by: list[str]) -> pl.LazyFrame:
    """(by.., days, at_risk, ended, free): the share `free` of lockouts so many days after the last one.

    `sessions` are (site, unit, cause, start, end); `units` (site, unit, cohort). A wait that has not ended is censored.
    """
    key = ["site", "unit", "cause"]
    ordered = sessions.filter(pl.col("start") < as_of).sort(*key, "start")
    following = pl.col("start").shift(-1).over(key)
    waits = ordered.join(units.select("site", "unit", "cohort"), on=["site", "unit"], how="left").select(
        *by,
        days=((pl.coalesce(following, pl.lit(as_of)) - pl.col("end")) / DAY).clip(lower_bound=0),
        ended=following.is_not_null(),
    )
    steps = waits.group_by(*by, "days").agg(left=pl.len(), ended=pl.col("ended").sum()).sort(*by, "days")
    at_risk = pl.col("left").cum_sum(reverse=True).over(by)
    return (
        steps.with_columns(at_risk=at_risk)
        .with_columns(free=(1 - pl.col("ended") / pl.col("at_risk")).cum_prod().over(by))
        .filter(pl.col("ended") > 0)
        .select(*by, "days", "at_risk", "ended", "free")
    )


def median_days(curves: pl.LazyFrame, by: list[str]) -> pl.LazyFrame:
    """The days by which half have locked out again; groups that never come so far are left out."""
    return curves.filter(pl.col("free") <= 0.5).group_by(by).agg(pl.col("days").min())
