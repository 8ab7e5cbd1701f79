"""How does a module's charge end: with a balancer that sleeps, or early because one cell is at its limit?"""

from __future__ import annotations

import polars as pl

from pipeline.analyses.ledger import UNIT
from pipeline.analyses.spread import percentile
from pipeline.chemistry import Chemistry
from pipeline.limits import Mismatch

END = [*UNIT, "ts"]


def idle_balancers(month: pl.LazyFrame, spread_hist: pl.LazyFrame, limits: Mismatch) -> pl.LazyFrame:
    """(site, unit, cell, top_mv, tops) of modules whose BMS speaks of balancing, and in the month's `events` or more
    fillings never balanced although the top's spread (95th percentile) asks for it. `cell`: what lags most, if any.
    """
    top = percentile(spread_hist.filter(pl.col("band") == "top").group_by(*UNIT, "bin_mv").agg(pl.col("n").sum()),
                     0.95, UNIT)  # fmt: skip
    lags = pl.col("pattern") == "lagging_cell"
    sums = month.group_by(UNIT).agg(
        pl.col("said").sum(),
        pl.col("balancing_s").sum(),
        pl.col("tops").max(),
        cell=pl.col("cell").filter(lags).sort_by(pl.col("lacking").filter(lags)).last(),
    )
    idle = (pl.col("said") > 0) & (pl.col("balancing_s") == 0) & (pl.col("tops") >= limits.events)
    apart = sums.filter(idle).join(top, on=UNIT).filter(pl.col("spread_mv") > limits.balance_mv)
    return apart.select(*UNIT, "cell", "tops", top_mv=pl.col("spread_mv").cast(pl.Float64))


def early_ends(anchors: pl.LazyFrame, limits: Mismatch, chemistry: Chemistry) -> pl.LazyFrame:
    """(site, unit, cell, early, ends): the share of charge ends at which the highest cell was at its limit while the
    mean was not full, and the cell that most often was; where it is above `cut_off` of `events` or more.
    """
    mean_mv, high_mv = chemistry.full_mv
    full = anchors.filter(pl.col("state") == "full").sort(*END, "cell")
    ends = full.group_by(END, maintain_order=True).agg(
        early=(pl.col("mv").max() >= high_mv) & (pl.col("mv").mean() < mean_mv),
        cell=pl.col("cell").sort_by("mv").last(),
    )
    first = pl.col("cell").filter("early").mode(maintain_order=True).first()
    sums = ends.group_by(UNIT, maintain_order=True).agg(cell=first, early=pl.col("early").mean(), ends=pl.len())
    return sums.filter((pl.col("early") > limits.cut_off) & (pl.col("ends") >= limits.events))
