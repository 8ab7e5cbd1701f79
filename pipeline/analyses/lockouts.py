"""Does the same protection keep coming back: three times in a day, five in a week, twice right after its release?"""

from __future__ import annotations

import polars as pl

from cellherd.faults import catalogue
from pipeline.analyses.episodes import merged
from pipeline.analyses.findings import as_json, finding, reason
from pipeline.days import LocalDay
from pipeline.limits import DAY, Lockouts

COUNTED = sorted(f.id for f in catalogue().values() if f.severity in ("protection", "lockout", "fault"))
"""Faults whose return is a lockout; benign states, information and mere warnings never are."""
KEY = ["site", "unit", "fault"]
WHY = {
    "in_24_h": "came_within_24_hours",
    "at_once": "back_at_once_after_its_release",
    "in_7_days": "came_within_7_days",
}
"""The rules, by the name of their limit, and the reason that each gives."""
EPISODE = pl.Struct({"start": pl.Int64, "end": pl.Int64})


def lockouts(today: pl.LazyFrame, earlier: pl.LazyFrame, day: LocalDay, limits: Lockouts) -> pl.LazyFrame:
    """A finding's row a unit and counted fault that stood today: `finding` where it repeats, else `ok`.

    `today` has (site, unit, fault, start, end); `earlier` are the findings of this analysis of the six days before.
    The pattern is the fault that came; what the finding's own fault, repeat_lockout, asks for is in the catalogue.
    """
    counted = today.filter(pl.col("fault").is_in(COUNTED))
    standing = counted.group_by(KEY).agg(now=pl.struct("start", "end").sort())
    history = pl.concat([counted.select(*KEY, "start", "end"), _episodes_of(earlier)])
    counts = _counts(merged(history, KEY, limits.chatter_ms), day, limits)
    rows = standing.join(counts, on=KEY).with_columns(again=_rule(limits)).sort(KEY)
    return finding(rows.select("site", "unit", pattern="fault", **_verdict(day, limits)), "lockouts")


def _episodes_of(earlier: pl.LazyFrame) -> pl.LazyFrame:
    told = pl.col("evidence").str.json_decode(pl.Struct({"episodes": pl.List(EPISODE)})).struct.field("episodes")
    rows = earlier.filter(pl.col("analysis") == "lockouts").select("site", "unit", fault="pattern", episode=told)
    return rows.explode("episode").drop_nulls("episode").unnest("episode")


def _counts(history: pl.LazyFrame, day: LocalDay, limits: Lockouts) -> pl.LazyFrame:
    """How often it came: most starts in 24 h that end today, starts in the week up to today, returns at once."""
    week = pl.col("start") > day.end - 7 * DAY
    at_once = (pl.col("start") - pl.col("end").shift(1).over(KEY)) <= limits.at_once_ms
    rows = history.with_columns(at_once=at_once.fill_null(value=False)).sort("start")
    daily = rows.rolling("start", period=f"{DAY}i", group_by=KEY).agg(n=pl.len())
    most = daily.filter(pl.col("start") >= day.start).group_by(KEY).agg(in_24_h=pl.col("n").max())
    weekly = rows.filter(week).group_by(KEY).agg(in_7_days=pl.len(), at_once=pl.col("at_once").sum())
    counts = weekly.join(most, on=KEY, how="left")
    return counts.with_columns(pl.col("in_24_h").fill_null(0))


def _rule(limits: Lockouts) -> pl.Expr:
    return pl.any_horizontal(pl.col(name) >= getattr(limits, name) for name in WHY)


def _verdict(day: LocalDay, limits: Lockouts) -> dict[str, pl.Expr]:
    allowed = {name: getattr(limits, name) for name in WHY}
    broken = {name: pl.col(name) >= limit for name, limit in allowed.items()}
    whys = [pl.when(broken[n]).then(reason(why, pl.col(n), "count", allowed[n])) for n, why in WHY.items()]
    return {
        "status": pl.when("again").then(pl.lit("finding")).otherwise(pl.lit("ok")),
        "fault": pl.when("again").then(pl.lit("repeat_lockout")).otherwise("fault"),
        "value": pl.coalesce(*(pl.when(broken[n]).then(n) for n in WHY), "in_24_h"),
        "threshold": pl.coalesce(*(pl.when(broken[n]).then(allowed[n]) for n in WHY), limits.in_24_h),
        "value_unit": pl.lit("count"),
        "confidence": pl.lit(1.0),  # the BMS said so each time; a gap can only hide more
        "reasons": as_json(pl.concat_list(whys).list.drop_nulls()),
        "action": as_json(pl.concat_list(pl.when("again").then(pl.lit("repeat_lockout")), "fault").list.drop_nulls()),
        "evidence": as_json(
            pl.struct(table=pl.lit("reading"), from_ts=pl.lit(day.start), to_ts=pl.lit(day.end), episodes="now")
        ),
    }
