"""Does the worklist name the faulty modules first?"""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from pipeline.validation.bars import frozen
from pipeline.validation.replay import Replayed
from pipeline.validation.row import Row, share

KEY = ["site", "unit"]
HARMLESS = frozenset({"missing_module", "reconnect"})
"""Flaws that leave a module without readings of its own to be judged by."""


def ranking(done: Replayed, first: int = 20) -> Iterator[Row]:
    """Precision among the `first` of the fleet on the last day."""
    last = done.tables["finding"].filter((pl.col("analysis") == "ranking") & (pl.col("day") == done.days[-1]))
    ranked = last.sort("score", descending=True).head(first)
    faulty = done.truth["flaw"].filter(~pl.col("kind").is_in(list(HARMLESS))).select(KEY).unique()
    hits = ranked.join(faulty, on=KEY, how="semi").height
    yield share(*frozen(f"ranking: precision@{first}"), hits, min(first, max(faulty.height, 1)))
