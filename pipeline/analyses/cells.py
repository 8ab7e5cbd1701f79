"""What did each cell do today: who leads, who lags, who jumps, and what do its current steps say of its resistance?"""

from __future__ import annotations

import polars as pl

from pipeline.analyses.curve import band, cells_in, highest_mv, lowest_mv, mean_mv
from pipeline.analyses.steps import change
from pipeline.limits import Limits


def cells(readings: pl.LazyFrame, limits: Limits) -> pl.LazyFrame:
    """cell_day without its place, from `steps`; a module without cell voltages has no rows.

    `top_first`, `top_last`, `bottom_first` and `mid_far` count readings in which a cell is the odd one out: farthest
    above or below the mean at the top, lowest at the bottom, farthest from the mean in between. `sxy`/`sxx` is mOhm.
    """
    names = cells_in(readings)
    if not names:
        return readings.select("unit", pl.lit(None).alias("cell"), *map(pl.lit(None).alias, STATISTICS)).clear()
    mean = mean_mv(names)
    rows = readings.with_columns(
        mean=mean,
        low=lowest_mv(names),
        high=highest_mv(names),
        band=band(mean, limits),
        di=change("current_ma"),
        quiet=_quiet(mean, limits),
        step=_step(mean, limits),
    ).with_columns(
        above=pl.col("high") - pl.col("mean"),
        below=pl.col("mean") - pl.col("low"),
        dmean=pl.when(pl.col("dt_ms").is_not_null()).then(pl.col("mean") - pl.col("mean").shift(1)),
    )
    wide = rows.group_by("unit").agg(e for name in names for e in _of_cell(name, limits))
    long = pl.concat(_row(wide, index, name) for index, name in enumerate(names))
    return long.filter(pl.col("n") > 0).sort("unit", "cell")


STATISTICS = (
    *("min_mv", "max_mv", "top_first", "top_last", "bottom_first", "mid_far"),
    *("jumps", "balancing_s", "sxy", "sxx", "n"),
)


def _quiet(mean: pl.Expr, limits: Limits) -> pl.Expr:
    return mean.is_between(*limits.plateau_mv) & (change("current_ma").abs() < limits.quiet_ma)


def _step(mean: pl.Expr, limits: Limits) -> pl.Expr:
    soon = pl.col("dt_ms") <= limits.step_late * pl.col("period_ms")
    return mean.is_between(*limits.plateau_mv) & soon & (change("current_ma").abs() > limits.step_ma)


def _of_cell(name: str, limits: Limits) -> tuple[pl.Expr, ...]:
    cell, where = pl.col(name), pl.col("band")
    apart = pl.col("high") - pl.col("low") >= limits.apart_mv
    ahead = (cell == pl.col("high")) & (pl.col("above") >= pl.col("below")) & apart
    behind = (cell == pl.col("low")) & (pl.col("above") < pl.col("below")) & apart
    dv, di = change(name), pl.col("di") / 1000
    bit = pl.col("balancing") // (1 << int(name[1:])) % 2
    seconds = (
        pl.min_horizontal(pl.col("dt_ms").fill_null(pl.col("period_ms")), limits.late * pl.col("period_ms")) / 1000
    )
    values = (
        cell.min(),
        cell.max(),
        (ahead & (where == "top")).sum(),
        (behind & (where == "top")).sum(),
        ((cell == pl.col("low")) & (where == "bottom") & apart).sum(),
        ((ahead | behind) & (where == "mid")).sum(),
        (((dv - pl.col("dmean")).abs() > limits.jump_mv) & pl.col("quiet")).sum(),
        pl.when(bit.count() > 0).then((seconds * bit).sum()),
        (dv * di).filter(pl.col("step")).sum(),
        (di * di).filter(pl.col("step") & cell.is_not_null()).sum(),
        cell.count(),
    )
    return tuple(value.alias(f"{name}_{what}") for what, value in zip(STATISTICS, values, strict=True))


def _row(wide: pl.LazyFrame, index: int, name: str) -> pl.LazyFrame:
    return wide.select(
        "unit", pl.lit(index, pl.Int16).alias("cell"), *(pl.col(f"{name}_{what}").alias(what) for what in STATISTICS)
    )
