"""Which rows of single cells are one emptying of a module, and what did its median cell hold?"""

from __future__ import annotations

import polars as pl

from pipeline.analyses.ledger import UNIT
from pipeline.limits import HOUR

TOGETHER_MS = 6 * HOUR
"""Crossings of a module's cells no further apart than this one after another are one emptying."""


def emptyings(cells: pl.LazyFrame) -> pl.LazyFrame:
    """A row a module and stretch of `capacity` rows with nominal_mah and n_cells: mah of its median cell, least_mah and
    cell of its weakest, medians of the rest, and the day of the cell by which more than half had come down.

    A rest is one moment of all cells. A cell that did not come counts as holding more than those that did; where half
    did not come there is no row.
    """
    key = [*UNIT, "method"]
    ordered = cells.with_columns(pl.col("method").replace({"full_cycle": "crossings"})).sort(*key, "ts", "cell")
    gap, same = pl.col("ts") - pl.col("ts").shift(1), pl.all_horizontal(pl.col(n) == pl.col(n).shift(1) for n in key)
    together = same & (gap <= pl.when(pl.col("method") == "anchors").then(0).otherwise(TOGETHER_MS))
    numbered = ordered.with_columns(event=(~together).fill_null(value=True).cum_sum())
    count, held = pl.col("n_cells").first(), pl.col("mah").sort()
    low, high = (held.get(place, null_on_oob=True) for place in ((count - 1) // 2, count // 2))
    told = (
        numbered.unique([*key, "event", "cell"], keep="first", maintain_order=True)
        .group_by(*key, "event", maintain_order=True)
        .agg(
            pl.col("day").get(count // 2, null_on_oob=True),
            ((low + high) / 2).alias("mah"),
            pl.col("nominal_mah").first(),
            pl.col("sigma", "temp_dc", "current_ma").median(),
            least_mah=pl.col("mah").min(),
            cell=pl.col("cell").sort_by("mah").first(),
            known=pl.col("offset_ma").is_not_null().all().cast(pl.Int8),
        )
    )
    return told.drop_nulls("day")
