"""Is the next lockout foreseen: who, how likely, and how long before?"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import polars as pl

from pipeline.validation.replay import Replayed
from pipeline.validation.rows import Figure

KEY = ["site", "unit"]
HORIZON = timedelta(days=30)


def validate(done: Replayed) -> Iterator[Figure]:
    """AUC and Brier score of p30 on days that have 30 days after them, and the median lead of a risk of one half."""
    told = _told(done)
    rows = told.filter(pl.col("day") <= done.days[-1] - HORIZON)
    yes, no = (rows.filter(pl.col("came") == came)["p30"].to_list() for came in (True, False))
    area = auc(yes, no)
    wide = 1.96 * (area * (1 - area) / max(min(len(yes), len(no)), 1)) ** 0.5
    yield Figure("repeat: AUC of p30", 0.85, area, area - wide, min(1.0, area + wide))
    errors = rows.select((pl.col("p30") - pl.col("came").cast(pl.Float64)) ** 2).to_series()
    brier, deviation = _number(errors.mean()), _number(errors.std())
    wide = 1.96 * deviation / max(rows.height, 1) ** 0.5
    yield Figure("repeat: Brier score of p30", 0.12, brier, brier - wide, brier + wide, at_most=True)
    leads = _leads(told, done)
    quarter, half, most = (_number(leads.quantile(q)) for q in (0.25, 0.5, 0.75))
    yield Figure("repeat: median lead, days", 14.0, half, quarter, most)


def auc(yes: list[float], no: list[float]) -> float:
    """The chance that one that came was held likelier than one that did not; NaN without either."""
    if not yes or not no:
        return float("nan")
    both = pl.DataFrame({"p": yes + no, "came": [True] * len(yes) + [False] * len(no)})
    ranks = _number(both.with_columns(rank=pl.col("p").rank("average")).filter("came")["rank"].sum())
    return (ranks - len(yes) * (len(yes) + 1) / 2) / (len(yes) * len(no))


def _told(done: Replayed) -> pl.DataFrame:
    """(site, unit, day, p30, came): each module and day; a module that never locked out has the least that was told."""
    risks = done.tables["finding"].filter(pl.col("analysis") == "lockout_risk")
    p30 = risks.select(*KEY, "day", p30=pl.col("confidence"))
    days = done.tables["module_day"].select(*KEY, "day").join(p30, on=[*KEY, "day"], how="left")
    least = pl.col("p30").min().fill_null(0.0).over("day")
    known = days.with_columns(pl.col("p30").fill_null(least / 2))
    starts = _days(done)
    next_one = known.sort("day").join_asof(
        starts.sort("at"), left_on="day", right_on="at", by=KEY, strategy="forward", allow_exact_matches=False
    )
    came = ((pl.col("at") - pl.col("day")) <= HORIZON).fill_null(value=False)
    return next_one.with_columns(came=came)


def _days(done: Replayed) -> pl.DataFrame:
    at = pl.from_epoch("start", time_unit="ms").dt.date()
    return done.truth["lockout"].select(*KEY, at=at).unique()


def _leads(told: pl.DataFrame, done: Replayed) -> pl.Series:
    """Days from the first on which p30 was a half to the last lockout of those that came back after it."""
    warned = told.filter(pl.col("p30") >= 0.5).group_by(KEY).agg(first=pl.col("day").min())
    last = _days(done).group_by(KEY).agg(last=pl.col("at").max())
    after = warned.join(last, on=KEY).filter(pl.col("last") > pl.col("first"))
    return after.select((pl.col("last") - pl.col("first")).dt.total_days().cast(pl.Float64).alias("lead")).to_series()


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else float("nan")
