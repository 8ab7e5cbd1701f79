"""How much of its nominal charge has a module kept? One number a day, and one a month with its uncertainty."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl

from pipeline.analyses.emptyings import emptyings
from pipeline.analyses.ledger import UNIT

WINDOW, BASELINE = timedelta(days=30), timedelta(days=60)
GAIN = 0.01
"""Share by which a current sensor may be off; one module alone cannot tell."""
FADING = 0.03
"""Points a year, as a share, that an old number may have lost unseen."""
SCATTER, BELIEVED = 0.01, 2.0
"""How far a module's days lie apart before it has shown it, and how many days' worth that counts: three days that
happen to agree are no sure number."""
SHARES = {"soh": "mah", "sigma": "sigma", "least": "least_mah"}


def daily(capacity: pl.LazyFrame, modules: pl.LazyFrame) -> pl.LazyFrame:
    """soh without its place from `capacity`: the median over cells, then over the day's stretches of a method.

    `modules` has (site, unit, nominal_mah, n_cells). A trend is drawn through these rows; no stretch is looked at
    again. Cells come down one after another, the weakest first, and often on both sides of midnight: a stretch is the
    module's, of the day on which more than half of its cells had come. A cell that did not come is taken to hold more
    than those that did, which leaves the median as it is; a stretch in which half did not come tells none.
    """
    days = (
        emptyings(capacity.join(modules, on=UNIT))
        .sort(*UNIT, "day", "method", "event")
        .group_by(*UNIT, "day", "method", maintain_order=True)
        .agg(
            pl.len().alias("n"),
            pl.col("nominal_mah").first(),
            pl.col("mah", "least_mah", "sigma", "temp_dc", "current_ma").median(),
            pl.col("cell").mode(maintain_order=True).first(),
            pl.col("known").min(),
        )
    )
    share = {new: pl.col(old) / pl.col("nominal_mah") for new, old in SHARES.items()}
    return days.filter(pl.col("nominal_mah") > 0).with_columns(**share).sort(*UNIT, "method")


def trusted(days: pl.LazyFrame) -> pl.LazyFrame:
    """soh rows without those from before the current's offset was known, as soon as there are others."""
    known = pl.col("known") == 1
    return days.filter(known | ~known.any().over(UNIT))


def monthly(seen: pl.LazyFrame, day: date) -> pl.LazyFrame:
    """SOH at `day` by module from `trusted` rows: 30-day medians by method, combined by inverse variance.

    Columns soh, sigma (both with the sensor's gain unknown), own (sigma without it), soh_rel (to the first 60 days,
    whose gain is the same), n, last (day). Where the window is empty the last known number, with a sigma that grows.
    """
    upto = seen.filter(pl.col("day") <= day)
    age = (pl.lit(day) - pl.col("day")).dt.total_days()
    recent = pl.col("day") > pl.col("day").max().over(UNIT) - WINDOW
    scatter = (BELIEVED * SCATTER**2 + (pl.len() - 1) * pl.col("soh").var().fill_null(0)) / (BELIEVED + pl.len() - 1)
    by_method = (
        upto.filter(recent)
        .group_by(*UNIT, "method")
        .agg(
            pl.col("soh").median(),
            pl.col("n").sum(),
            last=pl.col("day").max(),
            stale=age.min(),
            own=(pl.col("sigma").median() ** 2 + 1.57 * scatter / pl.len()).sqrt(),
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
