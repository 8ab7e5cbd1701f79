"""Did many modules lock out in the same day, week or month: weather, or a firmware roll-out?"""

from __future__ import annotations

import polars as pl

from pipeline.analyses.rare import poisson_tail
from pipeline.limits import DAY, Risk

WINDOWS = (1, 7, 30)
BURST = {
    "cause": pl.String,
    "days": pl.Int64,
    "n": pl.Int64,
    "units": pl.Int64,
    "expected": pl.Float64,
    "p": pl.Float64,
}


def bursts(sessions: pl.LazyFrame, as_of: int, watched: float, limits: Risk) -> pl.DataFrame:
    """(cause, days, n, units, expected, p) of windows that end at `as_of` with far more lockouts than those before.

    `watched` is for how many days the fleet is known. A chain counts once. A Poisson scan: the rate before the window
    gives what was to be expected, and p is multiplied by the number of tests made.
    """
    age = (as_of - pl.col("start")) / DAY
    rows = sessions.filter(~pl.col("again") & (age >= 0)).with_columns(age=age)
    unit = pl.struct("site", "unit")
    found = []
    for days in WINDOWS:
        if watched < 2 * days:
            continue
        inside = pl.col("age") < days
        counted = rows.group_by("cause").agg(
            n=inside.sum().cast(pl.Int64),
            units=unit.filter(inside).n_unique().cast(pl.Int64),
            expected=((~inside).sum() + 0.5) / (watched - days) * days,
        )
        found.append(counted.with_columns(days=pl.lit(days, pl.Int64)))
    if not found:
        return pl.DataFrame(schema={name: kind() for name, kind in BURST.items()})
    tests = pl.concat(found).filter(pl.col("n") > 0).collect()
    p = [min(1.0, tests.height * poisson_tail(n, mean)) for n, mean in tests.select("n", "expected").iter_rows()]
    judged = tests.with_columns(p=pl.Series(p, dtype=pl.Float64))
    told = judged.filter((pl.col("p") < limits.burst_p) & (pl.col("units") >= limits.cluster_units))
    return told.select(list(BURST)).sort("p", "cause", "days")
