"""How much went in and out of each module today, and how far can the day be trusted?"""

from __future__ import annotations

import polars as pl

from pipeline.analyses.curve import cells_in, temps_in, warmer_dc, with_cells_in_short
from pipeline.analyses.steps import change, counted_ms, skewed
from pipeline.days import LocalDay
from pipeline.limits import Limits
from pipeline.quality import Quality

MS_PER_HOUR = 3_600_000
SIGNS = (
    Quality.V_SUM
    | Quality.V_OUT
    | Quality.T_OUT
    | Quality.SOC_JUMP
    | Quality.SOC_DRIFT
    | Quality.CLOCK
    | Quality.N_CELLS
)
"""Bits that a single reading, or two, can show; doubts.py and standing.py have those that need more."""


def throughput(readings: pl.LazyFrame, day: LocalDay, limits: Limits) -> pl.LazyFrame:
    """module_day without its place, from `steps`. mAh and Wh are sums of at most `late` periods a reading, so that a
    gap adds nothing; energy is taken at the terminals, from the cells' sum where a module does not say its voltage.
    """
    cells, temps = cells_in(readings), temps_in(readings)
    rows = with_cells_in_short(readings).with_columns(
        cold=pl.coalesce(pl.min_horizontal(temps), "temp_min_dc") if temps else pl.col("temp_min_dc"),
        warm=pl.coalesce(pl.max_horizontal(temps), "temp_max_dc") if temps else pl.col("temp_max_dc"),
        n_cells=pl.sum_horizontal(pl.col(cells).is_not_null()) if cells else pl.lit(0),
        cells_mv=pl.sum_horizontal(pl.col(cells).cast(pl.Int32)) if cells else pl.lit(None, pl.Int32),
        warmer=warmer_dc(temps),
        hours=counted_ms(day, limits) / MS_PER_HOUR,
    )
    sums = rows.group_by("unit").agg(*_sums(), *_summaries(), *_signs(day, limits))
    return (
        sums.with_columns(expected=((day.end - day.start) / pl.col("period_ms")).round().cast(pl.Int64))
        .with_columns(dq=_quality(limits))
        .sort("unit")
    )


def _sums() -> tuple[pl.Expr, ...]:
    charge = pl.col("current_ma") * pl.col("hours")
    volts = pl.coalesce("voltage_mv", pl.when(pl.col("n_cells") > 0).then("cells_mv")) / 1000
    both = {"mah": charge, "wh": charge * volts / 1000}
    return tuple(
        pl.when(flow.count() > 0).then((sign * flow).clip(lower_bound=0).sum()).alias(f"{way}_{unit}")
        for unit, flow in both.items()
        for way, sign in (("charge", 1), ("discharge", -1))
    )


def _summaries() -> tuple[pl.Expr, ...]:
    spread = pl.col("high") - pl.col("low")
    middle = (pl.col("cold").cast(pl.Int32) + pl.col("warm")) / 2
    low_mean_high = {
        "soc_pm": (pl.col("soc_pm"), pl.col("soc_pm"), pl.col("soc_pm")),
        "temp_dc": (pl.col("cold"), middle, pl.col("warm")),
        "current_ma": (pl.col("current_ma"), pl.col("current_ma"), pl.col("current_ma")),
    }
    return (
        *(low.min().cast(pl.Float64).alias(f"{name}_min") for name, (low, _, _) in low_mean_high.items()),
        *(mean.mean().alias(f"{name}_mean") for name, (_, mean, _) in low_mean_high.items()),
        *(high.max().cast(pl.Float64).alias(f"{name}_max") for name, (_, _, high) in low_mean_high.items()),
        pl.col("warmer").mean().alias("warmer_dc"),
        spread.mean().alias("spread_mv_mean"),
        spread.max().cast(pl.Float64).alias("spread_mv_max"),
    )


def _signs(day: LocalDay, limits: Limits) -> tuple[pl.Expr, ...]:
    soc, ts, whole = pl.col("soc_pm"), pl.col("ts"), pl.col("n_cells") == pl.col("n_cells").max()
    off = (pl.col("cells_mv") - pl.col("voltage_mv")).abs() > limits.sum_off * pl.col("voltage_mv")
    jumped = (change("soc_pm").abs() >= limits.soc_jump_pm) & (pl.col("dt_ms") <= limits.soc_jump_ms)
    in_earnest = limits.charging_rate * pl.col("full_mah").fill_null(limits.full_mah)
    not_full = (soc >= 1000) & (pl.col("mean") < limits.full_mv) & (pl.col("current_ma") > in_earnest)
    ahead = (ts > pl.col("arrival_ts") + limits.ahead_ms) | (pl.col("clk") == "bad")
    return (
        pl.len().cast(pl.Int64).alias("n"),
        pl.col("period_ms").first(),
        pl.max_horizontal(pl.col("dt_ms").max(), ts.min() - day.start, day.end - ts.max()).alias("max_gap_ms"),
        pl.col("full_mah").max(),
        pl.col("soh_pm").mean(),
        (off & whole).any().alias("v_sum"),
        ((pl.col("low") < limits.cell_mv[0]) | (pl.col("high") > limits.cell_mv[1])).any().alias("v_out"),
        ((pl.col("cold") < limits.temp_dc[0]) | (pl.col("warm") > limits.temp_dc[1])).any().alias("t_out"),
        jumped.any().alias("soc_jump"),
        not_full.any().alias("soc_drift"),
        (skewed(limits) | (ahead | (pl.col("dt_ms") <= 0)).any()).alias("clock"),
        (pl.col("n_cells").min() < pl.col("n_cells").max()).alias("n_cells"),
    )


def _quality(limits: Limits) -> pl.Expr:
    missing = pl.col("n") < limits.complete * pl.col("expected")
    tests = {Quality.GAP: missing | (pl.col("max_gap_ms") > limits.gap_ms)}
    tests |= {bit: pl.col(str(bit.name).lower()) for bit in SIGNS}
    return pl.sum_horizontal(test.fill_null(value=False).cast(pl.Int64) * int(bit) for bit, test in tests.items())
