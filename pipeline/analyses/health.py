"""How much of its capacity has a module kept, how sure is that, and can it be seen at all?"""

from __future__ import annotations

from datetime import date

import polars as pl

from pipeline.analyses.findings import as_json, finding, reason
from pipeline.analyses.ledger import UNIT
from pipeline.analyses.soh import WINDOW, monthly

ENOUGH = 3
"""Stretches from full to empty in the window before a number is published."""
WORN = 0.80


def health(seen: pl.LazyFrame, module_day: pl.LazyFrame, day: date) -> pl.LazyFrame:
    """A finding's row a unit of module_day (the day's): SOH in % with its 95 % interval, or not_observable.

    Below three stretches in 30 days nothing new is known: the row asks for one full cycle and shows the last number.
    """
    window = seen.filter(pl.col("day").is_between(day - WINDOW, day, closed="right"))
    weakest = (
        window.sort("day", "method")
        .group_by(UNIT, maintain_order=True)
        .agg(
            pl.col("cell").mode(maintain_order=True).first().alias("weakest"),
            pairs=pl.col("n").sum(),
            least=pl.col("least").median(),
        )
    )
    rows = module_day.join(monthly(seen, day), on=UNIT, how="left").join(weakest, on=UNIT, how="left")
    enough = pl.col("pairs").fill_null(0) >= ENOUGH
    worn = enough & (pl.col("soh") + 1.96 * pl.col("sigma") < WORN)  # the whole interval that is told
    status = pl.when(~enough).then(pl.lit("not_observable")).when(worn).then(pl.lit("finding")).otherwise(pl.lit("ok"))
    return finding(rows.with_columns(status=status, worn=worn).sort(UNIT).select(*UNIT, "status", **_told()), "health")


def _told() -> dict[str, pl.Expr]:
    percent, half = 100 * pl.col("soh"), 196 * pl.col("sigma")
    unseen = pl.col("status") == "not_observable"
    n = pl.col("pairs").fill_null(0)
    asks = pl.when(unseen).then(reason("no_full_cycle_in_30_days", n, "count", ENOUGH))
    below = pl.when("worn").then(reason("soh_below_limit", percent, "%", 100 * WORN))
    limits = pl.when("worn").then(reason("weakest_cell_holds", 100 * pl.col("least"), "%"))
    wanted = pl.when(unseen | pl.col("worn")).then(pl.lit("capacity_fade"))
    numbers = {name: pl.col(name) for name in ("soh", "soh_rel", "sigma", "weakest", "least", "nominal_mah")}
    device = {"bms_soh_pm": pl.col("soh_pm"), "bms_full_mah": pl.col("full_mah")}
    return {
        "cell": pl.when("worn").then("weakest"),
        "pattern": pl.lit("soh"),
        "fault": pl.when(~unseen).then(pl.lit("capacity_fade")),
        "value": percent,
        "lo": percent - half,
        "hi": percent + half,
        "threshold": pl.lit(100 * WORN),
        "value_unit": pl.lit("%"),
        "confidence": pl.when(unseen).then(0.0).otherwise(n / (n + ENOUGH)),
        "reasons": as_json(pl.concat_list(asks, below, limits).list.drop_nulls()),
        "action": as_json(pl.concat_list(wanted).list.drop_nulls()),
        "evidence": as_json(
            pl.struct(
                pl.lit("soh").alias("table"),
                n.alias("n"),
                pl.col("last").cast(pl.String),
                *(value.alias(name) for name, value in (numbers | device).items()),
            )
        ),
    }
