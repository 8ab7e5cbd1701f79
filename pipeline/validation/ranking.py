"""Does the worklist name the faulty modules first, and does it leave the sound ones alone?"""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from pipeline.validation.replay import Replayed
from pipeline.validation.rows import Figure, share

KEY = ["site", "unit"]
BATTERY = frozenset({"module", "site"})
HARMLESS = frozenset({"missing_module", "reconnect"})
"""Flaws that leave a module without readings of its own to be judged by."""


def validate(done: Replayed, first: int = 20) -> Iterator[Figure]:
    """Precision among the `first` of the fleet on the last day."""
    last = done.tables["finding"].filter((pl.col("analysis") == "ranking") & (pl.col("day") == done.days[-1]))
    ranked = last.sort("score", descending=True).head(first)
    faulty = done.truth["flaw"].filter(~pl.col("kind").is_in(list(HARMLESS))).select(KEY).unique()
    hits = ranked.join(faulty, on=KEY, how="semi").height
    yield share(f"ranking: precision@{first}", 0.9, hits, min(first, max(faulty.height, 1)))


def false_alarms(done: Replayed) -> Iterator[Figure]:
    """New troubles told of sound modules, for each 100 of them and month, by this page's analyses."""
    mine = ("lockout_cause", "lockout_risk", "lockouts", "storage", "ranking")
    told = done.tables["finding"].filter((pl.col("status") == "finding") & pl.col("analysis").is_in(mine))
    sound = done.tables["module_day"].join(done.truth["flaw"].select(KEY), on=KEY, how="anti")
    new = told.join(sound.select(KEY).unique(), on=KEY, how="semi").filter(pl.col("since_day") == pl.col("day")).height
    months = sound.height / 30
    rate = 100 * new / months if months else float("nan")
    spread = 100 * 1.96 * max(new, 1) ** 0.5 / months if months else float("nan")
    yield Figure(
        "false alarms per 100 sound modules and month", 2.0, rate, max(0.0, rate - spread), rate + spread, at_most=True
    )
