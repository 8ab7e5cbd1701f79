"""What was the matter around the start of each lockout? Numbers from ten minutes before to two minutes after."""

from __future__ import annotations

import polars as pl

from pipeline.analyses.curve import cells_in, highest_mv, lowest_mv, mean_mv, temps_in
from pipeline.analyses.extremes import coldest, fastest_change, place_of, warmest
from pipeline.analyses.steps import change
from pipeline.limits import HOUR, Limits


def window(rows: pl.LazyFrame, sessions: pl.LazyFrame, limits: Limits) -> pl.LazyFrame:
    """Sessions (unit, start, ..) with the numbers of their window, from a day's `steps`; null where nothing was said.

    mV a cell: mean_hi, mean_lo, low, high, spread, others_lo (mean of all but the lowest), others_hi; low_at, high_at.
    mA: i_peak, i_step, i_mean, i_rms, i_last (before the start); 0.1 degC: t_lo, t_hi, t_apart,
    t_rise (a minute), t_least (of the day);
    soc_pm; over_ms (how long beyond 95 % of the peak); gap_ms; idle_h without current before the
    start, idle_all the day; n.
    """
    cells, temps = cells_in(rows), temps_in(rows)
    mine = rows.join(sessions.select("unit").unique(), on="unit", how="semi")
    low, high, mean = lowest_mv(cells), highest_mv(cells), mean_mv(cells)
    n_cells = pl.sum_horizontal(pl.col(cells).is_not_null()) if cells else pl.lit(0)
    cold, warm = coldest(temps), warmest(temps)
    slim = mine.select(
        *("unit", "ts", "dt_ms", "current_ma", "soc_pm", "full_mah"),
        low=low,
        high=high,
        mean=mean,
        others_lo=pl.when(n_cells > 1).then((mean * n_cells - low) / (n_cells - 1)),
        others_hi=pl.when(n_cells > 1).then((mean * n_cells - high) / (n_cells - 1)),
        low_at=place_of(cells, low),
        high_at=place_of(cells, high),
        cold=cold,
        warm=warm,
        step=change("current_ma").abs(),
        t_rise=fastest_change(temps),
    )
    active = pl.when(pl.col("current_ma").abs() >= limits.roots.idle_ma).then("ts")
    idle = slim.with_columns(
        active=active.forward_fill().over("unit"),
        first=pl.col("ts").first().over("unit"),
        t_least=pl.col("cold").min().over("unit"),
    )
    starts = sessions.select("unit", "start")
    before, after = limits.lockouts.before_ms, limits.lockouts.after_ms
    near = idle.join(starts, on="unit").filter(
        pl.col("ts").is_between(pl.col("start") - before - pl.col("dt_ms").fill_null(0), pl.col("start") + after)
    )
    numbers = near.group_by("unit", "start").agg(*_numbers())
    return sessions.join(numbers, on=["unit", "start"], how="left", maintain_order="left")


def _numbers() -> tuple[pl.Expr, ...]:
    current, ts = pl.col("current_ma"), pl.col("ts")
    quiet_since = pl.coalesce("active", "first").filter(ts <= pl.col("start"))
    return (
        pl.col("mean").max().alias("mean_hi"),
        pl.col("mean").min().alias("mean_lo"),
        pl.col("low").min(),
        pl.col("high").max(),
        (pl.col("high") - pl.col("low")).max().alias("spread"),
        pl.col("others_lo").sort_by("low").first(),
        pl.col("others_hi").sort_by("high").last(),
        pl.col("low_at").sort_by("low").first(),
        pl.col("high_at").sort_by("high").last(),
        current.sort_by(current.abs()).last().alias("i_peak"),
        current.filter(ts <= pl.col("start")).mean().alias("i_mean"),
        pl.col("step").filter(ts <= pl.col("start")).max().alias("i_step"),
        current.filter(ts < pl.col("start")).last().alias("i_last"),
        pl.col("active").filter(ts <= pl.col("start")).last().is_null().alias("idle_all"),
        (current.cast(pl.Float64) ** 2).mean().sqrt().alias("i_rms"),
        pl.col("dt_ms").filter(current.abs() > 0.95 * current.abs().max()).sum().alias("over_ms"),
        pl.col("cold").min().alias("t_lo"),
        pl.col("warm").max().alias("t_hi"),
        (pl.col("warm") - pl.col("cold")).max().alias("t_apart"),
        pl.col("t_rise").max(),
        pl.col("t_least").min(),
        pl.col("soc_pm").filter(ts <= pl.col("start")).last(),
        pl.col("full_mah").max(),
        pl.col("dt_ms").max().alias("gap_ms"),
        ((pl.col("start").first() - quiet_since.last()) / HOUR).alias("idle_h"),
        pl.len().alias("n"),
    )
