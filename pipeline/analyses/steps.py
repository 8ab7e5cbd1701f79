"""How long does each reading count for? Puts a day's readings in order and finds each module's own period."""

from __future__ import annotations

import polars as pl

from pipeline.days import LocalDay
from pipeline.limits import Limits


def steps(readings: pl.LazyFrame, limits: Limits) -> pl.LazyFrame:
    """The readings by unit and time with `dt_ms` since the unit's last one (null at its first) and its `period_ms`."""
    return timed(readings.sort("unit", "ts"), limits)


def in_order(readings: pl.DataFrame) -> pl.DataFrame:
    """By unit (a number) and time. An archive's closed day lies so already, and to see that is cheaper than to sort."""
    key = pl.col("unit").cast(pl.Int64) * (1 << 42) + pl.col("ts")
    keyed = readings.with_columns(key=key)
    return (keyed if keyed["key"].is_sorted() else keyed.sort("key", maintain_order=True)).drop("key")


def timed(ordered: pl.LazyFrame, limits: Limits) -> pl.LazyFrame:
    """`steps` of readings that are in order.

    Shifts are global and masked where the unit changes, which is several times cheaper than a window a unit.
    """
    same = pl.col("unit") == pl.col("unit").shift(1)
    apart = ordered.with_columns(dt_ms=pl.when(same).then(pl.col("ts") - pl.col("ts").shift(1)))
    periods = apart.filter(pl.col("dt_ms") > 0).group_by("unit").agg(period_ms=pl.col("dt_ms").median().cast(pl.Int64))
    return beside(apart, periods).with_columns(pl.col("period_ms").fill_null(limits.period_ms))


def beside(rows: pl.LazyFrame, told: pl.LazyFrame) -> pl.LazyFrame:
    """Each row with what is told of its unit, one row a unit. A join of all columns would copy every one of them."""
    more = rows.select("unit").join(told, on="unit", how="left", maintain_order="left").drop("unit")
    return pl.concat([rows, more], how="horizontal")


def counted_ms(day: LocalDay, limits: Limits) -> pl.Expr:
    """Time that a reading counts for, ms: at most `late` periods, and nothing before midnight."""
    since_midnight = pl.min_horizontal(pl.col("ts") - day.start, "period_ms")
    return pl.min_horizontal(pl.col("dt_ms").fill_null(since_midnight), limits.late * pl.col("period_ms"))


def change(column: str | pl.Expr) -> pl.Expr:
    """Difference to the unit's last reading (null at its first), Int32."""
    value = (pl.col(column) if isinstance(column, str) else column).cast(pl.Int32)
    return pl.when(pl.col("dt_ms").is_not_null()).then(value - value.shift(1))


def with_the_one_before(rows: pl.LazyFrame, wanted: pl.Expr) -> pl.LazyFrame:
    """The rows that are `wanted`, marked so, each still right behind the row before it: few rows to look closely at."""
    marked = rows.with_columns(wanted=wanted.fill_null(value=False))
    return marked.filter(pl.col("wanted") | pl.col("wanted").shift(-1, fill_value=False))


def skewed(limits: Limits) -> pl.Expr:
    """Whether a unit's clock, which no server keeps, was steadily off; replayed readings lag too, but not steadily."""
    lag = pl.col("arrival_ts") - pl.col("ts")
    steady = lag.quantile(0.9) - lag.quantile(0.1) <= limits.skew_ms
    return steady & (lag.median().abs() > limits.skew_ms) & (pl.col("clk") != "ntp").any()
