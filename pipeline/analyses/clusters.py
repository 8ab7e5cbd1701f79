"""Do lockouts gather where modules have something in common: a model, a firmware, a site, an installer?"""

from __future__ import annotations

import polars as pl

from pipeline.analyses.rare import binomial_tail, false_discovery
from pipeline.limits import Risk

ATTRIBUTES = ("model", "firmware", "inverter", "site", "installer", "batch")
"""What modules are compared by, as far as it is known of them."""


def clusters(sessions: pl.LazyFrame, units: pl.LazyFrame, limits: Risk) -> pl.DataFrame:
    """(attribute, value, cause, n, units, ratio, p, q) of groups with significantly more lockouts than all others.

    `units` are (site, unit, days, and any of ATTRIBUTES). A chain counts once, for its returns are not independent.
    Exact conditional binomial test; q by Benjamini and Hochberg over all tests made.
    """
    have = [name for name in ATTRIBUTES if name in units.collect_schema()]
    if not have:
        return pl.DataFrame(schema=CLUSTER)
    known = units.with_columns(pl.col(have).cast(pl.String))
    firsts = sessions.filter(~pl.col("again")).select("site", "unit", "cause")
    tests = pl.concat([_tests(firsts, known, name) for name in have]).collect()
    p = [binomial_tail(n, of, share) for n, of, share in tests.select("n", "all", "share").iter_rows()]
    judged = tests.with_columns(p=pl.Series(p, dtype=pl.Float64), q=pl.Series(false_discovery(p), dtype=pl.Float64))
    found = (pl.col("q") < limits.cluster_q) & (pl.col("ratio") >= limits.cluster_ratio)
    told = judged.filter(found & (pl.col("units") >= limits.cluster_units))
    return told.select(CLUSTER.keys()).sort("q", "attribute", "value", "cause")


CLUSTER = {
    **dict.fromkeys(("attribute", "value", "cause"), pl.String),
    **dict.fromkeys(("n", "units"), pl.Int64),
    **dict.fromkeys(("ratio", "p", "q"), pl.Float64),
}


def _tests(firsts: pl.LazyFrame, units: pl.LazyFrame, attribute: str) -> pl.LazyFrame:
    mine = units.select("site", "unit", "days", value=attribute).drop_nulls()
    exposed = mine.group_by("value").agg(pl.col("days").sum()).with_columns(share=pl.col("days") / pl.col("days").sum())
    seen = firsts.join(mine.select("site", "unit", "value"), on=["site", "unit"])
    counts = seen.group_by("cause", "value").agg(
        n=pl.len().cast(pl.Int64), units=pl.struct("site", "unit").n_unique().cast(pl.Int64)
    )
    rows = counts.with_columns(all=pl.col("n").sum().over("cause")).join(exposed, on="value")
    rest = (pl.col("all") - pl.col("n") + 0.5) / (1 - pl.col("share"))
    rated = rows.filter(pl.col("share") < 1).with_columns(
        attribute=pl.lit(attribute), ratio=(pl.col("n") + 0.5) / pl.col("share") / rest
    )
    return rated.select("attribute", "value", "cause", "n", "all", "units", "share", "ratio").sort("value", "cause")
