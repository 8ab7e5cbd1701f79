"""How near did a module come to its protections? The forewarning of a lockout that has not been yet."""

from __future__ import annotations

import polars as pl

from pipeline.limits import Risk

UNIT = ["site", "unit"]
STATED = (
    *("cell_max_mv", "cell_min_mv", "charge_ma", "discharge_ma"),
    *("charge_temp_max_dc", "charge_temp_min_dc", "discharge_temp_max_dc"),
)
"""Limits of a device that a day is held against; one that it does not state is not looked at."""


def near(module_day: pl.LazyFrame, cell_day: pl.LazyFrame, about: pl.LazyFrame, limits: Risk) -> pl.LazyFrame:
    """(site, unit, near) how many of these days came so near to a stated limit that little more would have tripped it.

    `about` has (site, unit, and STATED). Voltages by the day's highest and lowest cell, else the day's extremes.
    """
    cells = cell_day.group_by(*UNIT, "day").agg(high=pl.col("max_mv").max(), low=pl.col("min_mv").min())
    days = module_day.select(*UNIT, "day", *(f"{what}_{end}" for what in ("temp_dc", "current_ma") for end in _ENDS))
    known = days.join(cells, on=[*UNIT, "day"], how="left").join(about.select(*UNIT, *STATED), on=UNIT)
    close = pl.any_horizontal(rule.fill_null(value=False) for rule in _close(limits))
    return known.group_by(UNIT).agg(near=close.sum().cast(pl.Int64))


_ENDS = ("min", "max")


def _close(limits: Risk) -> tuple[pl.Expr, ...]:
    def of(name: str) -> pl.Expr:
        return pl.col(name)

    high, low, warm = limits.near_mv[0], limits.near_mv[1], limits.near_dc
    return (
        of("high") > of("cell_max_mv") - high,
        of("low") < of("cell_min_mv") + low,
        of("temp_dc_max") > pl.min_horizontal("charge_temp_max_dc", "discharge_temp_max_dc") - warm,
        of("temp_dc_min") < of("charge_temp_min_dc") + warm,
        of("current_ma_max") > limits.near_rate * of("charge_ma"),
        -of("current_ma_min") > limits.near_rate * of("discharge_ma"),
    )
