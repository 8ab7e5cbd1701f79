"""What comes out of a module again, of all that went in, from one full charge to the next."""

from __future__ import annotations

from datetime import date

import polars as pl

from pipeline.analyses.findings import as_json, finding, reason
from pipeline.analyses.ledger import UNIT
from pipeline.limits import HOUR

LEAST = 0.5
"""Full equivalents that a loop has at least: a short one is all noise."""
CHARGE = (98.0, 100.5)
"""Percent of the charge that comes back; beyond it the current sensor is wrong, not the chemistry."""
ENOUGH = 3
SUMS = {"in_mah": "charge_mah", "out_mah": "discharge_mah", "in_wh": "charge_wh", "out_wh": "discharge_wh"}


def loops(anchors: pl.LazyFrame, days: pl.LazyFrame, day: date) -> pl.LazyFrame:
    """loop without its place for fulls of `day`: each with the full before it, from anchor and module_day rows."""
    order = days.sort(*UNIT, "day")
    before = {
        f"{n}_0": pl.col(of).fill_null(0).cum_sum().over(UNIT) - pl.col(of).fill_null(0) for n, of in SUMS.items()
    }
    passed = order.select(*UNIT, "day", "nominal_mah", **before)
    fulls = (
        anchors.filter(pl.col("state") == "full")
        .group_by(*UNIT, "day", "ts")
        .agg(pl.col(*SUMS, "temp_dc").first())
        .join(passed, on=[*UNIT, "day"])
        .with_columns((pl.col(n) + pl.col(f"{n}_0")).alias(n) for n in SUMS)
        .sort(*UNIT, "ts")
    )
    since = fulls.with_columns(
        from_ts=pl.col("ts").shift(1).over(UNIT), **{n: pl.col(n) - pl.col(n).shift(1).over(UNIT) for n in SUMS}
    )
    hours = (pl.col("ts") - pl.col("from_ts")) / HOUR
    moved = (pl.col("in_mah") + pl.col("out_mah")) / pl.col("nominal_mah")
    told = since.with_columns(rate=moved / hours, equivalents=moved / 2)
    kept = told.filter((pl.col("day") == day) & (pl.col("equivalents") >= LEAST))
    return kept.select(*UNIT, "day", "ts", "from_ts", *SUMS, "rate", "temp_dc").sort(*UNIT, "ts")


def efficiency(seen: pl.LazyFrame, module_day: pl.LazyFrame) -> pl.LazyFrame:
    """A finding's row a unit of module_day from its `loop` rows of 60 days: energy that comes back, in percent.

    The median of the mean voltages' ratio, out to in: between two fulls as much charge goes out as comes in (LFP loses
    less than 0.5 %), and so a wrong current sensor does not show in it. It shows in the charge, which is held against
    CHARGE.
    """
    charge = 100 * pl.col("out_mah") / pl.col("in_mah")
    energy = 100 * pl.col("out_wh") / pl.col("in_wh") * (pl.col("in_mah") / pl.col("out_mah"))
    spread = 0.6 * (energy.quantile(0.84) - energy.quantile(0.16)) / pl.len().sqrt()
    by = seen.group_by(UNIT).agg(
        n=pl.len(), energy=energy.median(), charge=charge.median(), half=1.96 * spread, rate=pl.col("rate").median()
    )
    rows = module_day.select(UNIT).join(by, on=UNIT, how="left").sort(UNIT)
    few = pl.col("n").fill_null(0) < ENOUGH
    wrong = ~few & ~pl.col("charge").is_between(*CHARGE)
    status = pl.when(few).then(pl.lit("not_observable")).when(wrong).then(pl.lit("low_quality")).otherwise(pl.lit("ok"))
    why = [
        pl.when(few).then(reason("from_full_to_full_in_60_days", pl.col("n").fill_null(0), "count", ENOUGH)),
        pl.when(wrong).then(reason("charge_that_comes_back", pl.col("charge"), "%", 100)),
    ]
    ends = {"value": pl.col("energy"), "lo": pl.col("energy") - pl.col("half"), "hi": pl.col("energy") + pl.col("half")}
    told = {
        **{name: pl.when(~few).then(value) for name, value in ends.items()},
        "confidence": pl.when(few | wrong).then(0.0).otherwise(pl.col("n") / (pl.col("n") + ENOUGH)),
        "reasons": as_json(pl.concat_list(why).list.drop_nulls()),
        "evidence": as_json(pl.struct(pl.lit("loop").alias("table"), "n", "energy", "charge", "rate")),
    }
    named = {"pattern": pl.lit("round_trip"), "value_unit": pl.lit("%"), "fault": pl.lit(None, pl.String)}
    return finding(rows.select(*UNIT, status=status, **named, **told), "efficiency")
