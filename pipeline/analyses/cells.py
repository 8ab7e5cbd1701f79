"""What did each cell do today: who leads, who lags, who jumps, and what do its current steps say of its resistance?"""

from __future__ import annotations

import polars as pl

from pipeline.analyses.curve import cells_in
from pipeline.analyses.steps import change, with_the_one_before
from pipeline.limits import Limits

STATISTICS = (
    *("min_mv", "max_mv", "top_first", "top_last", "bottom_first", "mid_far"),
    *("jumps", "quiet", "balancing_s", "filled_s", "sxy", "sxx", "steps", "n"),
)
COUNTS = ("top_first", "top_last", "bottom_first", "mid_far", "jumps", "sxy", "sxx", "steps")
"""Zero, and not unknown, where nothing of the kind was seen."""


def cells(rows: pl.LazyFrame, limits: Limits) -> pl.LazyFrame:
    """cell_day without its place, from `dynamics`; a module without cell voltages has no rows.

    `filled_s` is the part of `balancing_s` in which the cell was the lowest: a balancer that moves charge fills it.
    `top_first`, `top_last`, `bottom_first` and `mid_far` count readings in which a cell is the odd one out: farthest
    above or below the mean at the top, lowest at the bottom, farthest from the mean in between; not what a device that
    counts in coarse steps tells below a few of them. `sxy`/`sxx` is mOhm at 25 degC. Only lowest, highest and count
    look at every reading: the rest looks at the few that matter to it.
    """
    names = cells_in(rows)
    if not names:
        return rows.select("unit", pl.lit(None).alias("cell"), *map(pl.lit(None).alias, STATISTICS)).clear()
    said = pl.col("balancing").count().alias("said")
    quiet = _quiet(limits).sum().alias("quiet")
    wide = rows.group_by("unit").agg(said, quiet, *(e for name in names for e in _always(name)))
    for part in (_roles(rows, names, limits), _changes(rows, names, limits), _balanced(rows, names, limits)):
        wide = wide.join(part, on="unit", how="left")
    long = pl.concat(_row(wide, index, name) for index, name in enumerate(names))
    return long.filter(pl.col("n") > 0).sort("unit", "cell")


def _always(name: str) -> tuple[pl.Expr, ...]:
    cell = pl.col(name)
    return cell.min().alias(f"{name}_min_mv"), cell.max().alias(f"{name}_max_mv"), cell.count().alias(f"{name}_n")


def _roles(rows: pl.LazyFrame, names: list[str], limits: Limits) -> pl.LazyFrame:
    high_side = pl.col("high") - pl.col("mean") >= pl.col("mean") - pl.col("low")
    spread = pl.col("high") - pl.col("low")
    coarse = ((pl.col("high") % limits.coarse_mv == 0) & (pl.col("low") % limits.coarse_mv == 0)).all().over("unit")
    apart = rows.filter(pl.col("band").is_not_null() & (spread >= limits.apart_mv))
    apart = apart.filter(~coarse | (spread >= limits.coarse_floor_mv))
    top, mid, bottom = (pl.col("band") == where for where in ("top", "mid", "bottom"))

    def of(name: str) -> dict[str, pl.Expr]:
        highest, lowest = pl.col(name) == pl.col("high"), pl.col(name) == pl.col("low")
        ahead, behind = highest & high_side, lowest & ~high_side
        return {
            "top_first": ahead & top,
            "top_last": behind & top,
            "bottom_first": lowest & bottom,
            "mid_far": (ahead | behind) & mid,
        }

    return apart.group_by("unit").agg(e.sum().alias(f"{name}_{what}") for name in names for what, e in of(name).items())


def _changes(rows: pl.LazyFrame, names: list[str], limits: Limits) -> pl.LazyFrame:
    """Jumps and current steps. Two spreads together bound how far a cell can have moved from the mean."""
    spread = pl.col("high") - pl.col("low")
    quiet = _quiet(limits)
    near = with_the_one_before(rows, pl.col("step") | (quiet & (spread + spread.shift(1) > limits.jump_mv)))
    mean = pl.col("mean") - pl.col("mean").shift(1)
    moves = {f"{name}_dv": change(name) for name in names}
    moved = near.with_columns(quiet=quiet, dmean=mean, x=pl.col("di") / 1000 * pl.col("kt"), **moves)
    step = pl.col("step")

    def of(name: str) -> dict[str, pl.Expr]:
        dv = pl.col(f"{name}_dv")
        return {
            "jumps": (((dv - pl.col("dmean")).abs() > limits.jump_mv) & pl.col("quiet")).sum(),
            "sxy": (dv * pl.col("x")).filter(step).sum(),
            "sxx": (pl.col("x") ** 2).filter(step & dv.is_not_null()).sum(),
            "steps": dv.filter(step).count(),
        }

    asked = (e.alias(f"{name}_{what}") for name in names for what, e in of(name).items())
    return moved.filter("wanted").group_by("unit").agg(asked)


def _quiet(limits: Limits) -> pl.Expr:
    return pl.col("mean").is_between(*limits.plateau_mv) & (pl.col("di").abs() < limits.quiet_ma)


def _balanced(rows: pl.LazyFrame, names: list[str], limits: Limits) -> pl.LazyFrame:
    seconds = pl.min_horizontal(pl.col("dt_ms").fill_null(pl.col("period_ms")), limits.late * pl.col("period_ms"))
    bits = {name: seconds / 1000 * (pl.col("balancing") // (1 << int(name[1:])) % 2) for name in names}
    below = {name: pl.col(name) - pl.col("low") < limits.filled_mv for name in names}
    busy = rows.filter(pl.col("balancing") != 0)
    return busy.group_by("unit").agg(
        *(bit.sum().alias(f"{name}_balancing_s") for name, bit in bits.items()),
        *((bit * below[name]).sum().alias(f"{name}_filled_s") for name, bit in bits.items()),
    )


def _row(wide: pl.LazyFrame, index: int, name: str) -> pl.LazyFrame:
    kept = {what: pl.col(f"{name}_{what}") for what in STATISTICS if what != "quiet"}
    kept |= {what: kept[what].fill_null(0) for what in COUNTS}
    kept["quiet"] = pl.col("quiet").fill_null(0)
    for what in ("balancing_s", "filled_s"):
        kept[what] = pl.when(pl.col("said") > 0).then(kept[what].fill_null(0.0))
    return wide.select("unit", pl.lit(index, pl.Int16).alias("cell"), **kept)
