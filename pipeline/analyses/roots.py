"""Why did it lock out? Weighs the table of root causes by the evidence around the start, and says how sure it is."""

from __future__ import annotations

import polars as pl

from pipeline.analyses.evidence import ROOTS, Root
from pipeline.limits import Roots

UNKNOWN = "unknown"


def roots(windows: pl.LazyFrame, limits: Roots) -> pl.LazyFrame:
    """Sessions with `root`, `confidence` (0..1), `second` (the next best), and `cell` where the root names one.

    Each row of the table that fits the trigger scores `prior` times its evidence (0..1). The winner's share of all
    scores, with `nothing` for "only the flag", is the confidence; the score of its kin, which has the same remedy,
    counts with it. Below `sure` the root is unknown and both stay named.
    """
    have = windows.collect_schema()
    blank = {name: pl.lit(None, pl.Float64).alias(name) for name in OPTIONAL if name not in have}
    scored = windows.with_columns(*blank.values()).with_columns(
        _score(root, limits).alias(name) for name, root in ROOTS.items()
    )
    names = list(ROOTS)
    ranked = pl.concat_list(pl.struct(score=pl.col(name), root=pl.lit(name)) for name in names).list.sort(
        descending=True
    )
    best = scored.with_columns(
        total=pl.sum_horizontal(names) + limits.nothing,
        first=ranked.list.get(0),
        other=ranked.list.get(1),
    ).with_columns(confidence=(pl.col("first").struct.field("score") + _kin()) / pl.col("total"))
    sure = pl.col("confidence") >= limits.sure
    winner, runner = pl.col("first").struct, pl.col("other").struct
    named = best.with_columns(
        root=pl.when(sure).then(winner.field("root")).otherwise(pl.lit(UNKNOWN)),
        likeliest=pl.when(winner.field("score") > 0).then(winner.field("root")),
        second=pl.when(runner.field("score") > 0).then(runner.field("root")),
    )
    return named.with_columns(cell=_cell()).select(*have.names(), "root", "confidence", "likeliest", "second", "cell")


OPTIONAL = ("peers", "site_peers", "site_units", "share", "stack_units", "stack_missing", "limit_ma", "firmware_old")
"""Numbers from beyond the module (pipeline/analyses/neighbours.py); without them their rows score nothing."""


def _score(root: Root, limits: Roots) -> pl.Expr:
    fits = pl.col("cause").is_in(root.triggers)
    met = root.evidence(limits).fill_null(0.0).clip(0.0, 1.0)
    return pl.when(fits).then(limits.prior * met).otherwise(0.0)


def _kin() -> pl.Expr:
    """What the winner's kin scores: it asks for the same to be done."""
    score = pl.lit(0.0)
    for name, root in ROOTS.items():
        if root.kin:
            score = pl.when(pl.col("first").struct.field("root") == name).then(pl.col(root.kin)).otherwise(score)
    return score


def _cell() -> pl.Expr:
    cell = pl.lit(None, pl.Int16)
    for name, root in ROOTS.items():
        if root.cell:
            cell = pl.when(pl.col("root") == name).then(pl.col(root.cell)).otherwise(cell)
    return cell
