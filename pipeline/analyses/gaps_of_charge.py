"""What is each cell's place among its neighbours over a month: charge, capacity, drift, leak? One row a cell."""

from __future__ import annotations

import numpy as np
import polars as pl

from pipeline.analyses.fillings import CELL
from pipeline.analyses.ledger import UNIT
from pipeline.chemistry import Floats
from pipeline.limits import Mismatch

HOURS_PER_MS = 1 / 3.6e6
SCHEMA = {"site": pl.String, "unit": pl.String, "cell": pl.Int16, "slope": pl.Float64}


def gaps_of_charge(events: pl.LazyFrame, nominal: pl.LazyFrame, limits: Mismatch) -> pl.LazyFrame:
    """By cell, from `fillings`; nominal has (site, unit, nominal_mah). Shares are of nominal, drift is in mA.

    lag (late_lag: of the last events) is what it lacks when the median cell is full, lead by how much it is empty
    earlier, deficit how much earlier than what it lacked at the filling before explains; unfilled the share of fillings
    that most others finished and it did not (late_: the last ones; unfilled_excess: beyond its median neighbour),
    first_empty the share of emptyings that it led, and alone_empty that it led while most others never were empty.
    drift_full and drift_empty: Theil-Sen slope of the lag, and of the charge between full and its own empty. Null
    below `events` of their kind.
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
    full = drift_of(events.filter(up & gap.is_not_null()), "gap_mah", limits).rename({"slope": "drift_full"})
    empty = drift_of(events.drop_nulls("since_full_mah"), "since_full_mah", limits).rename({"slope": "drift_empty"})
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


def drift_of(events: pl.LazyFrame, column: str, limits: Mismatch) -> pl.LazyFrame:
    """(site, unit, cell, slope) of a column (mAh, or a share) over `ts`, per hour."""
    rows = events.select(*CELL, "ts", column).sort(*CELL, "ts").collect()
    slopes = [
        (*key, theil_sen(HOURS_PER_MS * group["ts"].to_numpy(), group[column].to_numpy(), limits))
        for key, group in rows.group_by(CELL, maintain_order=True)
        if group.height >= limits.events
    ]
    return pl.LazyFrame(slopes, schema=SCHEMA, orient="row").filter(pl.col("slope").is_not_nan())


def theil_sen(hours: Floats, mah: Floats, limits: Mismatch) -> float:
    """Median slope, mA, over pairs at least two days apart; NaN below a week."""
    if len(hours) < limits.events or hours[-1] - hours[0] < limits.drift_hours:
        return float("nan")
    earlier, later = np.triu_indices(len(hours), 1)
    apart = hours[later] - hours[earlier]
    far = apart > limits.pair_hours
    return float(np.median((mah[later] - mah[earlier])[far] / apart[far])) if far.any() else float("nan")
