"""What is each cell's place among its neighbours over a month: charge, capacity, drift, leak? One row a cell."""

from __future__ import annotations

import polars as pl

from pipeline.analyses.drifts import drifts
from pipeline.analyses.fillings import CELL
from pipeline.analyses.ledger import UNIT
from pipeline.limits import Mismatch


def gaps_of_charge(
    events: pl.LazyFrame, balanced: pl.LazyFrame, nominal: pl.LazyFrame, limits: Mismatch
) -> pl.LazyFrame:
    """By cell, from `fillings` and `balanced`; nominal has (site, unit, nominal_mah). Shares are of nominal, drift is
    in mA.

    lag (late_lag: of the last events) is what it lacks when the median cell is full, lead by how much it is empty
    earlier, deficit how much earlier than what it lacked at the filling before explains; unfilled the share of fillings
    that most others finished and it did not (late_: the last ones; unfilled_excess: beyond its median neighbour),
    first_empty the share of emptyings that it led, and alone_empty that it led while most others never were empty.
    drift_full and drift_empty: Theil-Sen slope of the lag, and of the charge between full and its own empty;
    loses_full and loses_empty the same with what the balancer had done until the day before undone. Null below
    `events` of their kind.
    """
    up, down = pl.col("direction") == 1, pl.col("direction") == -1
    gap, whole = pl.col("gap_mah"), up & pl.col("told")
    missed = gap.is_null().filter(whole)
    lagged = pl.when(up).then(gap.fill_null(float("nan"))).forward_fill().over(CELL).fill_nan(None)
    paired = pl.when(pl.col("since_full_mah").is_not_null()).then(gap - lagged).alias("paired")
    sums = (
        events.with_columns(paired)
        .group_by(CELL, maintain_order=True)
        .agg(
            tops=whole.sum(),
            bottoms=down.sum(),
            lags=gap.filter(up).count(),
            leads=gap.filter(down).count(),
            pairs=pl.col("paired").filter(down).count(),
            deficit=pl.col("paired").filter(down).median(),
            lag=gap.filter(up).median(),
            late_lag=gap.filter(up).tail(limits.events).median(),
            lead=gap.filter(down).median(),
            lag_sd=gap.filter(up).std(),
            lead_sd=gap.filter(down).std(),
            unfilled=missed.mean(),
            late_unfilled=missed.tail(limits.events).mean(),
            first_empty=pl.col("first").filter(down).mean(),
            alone_empty=(pl.col("first") & ~pl.col("told")).filter(down).mean(),
        )
    )
    slopes = events.join(balanced.select(*CELL, "day", "bleed_before_mah"), on=[*CELL, "day"], how="left")
    full = drifts(slopes.filter(up & gap.is_not_null()), _both("gap_mah", "full"), limits)
    empty = drifts(slopes.drop_nulls("since_full_mah"), _both("since_full_mah", "empty"), limits)
    rows = sums.join(nominal, on=UNIT).join(full, on=CELL, how="left").join(empty, on=CELL, how="left")
    enough = {"tops": ("unfilled", "late_unfilled"), "bottoms": ("first_empty", "alone_empty")}
    shares = {"lags": ("lag", "late_lag", "lag_sd"), "leads": ("lead", "lead_sd"), "pairs": ("deficit",)}
    known = {w: pl.when(pl.col(n) >= limits.events).then(w) for n, names in enough.items() for w in names} | {
        w: pl.when(pl.col(n) >= limits.events).then(pl.col(w) / pl.col("nominal_mah"))
        for n, names in shares.items()
        for w in names
    }
    return rows.with_columns(**known).with_columns(
        unfilled_excess=pl.col("unfilled") - pl.col("unfilled").median().over(UNIT),
    )


def _both(column: str, at: str) -> dict[str, pl.Expr]:
    """A charge as it was seen, and as it would be had nobody balanced."""
    return {f"drift_{at}": pl.col(column), f"loses_{at}": pl.col(column) + pl.col("bleed_before_mah").fill_null(0.0)}
