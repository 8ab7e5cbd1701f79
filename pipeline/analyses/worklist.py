"""Which module needs a person first? Ranks the night's findings; the score says the same at every site."""

from __future__ import annotations

import polars as pl

WEIGHT = {1: 1.0, 2: 0.7, 3: 0.4, 4: 0.0}
"""By the fault's priority: act now, today, digest, never."""


def worklist(findings: pl.LazyFrame) -> pl.LazyFrame:
    """Fill `score` (0..100: priority, confidence, and how far beyond its threshold) and `rank` (1 = first, a site).

    Rows that are no findings keep what they have.
    """
    found = pl.col("status") == "finding"
    excess = (pl.col("value") / pl.col("threshold") / 2).clip(0.5, 1.0).fill_null(0.5)
    weight = pl.col("priority").replace_strict(WEIGHT, default=0.0, return_dtype=pl.Float64)
    score = pl.when(found).then(100 * weight * pl.col("confidence") * excess).otherwise("score")
    rank = pl.when(found).then("score").rank("ordinal", descending=True).over("site")
    return findings.with_columns(score=score).with_columns(rank=pl.when(found).then(rank).otherwise("rank"))
