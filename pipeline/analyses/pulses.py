"""What do current steps say of each cell's resistance, over a day, a week, a month, and against when it was new?"""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl

from pipeline.analyses.ledger import UNIT
from pipeline.analyses.step_sums import exact_sum

WINDOWS = (1, 7, 30, 90)
"""Days over which the sums of current steps are added."""
BASELINE = timedelta(days=60)
STEPS = 50
"""Current steps in a window before its resistance means anything."""
CELL = [*UNIT, "cell"]


def resistances(cell_day: pl.LazyFrame, day: date) -> pl.LazyFrame:
    """By cell: r_1, r_7, r_30, r_90 (mOhm at 25 degC), ratio_* to the module's median cell, steps_*.

    A pulse resistance at the sampling period: compare ratios and changes, never two sampling periods.
    """
    within = {n: pl.col("day") > day - timedelta(days=n) for n in WINDOWS}
    sums = (
        cell_day.filter(pl.col("day") <= day)
        .group_by(CELL)
        .agg(
            *(exact_sum(pl.col("sxy").filter(w)).alias(f"xy_{n}") for n, w in within.items()),
            *(exact_sum(pl.col("sxx").filter(w)).alias(f"xx_{n}") for n, w in within.items()),
            *(pl.col("steps").filter(w).sum().alias(f"steps_{n}") for n, w in within.items()),
        )
    )
    values = {f"r_{n}": pl.when(pl.col(f"xx_{n}") > 0).then(pl.col(f"xy_{n}") / pl.col(f"xx_{n}")) for n in WINDOWS}
    medians = {f"ratio_{n}": pl.col(f"r_{n}") / pl.col(f"r_{n}").median().over(UNIT) for n in WINDOWS}
    kept = [*CELL, *values, *medians, *(f"steps_{n}" for n in WINDOWS)]
    return sums.with_columns(**values).with_columns(**medians).select(kept).sort(CELL)


def of_a_day(cell_day: pl.LazyFrame, module_day: pl.LazyFrame) -> pl.LazyFrame:
    """resistance without its place: the median cell of each module, from a day's rows of cell_day."""
    known = cell_day.filter(pl.col("sxx") > 0).with_columns(r_mohm=pl.col("sxy") / pl.col("sxx"))
    medians = known.group_by(UNIT).agg(pl.col("r_mohm", "sxx", "steps").median())
    return medians.join(module_day.select(*UNIT, "period_ms"), on=UNIT).sort(UNIT)


def growth(days: pl.LazyFrame, day: date) -> pl.LazyFrame:
    """By module from `resistance` rows: growth_a, the yearly growth (share) of its resistance since its first 60 days.

    From the last 90 days against the first 60, once they lie apart, at the sampling period of today only.
    """
    same = days.filter(pl.col("period_ms") == pl.col("period_ms").last().over(UNIT))
    began = pl.col("day").min().over(UNIT) + BASELINE
    late = pl.col("day") > day - timedelta(days=90)
    halves = {"first": same.filter(pl.col("day") < began), "now": same.filter(late & (pl.col("day") >= began))}
    each = {
        name: half.group_by(UNIT)
        .agg(
            exact_sum(pl.col("r_mohm") * pl.col("sxx")).alias(f"r_{name}") / exact_sum(pl.col("sxx")),
            pl.col("day").mean().cast(pl.Date).alias(f"at_{name}"),
            n=pl.col("steps").sum(),
        )
        .filter(pl.col("n") >= STEPS)
        .drop("n")
        for name, half in halves.items()
    }
    years = (pl.col("at_now") - pl.col("at_first")).dt.total_days() / 365
    both = each["first"].join(each["now"], on=UNIT)
    return both.with_columns(growth_a=pl.when(years > 60 / 365).then((pl.col("r_now") / pl.col("r_first") - 1) / years))
