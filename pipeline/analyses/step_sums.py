"""How does a module's voltage answer its current, at once and after minutes? Sums of a day that add up over days."""

from __future__ import annotations

import polars as pl

from pipeline.analyses.steps import with_the_one_before
from pipeline.chemistry import Chemistry
from pipeline.limits import Limits

SUMS = ("s11", "s12", "s22", "sy1", "sy2")


def step_sums(rows: pl.LazyFrame, limits: Limits, chemistry: Chemistry) -> pl.LazyFrame:
    """step_sum without its place, from `dynamics`: the normal equations of dV = R0 (kt dI) + R1 (kt dIf).

    dV is the mean cell's (mV), dI and the low-passed current's dIf in A.
    """
    dlag = pl.when(pl.col("dt_ms").is_not_null()).then(pl.col("lagged_ma") - pl.col("lagged_ma").shift(1)) / 1000
    plateau = pl.col("mean").is_between(*chemistry.steps_mv) & (
        pl.col("dt_ms") <= limits.step_late * pl.col("period_ms")
    )
    moving = (pl.col("di").abs() > limits.step_ma) | (dlag.abs() * 1000 > limits.drift_ma)
    near = with_the_one_before(rows, plateau & moving)
    x1, x2, y = pl.col("x1"), pl.col("x2"), pl.col("y")
    terms = near.with_columns(
        x1=pl.col("di") / 1000 * pl.col("kt"), x2=dlag * pl.col("kt"), y=pl.col("mean") - pl.col("mean").shift(1)
    ).filter("wanted")
    products = dict(zip(SUMS, (x1 * x1, x1 * x2, x2 * x2, y * x1, y * x2), strict=True))
    sums = terms.group_by("unit").agg(pl.len().cast(pl.Int64).alias("n"), **{n: e.sum() for n, e in products.items()})
    ends = rows.group_by("unit").agg(pl.col("period_ms").first(), pl.col("lagged_ma").last())
    zeros = [pl.col(name).fill_null(0) for name in (*SUMS, "n")]
    return ends.join(sums, on="unit", how="left").with_columns(zeros).sort("unit")


def exact_sum(value: pl.Expr) -> pl.Expr:
    """The sum in millionths: the same to the last bit in whatever order the days come, as a sum of floats is not."""
    return (value * 1e6).round().cast(pl.Int64, strict=False).sum() / 1e6


def exact_mean(value: pl.Expr) -> pl.Expr:
    """The mean of what is known, likewise."""
    return (value * 1e6).round().mean() / 1e6


def polarisation(sums: pl.LazyFrame, chemistry: Chemistry, nominal_mah: pl.Expr, by: list[str]) -> pl.LazyFrame:
    """Fast and slow resistance of the mean cell (mOhm at 25 degC) by `by`, from step_sum rows of some weeks.

    Where there were too few steps, the chemistry's for a module of this size: `regressed` is then false. Reference:
    two-term regression on current and low-passed current, accepted above 2000 A^2 and off collinearity.
    """
    total = sums.group_by(by).agg(
        *(exact_sum(pl.col(name)) for name in SUMS), nominal=nominal_mah.sort_by("day").drop_nulls().last()
    )
    det = pl.col("s11") * pl.col("s22") - pl.col("s12") ** 2
    good = (pl.col("s11") > 2000) & (det > 1e-3 * pl.col("s11") * pl.col("s22"))
    fast = (pl.col("sy1") * pl.col("s22") - pl.col("sy2") * pl.col("s12")) / det
    slow = (pl.col("sy2") * pl.col("s11") - pl.col("sy1") * pl.col("s12")) / det * chemistry.slow_share
    size = 100_000 / pl.col("nominal").fill_null(100_000)
    given = {"fast_mohm": (fast, chemistry.fast_mohm), "slow_mohm": (slow, chemistry.slow_mohm)}
    chosen = {
        name: pl.when(good).then(value.clip(0.1 * size, 6 * size)).otherwise(usual * size)
        for name, (value, usual) in given.items()
    }
    return total.select(*by, **chosen, regressed=good)
