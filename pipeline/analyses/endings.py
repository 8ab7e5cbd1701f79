"""How did each lockout end: by itself, by a person who switched the battery off and on, or do we not know?"""

from __future__ import annotations

import polars as pl

from pipeline.analyses.curve import cells_in, mean_mv
from pipeline.days import LocalDay
from pipeline.limits import Lockouts

BY_PERSON = ("reset", "power_cycle", "manual")
"""Ends after which the cause may still be there."""
MANUAL = "software_lock"
"""The fault that stands while somebody has switched a path off by command."""


def endings(
    sessions: pl.LazyFrame, rows: pl.LazyFrame, restarts: pl.LazyFrame, day: LocalDay, limits: Lockouts
) -> pl.LazyFrame:
    """The sessions (unit, start, end, ..) with `ended_by`, from a day's `steps` and (unit, ts) of known restarts.

    auto_release: the fault went while readings came as usual. reset: the module was silent for as long as it takes to
    switch it off and on, and its state of charge is the same (no charge passed). power_cycle: a counter of the device
    says that it started anew. manual: paths were switched by command. unknown: it went in a longer silence, or stands.
    """
    last = {name: pl.col(name).shift(1) for name in ("soc_pm", "mean", "faults")}
    after = rows.select(
        "unit", "dt_ms", "period_ms", "soc_pm", "faults", end="ts", mean=mean_mv(cells_in(rows))
    ).with_columns(**{f"{name}_before": value for name, value in last.items()})
    ends = sessions.select("unit", "end").unique()
    seen = after.join(ends, on=["unit", "end"], how="semi").unique(["unit", "end"], keep="first", maintain_order=True)
    again = _restarted(ends, restarts, limits)
    told = sessions.join(seen, on=["unit", "end"], how="left", maintain_order="left")
    return told.join(again, on=["unit", "end"], how="left", maintain_order="left").select(
        sessions.collect_schema().names(), ended_by=_ended_by(day, limits)
    )


def _ended_by(day: LocalDay, limits: Lockouts) -> pl.Expr:
    low, high = limits.silent_ms
    gap, period = pl.col("dt_ms"), pl.col("period_ms")
    missed = pl.when(2.5 * period <= limits.reset_ms).then(2.5).otherwise(1.9) * period  # at slow polls it hides one
    silent = (gap > pl.max_horizontal(pl.lit(low), missed)) & (gap <= high)
    still = (pl.col("soc_pm") - pl.col("soc_pm_before")).abs() <= limits.same_soc_pm
    by_command = pl.col("faults_before").str.split(" ").list.contains(MANUAL)
    return (
        pl.when(pl.col("end") >= day.end)
        .then(pl.lit("unknown"))
        .when(pl.col("restarted").fill_null(value=False))
        .then(pl.lit("power_cycle"))
        .when(by_command.fill_null(value=False))
        .then(pl.lit("manual"))
        .when(gap.is_null() | (gap > pl.max_horizontal(pl.lit(high), 2.5 * period)))
        .then(pl.lit("unknown"))
        .when(silent & still.fill_null(value=True))
        .then(pl.lit("reset"))
        .otherwise(pl.lit("auto_release"))
    )


def _restarted(ends: pl.LazyFrame, restarts: pl.LazyFrame, limits: Lockouts) -> pl.LazyFrame:
    near = ends.join(restarts, on="unit").filter(
        (pl.col("ts") >= pl.col("end") - limits.silent_ms[1] - limits.after_ms)
        & (pl.col("ts") <= pl.col("end") + limits.silent_ms[1])
    )
    return near.select("unit", "end").unique().with_columns(restarted=pl.lit(value=True))
