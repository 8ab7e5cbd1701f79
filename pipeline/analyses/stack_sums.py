"""How do the modules of a stack share its current today, who is at the limit first, and do they stay together?"""

from __future__ import annotations

import polars as pl

from pipeline.analyses.stack_bins import bins
from pipeline.analyses.step_sums import exact_sum
from pipeline.chemistry import Chemistry
from pipeline.limits import HOUR, Limits, Stack

AT = ["heap", "bin"]


def stack_sums(rows: pl.LazyFrame, mates: pl.LazyFrame, limits: Limits, chemistry: Chemistry) -> pl.LazyFrame:
    """stack_day without its place, from `dynamics`; mates has (unit, heap, nominal), `heap` a number a stack.

    Sums over pieces of five minutes in which all modules spoke. `sxy / sxx`: its share of the stack's current;
    `dxy / dxx`: its share of a change of that current, which resistance decides and charge does not. `rest_ma` sums
    its current while the stack has none. `apart`: charge gone since all were full together, beside the median module,
    a share of nominal, at its largest. `tops` counts the charges that stopped, with one module at its limit, before
    the others were full, `led_top` those in which this one was it; `bottoms` likewise.
    """
    most = limits.stack
    near = bins(rows, mates, most).collect().lazy()
    with_steps = _stepped(near, most)
    joined = with_steps.group_by("unit").agg(*_sums(most))
    for more in (_ends(near, limits, chemistry), _apart(near, chemistry)):
        joined = joined.join(more, on="unit", how="left")
    return joined.with_columns(pl.col("tops", "led_top", "bottoms", "led_bottom").fill_null(0)).sort("unit")


def _stepped(near: pl.LazyFrame, limits: Stack) -> pl.LazyFrame:
    same = (pl.col("unit") == pl.col("unit").shift(1)) & (pl.col("bin") == pl.col("bin").shift(1) + 1)
    di, dall = (pl.col(name) - pl.col(name).shift(1) for name in ("ma", "all_ma"))
    far = dall.abs() > limits.step_rate * pl.col("all_mah")
    step = same & pl.col("whole") & pl.col("whole").shift(1) & far
    return near.with_columns(di=pl.when(step).then(di / 1000), dall=pl.when(step).then(dall / 1000))


def _sums(limits: Stack) -> tuple[pl.Expr, ...]:
    whole, ma, all_ma = pl.col("whole"), pl.col("ma") / 1000, pl.col("all_ma") / 1000
    busy = whole & (pl.col("all_ma").abs() > limits.step_rate * pl.col("all_mah"))
    rest = whole & (pl.col("all_ma").abs() < limits.rest_rate * pl.col("all_mah"))
    back = pl.col("back").fill_null(value=False)
    return (
        pl.col("members").first(),
        pl.len().alias("bins"),
        whole.sum().alias("whole"),
        exact_sum((ma * all_ma).filter(busy)).alias("sxy"),
        exact_sum((all_ma**2).filter(busy)).alias("sxx"),
        exact_sum(pl.col("di") * pl.col("dall")).alias("dxy"),
        exact_sum(pl.col("dall") ** 2).alias("dxx"),
        pl.col("di").count().alias("steps"),
        (exact_sum(pl.col("ma").abs().filter(whole)) * limits.bin_ms / HOUR).alias("moved_mah"),
        rest.sum().alias("rests"),
        exact_sum(pl.col("ma").abs().filter(rest)).alias("rest_ma"),
        ((pl.col("bin").last() + 1) * limits.bin_ms).alias("last_ts"),
        ((pl.col("heap_bin").last() + 1) * limits.bin_ms).alias("heap_ts"),
        pl.col("soc_pm").last().alias("last_soc_pm"),
        pl.col("mean").last().alias("last_mv"),
        pl.col("soc_apart_pm").filter(back).first().alias("back_pm"),
        pl.col("soc_apart_pm").first().alias("first_pm"),
    )


def _ends(near: pl.LazyFrame, limits: Limits, chemistry: Chemistry) -> pl.LazyFrame:
    """By unit: ends of charge and discharge, and those in which it was at its limit alone."""
    charging, others = pl.col("all_ma") > 0, pl.len() - 1
    full, high = chemistry.full_mv
    stacks = near.filter("whole").group_by(AT).agg(
        at_top=(charging & (pl.col("high") >= high)).any(),
        at_bottom=((pl.col("all_ma") < 0) & (pl.col("low") <= limits.doubts.empty_mv)).any(),
        first_top=pl.col("unit").sort_by("high").last(),
        first_bottom=pl.col("unit").sort_by("low").first(),
        rest_top=(pl.col("mean").sum() - pl.col("mean").sort_by("high").last()) / others,
        rest_bottom=(pl.col("mean").sum() - pl.col("mean").sort_by("low").first()) / others,
        units=pl.col("unit"),
    ).sort(AT)  # fmt: skip
    alone = {"top": pl.col("rest_top") < full, "bottom": pl.col("rest_bottom") > limits.bottom_mv}
    told = [_led(stacks, side, early, limits.stack.bin_ms) for side, early in alone.items()]
    return told[0].join(told[1], on="unit", how="full", coalesce=True)


def _led(stacks: pl.LazyFrame, side: str, early: pl.Expr, bin_ms: int) -> pl.LazyFrame:
    """The first piece of each end; ends are further apart than six hours."""
    at = stacks.filter(f"at_{side}")
    far = (pl.col("bin") - pl.col("bin").shift(1)).over("heap") * bin_ms > 6 * HOUR
    ends = at.filter(far.fill_null(value=True) & early)
    led = pl.col("unit") == pl.col(f"first_{side}")
    return ends.select(pl.col("units").alias("unit"), f"first_{side}").explode("unit").group_by("unit").agg(
        pl.len().alias(f"{side}s"), led.sum().alias(f"led_{side}")
    )  # fmt: skip


def _apart(near: pl.LazyFrame, chemistry: Chemistry) -> pl.LazyFrame:
    """By unit: apart, the largest either way."""
    together = pl.col("whole") & (pl.col("least_mean") >= chemistry.full_mv[0])
    began = pl.when(together).then("net_mah").forward_fill().over("unit")
    counted = near.with_columns(gone=(pl.col("net_mah") - began) / pl.col("nominal"))
    gone = counted.filter(pl.col("gone").is_not_null() & pl.col("whole"))
    off = gone.select("unit", "bin", apart=pl.col("gone") - pl.col("gone").median().over(AT))
    return off.sort("unit", "bin").group_by("unit").agg(pl.col("apart").sort_by(pl.col("apart").abs()).last())
