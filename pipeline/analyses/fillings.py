"""Which cell was full, and which was empty, how much charge before or after the others? Events out of crossings."""

from __future__ import annotations

import polars as pl

from pipeline.analyses.ledger import UNIT
from pipeline.limits import HOUR, Mismatch

CELL = [*UNIT, "cell"]
EVENT = [*UNIT, "event"]
APART_MS = 6 * HOUR
"""Crossings of a module's cells further apart than this belong to two fillings."""
SINCE_FULL_MS = 48 * HOUR


def fillings(crossings: pl.LazyFrame, cells: pl.LazyFrame, limits: Mismatch) -> pl.LazyFrame:
    """A row a cell and event: day, ts, direction, gap_mah, first, since_full_mah, from `ledger` crossings.

    `cells` has (site, unit, cell), every cell that speaks. An event is a filling (direction 1) or an emptying (-1) of
    a module. `gap_mah` is the counted charge at the cell's crossing less the module's median: what it lacked when the
    median cell was full, or by how much it was empty earlier; null where it never crossed although most others did.
    Events in which fewer crossed have no gaps at all and tell `first` only. `since_full_mah` of an emptying counts
    from the median cell's last filling within 48 h.
    """
    numbered = _numbered(crossings)
    first = numbered.group_by(*EVENT, "cell").agg(pl.col("mah", "ts").sort_by("ts").first())
    known = cells.group_by(UNIT).agg(n_cells=pl.len())
    events = (
        numbered.group_by(EVENT)
        .agg(pl.col("day").min(), pl.col("direction").first(), pl.col("ts").min().alias("began"))
        .join(first.group_by(EVENT).agg(middle=pl.col("mah").median(), crossed=pl.len()), on=EVENT)
        .join(known, on=UNIT)
    )
    whole = events.with_columns(told=pl.col("crossed") >= (limits.most * pl.col("n_cells")).ceil())
    rows = _after_full(whole).join(cells, on=UNIT).join(first, on=[*EVENT, "cell"], how="left")
    gap = pl.when("told").then(pl.col("mah") - pl.col("middle"))
    return rows.select(
        *EVENT, "cell", "day", "direction", "told", ts=pl.coalesce("ts", "began"), gap_mah=gap,
        first=(pl.col("ts") == pl.col("began")).fill_null(value=False),
        since_full_mah=pl.col("mah") - pl.col("filled"),
    ).sort(*CELL, "event")  # fmt: skip


def _numbered(crossings: pl.LazyFrame) -> pl.LazyFrame:
    """Each module's crossings with the number of their event: as long as they go one way and soon after another."""
    ordered = crossings.sort(*UNIT, "ts", "cell")
    same = pl.all_horizontal(pl.col(name) == pl.col(name).shift(1) for name in (*UNIT, "direction"))
    soon = pl.col("ts") - pl.col("ts").shift(1) <= APART_MS
    return ordered.with_columns(event=(~(same & soon)).fill_null(value=True).cum_sum())


def _after_full(events: pl.LazyFrame) -> pl.LazyFrame:
    """With the counted charge at which the median cell was last full, for emptyings soon after it."""
    full = events.filter((pl.col("direction") == 1) & pl.col("told"))
    marks = full.select(*UNIT, filled="middle", began="began", full_ts="began").sort("began")
    joined = events.sort("began").join_asof(marks, on="began", by=UNIT, strategy="backward", check_sortedness=False)
    near = (pl.col("direction") == -1) & (pl.col("began") - pl.col("full_ts") <= SINCE_FULL_MS)
    return joined.with_columns(filled=pl.when(near).then("filled"))
