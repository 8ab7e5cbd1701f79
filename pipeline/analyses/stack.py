"""Which module of a stack does not pull its weight, and why? One finding a module, or that all is even."""

from __future__ import annotations

import polars as pl

from pipeline.analyses.findings import as_json, finding
from pipeline.analyses.ledger import UNIT
from pipeline.analyses.stack_rules import ALONE, RULES, evidence, numbers
from pipeline.limits import Stack

STACK = ["site", "stack"]


def stack(month: pl.LazyFrame, limits: Stack) -> pl.LazyFrame:
    """A finding's row a module from `stack_month`: the first rule that holds, else `even_share`, ok or not_observable.

    Rules of `ALONE` are told only where no other holds in the stack: what they see follows from the others.
    """
    held = {rule.name: rule.test(limits).fill_null(value=False) for rule in RULES}
    first = pl.coalesce(pl.when(test).then(pl.lit(name)) for name, test in held.items() if name not in ALONE)
    later = pl.coalesce(pl.when(held[name]).then(pl.lit(name)) for name in ALONE)
    causes = month.with_columns(cause=first).with_columns(alone=pl.col("cause").is_null().all().over(STACK))
    rows = causes.with_columns(pattern=pl.coalesce("cause", pl.when("alone").then(later)))
    scarce = pl.col("steps").fill_null(0) < limits.steps
    status = (
        pl.when(pl.col("pattern").is_not_null()).then(pl.lit("finding"))
        .when(scarce).then(pl.lit("not_observable"))
        .otherwise(pl.lit("ok"))
    )  # fmt: skip
    judged = rows.with_columns(status=status)
    told = judged.select(*UNIT, "status", cell=pl.lit(None, pl.Int16), **numbers(limits), evidence=as_json(evidence()))
    return finding(told.sort(UNIT), "stack")
