"""How much of its capacity has a module kept, how sure is that, and can it be seen at all?"""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl

from pipeline.analyses.findings import as_json, finding, reason
from pipeline.analyses.ledger import UNIT

WINDOW, BASELINE = timedelta(days=30), timedelta(days=60)
ENOUGH = 3
"""Stretches from full to empty in the window before a number is published."""
GAIN = 0.01
"""Share by which a current sensor may be off; one module alone cannot tell."""
FADING = 0.03
"""Points a year, as a share, that an old number may have lost unseen."""
WORN = 0.80
EVENT = [*UNIT, "ts", "method"]


def events(capacity: pl.LazyFrame, modules: pl.LazyFrame) -> pl.LazyFrame:
    """SOH (share of nominal) by module and stretch: the median over its cells, with the weakest cell beside it.

    `modules` has (site, unit, nominal_mah). What a trend is drawn through. Stretches from
    before the current's offset was known are left out as soon as there are others.
    """
    weakest = pl.col("cell").sort_by("mah").first()
    known = pl.col("offset_ma").is_not_null()
    told = (
        capacity.filter(known | ~known.any().over(UNIT))
        .group_by(EVENT)
        .agg(
            pl.col("day").first(),
            pl.col("mah").median(),
            pl.col("sigma").median(),
            pl.col("mah").min().alias("least_mah"),
            pl.col("temp_dc").median(),
            pl.col("current_ma").median(),
            cell=weakest,
        )
    )
    scaled = {"soh": pl.col("mah") / pl.col("nominal_mah"), "sigma": pl.col("sigma") / pl.col("nominal_mah")}
    return told.join(modules, on=UNIT).with_columns(**scaled).sort(EVENT)


def monthly(seen: pl.LazyFrame, day: date) -> pl.LazyFrame:
    """SOH at `day` by module from `events`: 30-day medians by method, combined by inverse variance.

    Columns soh, sigma (both with the sensor's gain unknown), soh_rel (to the first 60 days, whose gain is the same),
    n, last (day). Where the window is empty the last known number, with a sigma that grows.
    """
    upto = seen.filter(pl.col("day") <= day)
    age = (pl.lit(day) - pl.col("day")).dt.total_days()
    recent = pl.col("day") > pl.col("day").max().over(UNIT) - WINDOW
    by_method = (
        upto.filter(recent)
        .group_by(*UNIT, pl.col("method").replace({"full_cycle": "crossings"}))
        .agg(
            pl.col("soh").median(),
            n=pl.len(),
            last=pl.col("day").max(),
            stale=age.min(),
            own=(pl.col("sigma").median() ** 2 + 1.57 * pl.col("soh").var().fill_null(1e-4) / pl.len()).sqrt(),
        )
    )
    weight = 1 / pl.col("own") ** 2
    joined = by_method.group_by(UNIT).agg(
        soh=(pl.col("soh") * weight).sum() / weight.sum(),
        own=1 / weight.sum().sqrt(),
        n=pl.col("n").max(),
        last=pl.col("last").max(),
        stale=pl.col("stale").min(),
    )
    first = upto.filter(pl.col("day") <= pl.col("day").min().over(UNIT) + BASELINE)
    began = first.group_by(UNIT).agg(soh_first=pl.col("soh").median())
    unseen = FADING / 365 * (pl.col("stale") - WINDOW.days).clip(lower_bound=0)
    sigma = (pl.col("own") ** 2 + (GAIN * pl.col("soh")) ** 2 + unseen**2).sqrt()
    return joined.join(began, on=UNIT).with_columns(sigma=sigma, soh_rel=pl.col("soh") / pl.col("soh_first"))


def health(seen: pl.LazyFrame, module_day: pl.LazyFrame, day: date) -> pl.LazyFrame:
    """A finding's row a unit of module_day (the day's): SOH in % with its 95 % interval, or not_observable.

    Below three stretches in 30 days nothing new is known: the row asks for one full cycle and shows the last number.
    """
    window = seen.filter(pl.col("day").is_between(day - WINDOW, day, closed="right"))
    weakest = (
        window.sort("ts")
        .group_by(UNIT, maintain_order=True)
        .agg(
            pl.col("cell").mode(maintain_order=True).first().alias("weakest"),
            pairs=pl.struct("ts").n_unique(),
            least=(pl.col("least_mah") / pl.col("nominal_mah")).median(),
        )
    )
    rows = module_day.join(monthly(seen, day), on=UNIT, how="left").join(weakest, on=UNIT, how="left")
    enough = pl.col("pairs").fill_null(0) >= ENOUGH
    worn = enough & (pl.col("soh") + pl.col("sigma") < WORN)
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
                pl.lit("capacity").alias("table"),
                n.alias("n"),
                pl.col("last").cast(pl.String),
                *(value.alias(name) for name, value in (numbers | device).items()),
            )
        ),
    }
