"""When does a module that stands unused reach its low limit, and is it kept as its maker wishes?"""

from __future__ import annotations

import polars as pl

from pipeline.analyses.findings import as_json, finding, reason
from pipeline.limits import Storage

UNIT = ["site", "unit"]


def storage(history: pl.LazyFrame, limits: Storage) -> pl.LazyFrame:
    """A finding's row for each unit that stood for `days`: the days until `low_pm`, with an interval.

    `history` is module_day of these days (site, unit, day, charge_mah, discharge_mah, full_mah, soc_pm_min,
    soc_pm_mean, temp_dc_mean). The drain is the median slope (Theil, Sen) of the daily mean SOC over pairs of days;
    the interval its quartiles. A full battery that stands is only warm storage's business, never an alarm by itself.
    """
    moved = pl.max_horizontal("charge_mah", "discharge_mah") <= limits.moved * pl.col("full_mah")
    stood = history.filter((moved & pl.col("soc_pm_mean").is_not_null()).all().over(UNIT))
    enough = stood.filter(pl.col("day").n_unique().over(UNIT) >= limits.days)
    slopes = enough.join(enough, on=UNIT, suffix="_later").filter(
        (pl.col("day_later") - pl.col("day")).dt.total_days() >= limits.days // 2
    )
    a_day = (pl.col("soc_pm_mean_later") - pl.col("soc_pm_mean")) / (
        pl.col("day_later") - pl.col("day")
    ).dt.total_days()
    drain = slopes.group_by(UNIT).agg(
        *(a_day.quantile(share).alias(name) for name, share in (("steep", 0.25), ("drain", 0.5), ("flat", 0.75)))
    )
    now = (
        enough.sort("day")
        .group_by(UNIT)
        .agg(soc=pl.col("soc_pm_mean").last(), temp=pl.col("temp_dc_mean").mean(), n=pl.len())
    )
    rows = now.join(drain, on=UNIT).sort(UNIT)
    return finding(rows.select(*UNIT, **_verdict(limits)), "storage")


def _until(slope: str, limits: Storage) -> pl.Expr:
    left = (pl.col("soc") - limits.low_pm).clip(lower_bound=0)
    return pl.when(pl.col(slope) < 0).then(left / -pl.col(slope))


def _verdict(limits: Storage) -> dict[str, pl.Expr]:
    days = _until("drain", limits)
    soon = (days < limits.soon_days).fill_null(value=False) | (pl.col("soc") <= limits.low_pm)
    low, high = limits.temp_dc
    outside = ~pl.col("temp").is_between(low, high)
    whys = [
        pl.when(soon).then(reason("days_until_the_low_limit", days.round(), "days", limits.soon_days)),
        reason("charge_lost_a_day", -pl.col("drain"), "0.1 %"),
        pl.when(~pl.col("soc").is_between(*limits.soc_pm)).then(
            reason("stored_outside_its_charge_window", pl.col("soc"), "0.1 %")
        ),
        pl.when(outside).then(reason("stored_outside_its_temperature_window", pl.col("temp"), "0.1 degC")),
    ]
    return {
        "pattern": pl.lit("standby"),
        "status": pl.when(soon).then(pl.lit("finding")).otherwise(pl.lit("ok")),
        "fault": pl.when(soon).then(pl.lit("low_soc_warning")),
        "value": days,
        "lo": _until("steep", limits),
        "hi": _until("flat", limits),
        "threshold": pl.lit(limits.soon_days),
        "value_unit": pl.lit("days"),
        "confidence": (pl.col("n") / (pl.col("n") + 7)).cast(pl.Float64),
        "reasons": as_json(pl.concat_list(whys).list.drop_nulls()),
        "action": as_json(pl.concat_list(pl.when(soon).then(pl.lit("low_soc_warning"))).list.drop_nulls()),
        "evidence": as_json(pl.struct(table=pl.lit("module_day"), soc_pm="soc", drain_pm_a_day="drain", days="n")),
    }
