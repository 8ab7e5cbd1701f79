"""Which cell of a module is out of step, how, and what is to be done? One finding a pattern, or that all is even."""

from __future__ import annotations

import polars as pl

from pipeline.analyses.findings import finding
from pipeline.analyses.ledger import UNIT
from pipeline.analyses.pattern_numbers import numbers, worth
from pipeline.analyses.patterns import CELLS
from pipeline.limits import Mismatch
from pipeline.quality import CELLS_DOUBTFUL

NAMED = ("imbalance", "resistance")
"""Analyses whose findings a pattern on the same cell explains."""


def mismatch(
    month: pl.LazyFrame, idle: pl.LazyFrame, early: pl.LazyFrame, module_day: pl.LazyFrame, limits: Mismatch
) -> pl.LazyFrame:
    """A finding's row a pattern and module of module_day, from `patterns`, `idle_balancers` and `early_ends`; where
    there is none a row `even_spread`: ok, or not_observable without enough fillings and emptyings.

    The worst cell of a pattern is named. An idle balancer stands for the cell that lags for want of it; a drift at the
    top is told only where nothing else is wrong.
    """
    ends = [idle.with_columns(pattern=pl.lit("balancer_inactive")), early.with_columns(pattern=pl.lit("early_cut_off"))]
    found = pl.concat([_worst(month, idle, early), *ends], how="diagonal_relaxed")
    seen = month.group_by(UNIT).agg(most_tops=pl.col("tops").max(), most_bottoms=pl.col("bottoms").max())
    rows = module_day.select(*UNIT, "dq").join(seen, on=UNIT, how="left").join(found, on=UNIT, how="left")
    judged = rows.with_columns(_status(limits))
    told = judged.select(*UNIT, "status", "cell", **numbers(limits))
    return finding(told.sort(*UNIT, "pattern", "cell"), "mismatch")


def _worst(month: pl.LazyFrame, idle: pl.LazyFrame, early: pl.LazyFrame) -> pl.LazyFrame:
    ordered = month.filter(pl.col("pattern").is_not_null()).with_columns(size=worth(CELLS).abs())
    worst = ordered.sort(*UNIT, "pattern", "size", "cell", descending=[False, False, False, True, False])
    cells = worst.group_by(*UNIT, "pattern", maintain_order=True).first().drop("size")
    top, lagging = pl.col("pattern") == "top_drift", pl.col("pattern") == "lagging_cell"
    explained = [cells.filter(~top).select(UNIT), idle.select(UNIT), early.select(UNIT)]
    kept = cells.join(pl.concat(explained).unique().with_columns(else_=True), on=UNIT, how="left")
    slept = kept.join(idle.select(*UNIT, idle=True), on=UNIT, how="left")
    return slept.filter(
        ~(top & pl.col("else_").is_not_null()) & ~(lagging & pl.col("idle").is_not_null())
    ).drop("else_", "idle")  # fmt: skip


def _status(limits: Mismatch) -> pl.Expr:
    scarce = [(pl.col(n).fill_null(0) < limits.events) for n in ("most_tops", "most_bottoms")]
    return (
        pl.when(pl.col("dq") & int(CELLS_DOUBTFUL) != 0).then(pl.lit("low_quality"))
        .when(pl.col("pattern").is_not_null()).then(pl.lit("finding"))
        .when(scarce[0] | scarce[1]).then(pl.lit("not_observable"))
        .otherwise(pl.lit("ok"))
        .alias("status")
    )  # fmt: skip


def without_doubles(findings: pl.DataFrame) -> pl.DataFrame:
    """The findings without spreads and resistances that a pattern on the same cell, or for a spread that names no cell
    on the same module, already tells.
    """
    told = findings.filter((pl.col("analysis") == "mismatch") & (pl.col("status") == "finding"))
    older = pl.col("analysis").is_in(NAMED) & (pl.col("status") == "finding")
    cells = told.select(*UNIT, "cell", of_cell=True).drop_nulls().unique()
    joined = findings.join(cells, on=[*UNIT, "cell"], how="left", maintain_order="left")
    marked = joined.join(told.select(*UNIT, of_unit=True).unique(), on=UNIT, how="left", maintain_order="left")
    nameless = pl.col("cell").is_null() & (pl.col("analysis") == "imbalance") & pl.col("of_unit").fill_null(value=False)
    double = older & (pl.col("of_cell").fill_null(value=False) | nameless)
    return marked.filter(~double).drop("of_cell", "of_unit")
