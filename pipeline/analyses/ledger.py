"""How much charge had passed since the record began? Adds the days up, so that no counter is carried over midnight."""

from __future__ import annotations

import polars as pl

from pipeline.analyses.miscounts import WOBBLES, miscounts
from pipeline.methods.regression import Floats
from pipeline.methods.slope import theil_sen
from pipeline.quality import Quality

UNIT = ["site", "unit"]
LEAST_EVENTS, LEAST_HOURS = 5, 48.0
NOT_CLOSED_MA = 300.0
"""Beyond it something else than an offset is at work."""


def ledger(events: pl.LazyFrame, module_day: pl.LazyFrame) -> pl.LazyFrame:
    """crossing or anchor rows with `mah` counted and `moved_mah` passed either way since module_day's first day.

    A day that a late reading changes changes every sum that needs it, and nothing else has to be worked out again.
    """
    net, moved = pl.col("charge_mah") - pl.col("discharge_mah"), pl.col("charge_mah") + pl.col("discharge_mah")
    days = module_day.sort(*UNIT, "day").select(
        *UNIT,
        "day",
        "dq",
        before=(net.fill_null(0).cum_sum().over(UNIT) - net.fill_null(0)),
        moved_before=(moved.fill_null(0).cum_sum().over(UNIT) - moved.fill_null(0)),
    )
    joined = events.join(days, on=[*UNIT, "day"], how="inner")
    return joined.with_columns(
        mah=pl.col("before") + pl.col("in_mah") - pl.col("out_mah"),
        moved_mah=pl.col("moved_before") + pl.col("in_mah") + pl.col("out_mah"),
    ).drop("before", "moved_before")


def offset(tops: pl.LazyFrame) -> pl.LazyFrame:
    """(site, unit, offset_ma, offset_sigma, closures, rest_ma, fall_share): a full module that is full again gained
    nothing.

    `tops` are upward crossings from `ledger` and `beside`. Theil-Sen slope of the counted charge at those events,
    without its `miscounts`, over pairs more than 48 h apart, per cell, then the median over cells. Fewer than five: no
    row.
    """
    known = tops.select(*UNIT, "cell", "ts", "mah", *WOBBLES).sort(*UNIT, "cell", "ts").collect()
    odd = miscounts(known, LEAST_EVENTS)
    away = pl.col("rest_ma") * pl.col("rest_h") + pl.col("fall_share") * pl.col("fall_mah")
    rows = known.join(odd, on=UNIT, how="left", maintain_order="left").with_columns(pl.col("mah") - away.fill_null(0))
    slopes = [
        (*key, _slope(group["ts"].to_numpy() / 3.6e6, group["mah"].to_numpy()), group.height)
        for key, group in rows.group_by(*UNIT, "cell", maintain_order=True)
    ]
    schema = {"site": pl.String, "unit": pl.String, "cell": pl.Int16, "slope": pl.Float64, "n": pl.Int64}
    each = pl.LazyFrame(slopes, schema=schema, orient="row").filter(pl.col("slope").is_not_nan())
    spread = (pl.col("slope").std(ddof=1) / pl.len().sqrt()).fill_null(20.0).clip(10.0)
    told = each.group_by(UNIT).agg(offset_ma=pl.col("slope").median(), offset_sigma=spread, closures=pl.col("n").max())
    return told.join(odd.lazy(), on=UNIT, how="left").with_columns(
        pl.col("offset_ma").clip(-NOT_CLOSED_MA, NOT_CLOSED_MA)
    )


def open_loops(offsets: pl.LazyFrame) -> pl.LazyFrame:
    """(site, unit, dq = I_OFFSET) of the modules whose `offset` is as large as one can be, or larger."""
    far = offsets.filter(pl.col("offset_ma").abs() >= NOT_CLOSED_MA)
    return far.select(*UNIT, dq=pl.lit(int(Quality.I_OFFSET), pl.Int64))


def _slope(hours: Floats, mah: Floats) -> float:
    return theil_sen(hours, mah, LEAST_HOURS) if len(hours) >= LEAST_EVENTS else float("nan")
