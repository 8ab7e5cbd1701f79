"""Does the worklist name the faulty modules first, and does it leave the sound ones alone?"""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from pipeline.analyses.rare import chi2_quantile
from pipeline.validation.replay import Replayed
from pipeline.validation.row import Row, at_least, at_most, share

KEY = ["site", "unit"]
HARMLESS = frozenset({"missing_module", "reconnect"})
"""Flaws that leave a module without readings of its own to be judged by."""


def ranking(done: Replayed, first: int = 20) -> Iterator[Row]:
    """Precision among the `first` of the fleet on the last day."""
    last = done.tables["finding"].filter((pl.col("analysis") == "ranking") & (pl.col("day") == done.days[-1]))
    ranked = last.sort("score", descending=True).head(first)
    faulty = done.truth["flaw"].filter(~pl.col("kind").is_in(list(HARMLESS))).select(KEY).unique()
    hits = ranked.join(faulty, on=KEY, how="semi").height
    yield share(f"ranking: precision@{first}", at_least(0.9), hits, min(first, max(faulty.height, 1)))


def false_alarms(done: Replayed) -> Iterator[Row]:
    """New troubles told of sound modules for each 100 of them and month, all analyses together and each by itself.

    A site or fleet finding counts as well. The interval is Garwood's for a Poisson count.
    """
    findings = done.tables["finding"].filter(pl.col("status") == "finding")
    new = findings.filter(pl.col("since_day") == pl.col("day"))
    flawed = done.truth["flaw"].select("site").unique()
    sound = done.tables["module_day"].join(flawed, on="site", how="anti")
    mine = new.join(flawed, on="site", how="anti")
    months = sound.height / 30
    yield _rate(f"false alarms per 100 sound modules and month ({months:.0f} module-months)", mine.height, months)
    for (name,), rows in mine.group_by("analysis", maintain_order=True):
        yield _rate(f"false alarms of {name}", rows.height, months)


def _rate(name: str, count: int, months: float) -> Row:
    if not months:
        return Row(name, at_most(2.0), float("nan"), 0.0, float("inf"), "")
    low = chi2_quantile(0.025, count) / 2 if count else 0.0
    high = chi2_quantile(0.975, count + 1) / 2
    figure, lo, hi = (100 * n / months for n in (count, low, high))
    return Row(name, at_most(2.0), figure, lo, hi, "")
