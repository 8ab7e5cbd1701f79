"""What stands behind each reading: charge counted since midnight, the current of the last minutes, the warmth."""

from __future__ import annotations

import math

import polars as pl

from pipeline.analyses.curve import band, cells_in, highest_mv, lowest_mv, mean_mv, temps_in
from pipeline.analyses.steps import beside, change, counted_ms
from pipeline.chemistry import Chemistry
from pipeline.days import LocalDay
from pipeline.limits import Limits

MS_PER_HOUR, KELVIN, WARM_C = 3_600_000.0, 273.15, 25.0
FAR = 10**9
"""ms between one unit's last reading and the next unit's first, so that the low pass forgets."""


def dynamics(
    rows: pl.LazyFrame, carried: pl.LazyFrame, day: LocalDay, limits: Limits, chemistry: Chemistry
) -> pl.LazyFrame:
    """`steps` with mean, low, high (mV), band, temp_dc, kt, in_mah, out_mah, in_wh, out_wh, rest_h, fall_mah, di (mA),
    lagged_ma, step.

    `kt` is the share by which resistance is higher than at 25 degC (Arrhenius). Counters run from the day's start; they
    are added up as whole mA ms and mW ms, so that a module's come out the same whoever is worked through beside it.
    `lagged_ma` is the current behind a first-order low pass of `tau_s`, going on from `carried` (unit, lagged_before).
    """
    cells = cells_in(rows)
    mean, ms = mean_mv(cells), counted_ms(day, limits).cast(pl.Int64)
    volts = pl.coalesce("voltage_mv", pl.sum_horizontal(pl.col(cells).cast(pl.Int32)) if cells else None)
    current = pl.col("current_ma").cast(pl.Int64)
    power = (current * volts.fill_null(0) / 1000).round().cast(pl.Int64)
    flows = {"mah": (current, 1.0), "wh": (power, 1000.0)}
    known = beside(rows, carried).with_columns(
        mean=mean,
        low=lowest_mv(cells),
        high=highest_mv(cells),
        band=band(mean, limits),
        temp_dc=_middle(temps_in(rows)),
    )
    return known.with_columns(
        *(
            (_since_midnight((sign * flow * ms).fill_null(0).clip(lower_bound=0)) / (scale * MS_PER_HOUR)).alias(
                f"{way}_{unit}"
            )
            for unit, (flow, scale) in flows.items()
            for way, sign in (("in", 1), ("out", -1))
        ),
        rest_h=_since_midnight(pl.when(current.abs() <= limits.rest_ma).then(ms).otherwise(0)) / MS_PER_HOUR,
        fall_mah=_since_midnight((_fall(limits, chemistry) * ms).fill_null(0)) / (2 * MS_PER_HOUR),
        di=change("current_ma"),
        kt=(chemistry.arrhenius_k * (1 / (pl.col("temp_dc") / 10 + KELVIN) - 1 / (WARM_C + KELVIN))).exp(),
        lagged_ma=_lagged(day, chemistry.tau_s * 1000),
    ).with_columns(step=_step(limits, chemistry))


def _fall(limits: Limits, chemistry: Chemistry) -> pl.Expr:
    """mA, by which the current became smaller since the reading before while charger or BMS held a limit: charging
    near full counts as positive, discharging near empty as negative. A reading's current is counted for all of the
    time since the one before; of a slow fall that leaves out half of it.
    """
    drop, current = -change("current_ma").cast(pl.Int64), pl.col("current_ma")
    full = (pl.col("mean") > chemistry.up_mv) & (drop > 0) & (current >= -limits.rest_ma)
    empty = (pl.col("mean") < chemistry.down_mv) & (drop < 0) & (current <= limits.rest_ma)
    return pl.when(full | empty).then(drop).otherwise(0)


def _middle(temps: list[str]) -> pl.Expr:
    said = (pl.col("temp_min_dc").cast(pl.Float64) + pl.col("temp_max_dc")) / 2
    felt = (pl.min_horizontal(temps).cast(pl.Float64) + pl.max_horizontal(temps)) / 2 if temps else pl.lit(None)
    return pl.coalesce(felt, said, pl.lit(10 * WARM_C))


def _since_midnight(flow: pl.Expr) -> pl.Expr:
    total = flow.cum_sum()
    return total - pl.when(pl.col("dt_ms").is_null()).then(total - flow).forward_fill()


def _lagged(day: LocalDay, tau_ms: float) -> pl.Expr:
    current = pl.col("current_ma").cast(pl.Float64).fill_null(0.0)
    clock = pl.col("dt_ms").fill_null(FAR).cum_sum()
    passed = current.ewm_mean_by(clock, half_life=f"{round(tau_ms * math.log(2))}i")
    began = pl.when(pl.col("dt_ms").is_null()).then(current).forward_fill()
    fading = (-(pl.col("ts") - day.start) / tau_ms).exp()
    return passed + ((pl.col("lagged_before") - began) * fading).fill_null(0.0)


def _step(limits: Limits, chemistry: Chemistry) -> pl.Expr:
    least = pl.max_horizontal(pl.lit(limits.step_ma), limits.step_c_rate * pl.col("full_mah").fill_null(0))
    soon = pl.col("dt_ms") <= limits.step_late * pl.col("period_ms")
    return (pl.col("mean").is_between(*chemistry.steps_mv) & soon & (pl.col("di").abs() > least)).fill_null(value=False)
