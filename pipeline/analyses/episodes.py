"""When did each fault stand? Turns what every reading says into episodes with a start and an end."""

from __future__ import annotations

import polars as pl

from pipeline.days import LocalDay
from pipeline.limits import Limits


def episodes(readings: pl.LazyFrame, day: LocalDay, limits: Limits) -> pl.LazyFrame:
    """(unit, fault, start, end) in UTC ms, from readings by unit and time.

    Readings that do not speak of faults end nothing. A fault that stands when a unit's readings begin or stop near
    midnight reaches to midnight, so that it joins the neighbouring day's.
    """
    said = readings.filter(pl.col("faults").is_not_null()).select("unit", "ts", "faults")
    stops = said.group_by("unit").agg(stop=pl.col("ts").max())
    changes = said.filter(_new("unit") | _new("faults")).with_columns(opens=_new("unit"))
    ends = pl.when(pl.col("unit") == pl.col("unit").shift(-1)).then(pl.col("ts").shift(-1))
    runs = (
        changes.with_columns(end=ends)
        .join(stops, on="unit")
        .select(
            "unit",
            fault=pl.col("faults").str.split(" "),
            start=_reaching(pl.col("ts"), day.start, limits, when=pl.col("opens")),
            end=pl.coalesce("end", _reaching(pl.col("stop"), day.end, limits, when=pl.lit(value=True))),
        )
    )
    named = runs.explode("fault").filter(pl.col("fault") != "")
    return merged(named, ["unit", "fault"], limits.lockouts.chatter_ms)


def merged(runs: pl.LazyFrame, by: list[str], chatter_ms: int) -> pl.LazyFrame:
    """Join runs of `by` that are less than `chatter_ms` apart."""
    ordered = runs.sort(*by, "start", "end")
    apart = pl.col("start") - pl.col("end").cum_max().shift(1).over(by) >= chatter_ms
    numbered = ordered.with_columns(nth=apart.fill_null(value=False).cum_sum().over(by))
    joined = numbered.group_by(*by, "nth").agg(pl.col("start").min(), pl.col("end").max())
    return joined.drop("nth").sort(*by, "start")


def _new(column: str) -> pl.Expr:
    return (pl.col(column) != pl.col(column).shift(1)).fill_null(value=True)


def _reaching(ts: pl.Expr, midnight: int, limits: Limits, *, when: pl.Expr) -> pl.Expr:
    return pl.when(when & ((ts - midnight).abs() <= limits.gap_ms)).then(midnight).otherwise(ts)
