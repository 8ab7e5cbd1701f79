"""By how much is a module's current off? A constant from charge that does not close, a factor from another meter."""

from __future__ import annotations

import polars as pl

from pipeline.limits import HOUR, Doubts

LEAST_EVENTS, APART_MS = 5, 48 * HOUR


def offset(events: pl.LazyFrame) -> pl.LazyFrame:
    """(site, unit, offset_ma, n) from (site, unit, ts, ah): the charge counted up to moments of the same state.

    Between two such moments (every cell full again) the true net charge is nearly zero, so the slope of what was
    counted is the sensor's offset: the median slope (Theil, Sen) over pairs more than 48 h apart. Fewer than five
    events: no row. Includes the BMS's own draw, which the shunt may not see (about 30 mA).
    """
    key = ["site", "unit"]
    counted = events.filter(pl.len().over(key) >= LEAST_EVENTS)
    pairs = counted.join(counted, on=key, suffix="_later").filter(pl.col("ts_later") - pl.col("ts") > APART_MS)
    slope = (pl.col("ah_later") - pl.col("ah")) / ((pl.col("ts_later") - pl.col("ts")) / HOUR)
    slopes = pairs.select(*key, slope=slope)
    medians = slopes.group_by(key).agg(offset_ma=1000 * pl.col("slope").median())
    return medians.join(counted.group_by(key).agg(n=pl.len()), on=key).sort(key)


def gain(modules: pl.LazyFrame, meters: pl.LazyFrame) -> pl.LazyFrame:
    """(site, stack, ratio) of the charge that a stack's modules counted to what its own meter (a shunt, an inverter)
    did, from (site, stack, moved_mah) of each: all charge in and out of the days compared. Stacks without are left out.
    """
    key = ["site", "stack"]
    sums = modules.group_by(key).agg(pl.col("moved_mah").sum())
    known = meters.group_by(key).agg(meter=pl.col("moved_mah").sum()).filter(pl.col("meter") > 0)
    return sums.join(known, on=key).select(*key, ratio=pl.col("moved_mah") / pl.col("meter")).sort(key)


def is_off(offset_ma: pl.Expr, limits: Doubts) -> pl.Expr:
    """Whether an offset spoils the day (bit I_OFFSET)."""
    return offset_ma.abs() > limits.offset_ma


def is_out(ratio: pl.Expr, limits: Doubts) -> pl.Expr:
    """Whether a gain spoils the day (bit I_GAIN)."""
    return ~ratio.is_between(*limits.gain)
