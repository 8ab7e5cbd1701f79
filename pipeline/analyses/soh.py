"""How much of its nominal charge has a module kept? One number a stretch, and one a month with its uncertainty."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl

from pipeline.analyses.ledger import UNIT

WINDOW, BASELINE = timedelta(days=30), timedelta(days=60)
GAIN = 0.01
"""Share by which a current sensor may be off; one module alone cannot tell."""
FADING = 0.03
"""Points a year, as a share, that an old number may have lost unseen."""
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
