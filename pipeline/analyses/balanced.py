"""What has a module's balancer taken from each cell, day by day, beside what it took from the others?"""

from __future__ import annotations

import polars as pl

from pipeline.analyses.fillings import CELL
from pipeline.analyses.ledger import UNIT
from pipeline.limits import Mismatch

AN_HOUR_S = 3600


def balanced(cell_day: pl.LazyFrame, limits: Mismatch) -> pl.LazyFrame:
    """cell_day (the window's) with these, sorted by cell and day.

    shuttles: the balancer moves charge into low cells, and does not only bleed high ones. bleed_mah: charge that it
    took that day from the average other cell more than from this one, or gave to this one, at the current that is
    assumed of such balancers, and less what is lost on the way; null where the BMS speaks of no balancing.
    bleed_before_mah: the sum of the days before. given_mah: what the balancer gave to this cell alone.
    """
    rows = cell_day.sort(*CELL, "day").with_columns(
        shuttles=pl.col("filled_s").sum().over(UNIT) > limits.shuttled * pl.col("balancing_s").sum().over(UNIT)
    )
    current = pl.when("shuttles").then(limits.shuttle_ma).otherwise(limits.balance_ma)
    lost = pl.when("shuttles").then(1 / limits.shuttle_yield).otherwise(1.0)
    given, out = pl.col("filled_s"), pl.col("balancing_s") - pl.col("filled_s")
    taken, today = out * lost - given, [*UNIT, "day"]
    others = (taken.sum().over(today) - taken) / (pl.len().over(today) - 1).clip(1)
    told = rows.with_columns(
        bleed_mah=(others - taken) / AN_HOUR_S * current, given_mah=given.fill_null(0.0) / AN_HOUR_S * current
    )
    known = pl.col("bleed_mah").fill_null(0.0)
    return told.with_columns(bleed_before_mah=known.cum_sum().over(CELL) - known)
