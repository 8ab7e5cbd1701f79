"""Which sensors lie today? Tests that need the order of a day's readings, beside those of `throughput`."""

from __future__ import annotations

import polars as pl

from pipeline.analyses.curve import cells_in, temps_in, with_cells_in_short
from pipeline.analyses.extremes import coldest, fastest_change, warmest
from pipeline.limits import Limits
from pipeline.quality import Quality

QUARTER_DAY = 6 * 3_600_000


def doubts(rows: pl.LazyFrame, limits: Limits) -> pl.LazyFrame:
    """(unit, dq) from a day's `steps`: STUCK_T, T_OUT, FROZEN, RATE, I_ZERO and SOC_DRIFT, a sum of Quality's values.

    FROZEN: the very same cells and current over `frozen` readings while current flows. RATE: another
    median period in one quarter of the day than in another. I_ZERO: after half an hour without current the voltage
    moves by 20 mV a minute. SOC_DRIFT: 10 % off where the cells leave no doubt, or where the day's charge says else.
    """
    cells, temps = cells_in(rows), temps_in(rows)
    short = with_cells_in_short(rows)
    marked = short.with_columns(frozen=_frozen(cells, limits), quarter=pl.col("ts") // QUARTER_DAY % 4)
    told = marked.group_by("unit").agg(
        _rate(limits).alias("RATE"),
        pl.col("frozen").any().alias("FROZEN"),
        _stuck(temps, limits).alias("STUCK_T"),
        _apart(temps, limits).alias("T_OUT"),
        _contradicts(limits).any().alias("SOC_DRIFT"),
    )
    both = told.join(_bins(marked, limits), on="unit", how="left")
    bits = {name: int(Quality[name]) for name in ("RATE", "FROZEN", "STUCK_T", "T_OUT", "SOC_DRIFT", "I_ZERO")}
    said = (pl.col(name).fill_null(value=False).cast(pl.Int64) * bit for name, bit in bits.items())
    counted = pl.col("COUNTED").fill_null(value=False) & ~pl.col("SOC_DRIFT").fill_null(value=False)
    return both.select("unit", dq=pl.sum_horizontal(*said, counted.cast(pl.Int64) * bits["SOC_DRIFT"]))


def _frozen(cells: list[str], limits: Limits) -> pl.Expr:
    if not cells:
        return pl.lit(value=False)
    d, full = limits.doubts, pl.coalesce("full_mah", pl.lit(limits.full_mah))
    same = pl.all_horizontal(*(pl.col(name).eq_missing(pl.col(name).shift(1)) for name in (*cells, "current_ma")))
    flows = pl.col("current_ma").abs() > d.frozen_rate * full
    still = (same & flows & pl.any_horizontal(pl.col(cells).is_not_null()) & pl.col("dt_ms").is_not_null()).fill_null(
        value=False
    )
    return still.cast(pl.Int8).rolling_min(d.frozen) == 1


def _rate(limits: Limits) -> pl.Expr:
    medians = [pl.col("dt_ms").filter(pl.col("quarter") == k).median() for k in range(4)]
    return pl.max_horizontal(medians) > limits.doubts.rate * pl.min_horizontal(medians)


def _stuck(temps: list[str], limits: Limits) -> pl.Expr:
    if len(temps) < 2:
        return pl.lit(value=False)
    ranges = [pl.col(t).max().cast(pl.Int32) - pl.col(t).min() for t in temps]
    still = pl.any_horizontal((r == 0) & (pl.col(t).count() > 1) for r, t in zip(ranges, temps, strict=True))
    return still & (pl.max_horizontal(ranges) > limits.doubts.stuck_moves_dc)


def _apart(temps: list[str], limits: Limits) -> pl.Expr:
    if not temps:
        return pl.lit(value=False)
    rise, apart = fastest_change(temps), warmest(temps) - coldest(temps)
    return ((rise > limits.doubts.rise_dc_min) | (apart > limits.doubts.apart_dc)).any()


def _contradicts(limits: Limits) -> pl.Expr:
    d, soc = limits.doubts, pl.col("soc_pm")
    rate = pl.col("current_ma") / pl.coalesce("full_mah", pl.lit(limits.full_mah))
    tapered = (pl.col("mean") >= d.full_mv) & rate.is_between(0, d.full_rate, closed="none")
    empty, nearly = (
        pl.col("mean").is_between(0, mv, closed="right") & (soc >= has_pm + d.soc_off_pm)
        for mv, has_pm in ((d.empty_mv, d.empty_pm), (d.nearly_mv, d.nearly_pm))
    )
    return (tapered & (soc < 1000 - d.soc_off_pm)) | ((empty | nearly) & (rate.abs() < limits.mid_c_rate))


def _bins(rows: pl.LazyFrame, limits: Limits) -> pl.LazyFrame:
    """I_ZERO and COUNTED by unit, from bins of five minutes."""
    d = limits.doubts
    hours = pl.min_horizontal(pl.col("dt_ms").fill_null(0), limits.late * pl.col("period_ms")) / 3_600_000
    packed = rows.group_by("unit", bin=pl.col("ts") // d.bin_ms).agg(
        i=pl.col("current_ma").abs().max(),
        volts=pl.col("voltage_mv").max() - pl.col("voltage_mv").min(),
        moved=(pl.col("current_ma") * hours).sum(),
        soc=pl.col("soc_pm").last(),
        full=pl.col("full_mah").max().fill_null(limits.full_mah),
    )
    ordered = (
        packed.sort("unit", "bin")
        .with_columns(
            rest=pl.col("i").rolling_max(d.zero_rest).over("unit"),
            since=pl.col("bin") - pl.col("bin").shift(d.zero_rest - 1).over("unit"),
            off=pl.col("soc") - 1000 * pl.col("moved").cum_sum().over("unit") / pl.col("full"),
        )
        .with_columns(jump=pl.col("off").diff().over("unit").abs())
    )
    zero = (pl.col("rest") < d.zero_ma) & (pl.col("since") == d.zero_rest - 1) & (pl.col("volts") > d.zero_mv)
    whole = (pl.col("jump") < limits.soc_jump_pm).fill_null(value=True).all()
    drifted = (pl.col("off").max() - pl.col("off").min() > d.counted_off_pm) & whole
    return ordered.group_by("unit").agg(I_ZERO=zero.any(), COUNTED=drifted)
