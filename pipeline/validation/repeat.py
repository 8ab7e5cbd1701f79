"""Is the next lockout foreseen: who, how likely, and how long before?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

import numpy as np
import polars as pl

from pipeline.validation.bars import frozen
from pipeline.validation.replay import Replayed
from pipeline.validation.row import RESAMPLED, Row

KEY = ["site", "unit"]
HORIZON = timedelta(days=30)


def repeat(done: Replayed) -> Iterator[Row]:
    """AUC and Brier score of p30 over the days that have 30 more days after them, and how long a repeat was foreseen.

    Asked of every module that is watched, also of those that never locked out, except on days on which a lockout
    stands (nothing can come there). The first rows leave out the days before a module's flaw was there: no reading
    tells today that a charger will be set wrongly next week. The last row has them too, and no bar.
    """
    told = _told(done)
    rows = told.filter((pl.col("day") <= done.days[-1] - HORIZON) & ~pl.col("stands"))
    there = rows.filter(~pl.col("unborn"))
    yield _by_module(*frozen("repeat: AUC of p30"), there, _auc)
    yield _by_module(*frozen("repeat: Brier score of p30"), there, _brier)
    leads = _leads(told, done)
    quarter, half, most = (_number(leads["lead"].quantile(q)) for q in (0.25, 0.5, 0.75))
    yield Row(*frozen("repeat: median lead (and quartiles)"), half, quarter, most, "days")
    yield _by_module(*frozen("repeat: AUC of p30, flaws yet to come included"), rows, _auc)


def _by_module(
    name: str, target: tuple[float, float], rows: pl.DataFrame, figure: Callable[[pl.DataFrame], float]
) -> Row:
    """The figure with a bootstrap over modules, for the days of one module are no independent cases."""
    groups = rows.partition_by(KEY)
    if not groups:
        return Row(name, target, float("nan"), 0.0, 1.0, "")
    draw = np.random.default_rng(0)
    chosen = (draw.integers(len(groups), size=len(groups)) for _ in range(RESAMPLED))
    spread = [figure(pl.concat([groups[i] for i in pick])) for pick in chosen]
    lo, hi = np.nanquantile(spread, [0.025, 0.975])
    return Row(name, target, figure(rows), float(lo), float(hi), "")


def _auc(rows: pl.DataFrame) -> float:
    yes, no = (rows.filter(pl.col("came") == came)["p30"].to_list() for came in (True, False))
    return auc(yes, no)


def _brier(rows: pl.DataFrame) -> float:
    return _number(rows.select(((pl.col("p30") - pl.col("came").cast(pl.Float64)) ** 2).mean()).item())


def auc(yes: list[float], no: list[float]) -> float:
    """The chance that one that came was held likelier than one that did not; NaN without either."""
    if not yes or not no:
        return float("nan")
    both = pl.DataFrame({"p": yes + no, "came": [True] * len(yes) + [False] * len(no)})
    ranks = _number(both.with_columns(rank=pl.col("p").rank("average")).filter("came")["rank"].sum())
    return (ranks - len(yes) * (len(yes) + 1) / 2) / (len(yes) * len(no))


def _told(done: Replayed) -> pl.DataFrame:
    """(site, unit, day, p30, came, stands, unborn) of each module and day: whether a lockout begins within 30 days,
    whether one stands all the time, and whether the module's flaw is still to come.
    """
    risks = done.tables["finding"].filter(pl.col("analysis") == "lockout_risk")
    days = risks.select(*KEY, "day", p30=pl.col("confidence"))
    spans = _days(done).rename({"at": "from"})
    later = days.join(spans, on=KEY)
    came = pl.col("from").is_between(pl.col("day"), pl.col("day") + HORIZON, closed="right").any()
    stands = ((pl.col("from") <= pl.col("day")) & (pl.col("to") > pl.col("day"))).any()
    known = days.join(later.group_by(*KEY, "day").agg(came=came, stands=stands), on=[*KEY, "day"], how="left")
    onset = done.truth["flaw"].group_by(KEY).agg(pl.col("onset").min())
    return (
        known.join(onset, on=KEY, how="left")
        .with_columns(pl.col("came", "stands").fill_null(value=False))
        .with_columns(unborn=(pl.col("day") < pl.col("onset")).fill_null(value=False))
    )


def _days(done: Replayed) -> pl.DataFrame:
    """(site, unit, at, to): the days on which a lockout began, and until when."""
    at, to = (pl.from_epoch(name, time_unit="ms").dt.date() for name in ("start", "end"))
    return done.truth["lockout"].select(*KEY, at=at, to=to).unique()


def _leads(told: pl.DataFrame, done: Replayed) -> pl.DataFrame:
    """`lead` of each day with a lockout that was not a module's first: for how many days, up to the day before,
    the module had stood under an unbroken warning (p30 of one half or more); 0 without one.
    """
    days = told.sort(*KEY, "day").with_columns(warned=pl.col("p30") >= 0.5)
    began = pl.when(~pl.col("warned")).then("day").forward_fill().over(KEY)
    first = pl.col("day").min().over(KEY) - timedelta(days=1)
    held = (pl.col("day") - pl.coalesce(began, first)).dt.total_days()
    stood = days.with_columns(lead=pl.when("warned").then(held).otherwise(0)).select(*KEY, "day", "lead")
    again = _days(done).select(*KEY, "at").unique().filter(pl.col("at") > pl.col("at").min().over(KEY))
    return again.with_columns(day=pl.col("at") - timedelta(days=1)).join(stood, on=[*KEY, "day"])


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else float("nan")
