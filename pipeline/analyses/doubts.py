"""Which sensors lie today? Tests that need the order of a day's readings, beside those of `throughput`."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from pipeline.analyses.curve import temps_in, with_cells_in_short
from pipeline.analyses.drifted import drifted
from pipeline.analyses.extremes import coldest, fastest_change, warmest
from pipeline.limits import HOUR, MINUTE, Limits
from pipeline.quality import Quality

PACED = 4
"""Steps of an hour that tell its pace."""


def doubts(rows: pl.LazyFrame, limits: Limits) -> pl.LazyFrame:
    """(unit, dq) from a day's `steps`: STUCK_T, T_OUT, RATE, I_ZERO and SOC_DRIFT, a sum of Quality's values.

    RATE: another median period in one hour of the day than in another. I_ZERO: after half an hour without current the
    voltage moves by 20 mV a minute, or the mean cell by 1 mV. SOC_DRIFT: 10 % off where the cells leave no doubt, or
    where the day's charge says else.
    """
    temps, short = temps_in(rows), with_cells_in_short(rows)
    told = short.group_by("unit").agg(
        _stuck(temps, limits).alias("STUCK_T"),
        _apart(temps, limits).alias("T_OUT"),
        _contradicts(limits).any().alias("SOC_DRIFT"),
    )
    pieces = _pieces(short, limits).collect().lazy()
    both = told
    for more in (_paces(rows, limits), _zeros(pieces, limits), drifted(pieces, limits)):
        both = both.join(more, on="unit", how="left")
    bits = {name: int(Quality[name]) for name in ("RATE", "STUCK_T", "T_OUT", "SOC_DRIFT", "I_ZERO")}
    said = (pl.col(name).fill_null(value=False).cast(pl.Int64) * bit for name, bit in bits.items())
    counted = pl.col("COUNTED").fill_null(value=False) & ~pl.col("SOC_DRIFT").fill_null(value=False)
    return both.select("unit", dq=pl.sum_horizontal(*said, counted.cast(pl.Int64) * bits["SOC_DRIFT"]))


def _paces(rows: pl.LazyFrame, limits: Limits) -> pl.LazyFrame:
    """RATE by unit. Readings that are missing leave an hour's median as it is."""
    hours = rows.group_by("unit", hour=pl.col("ts") // HOUR).agg(
        pace=pl.col("dt_ms").median(), n=pl.col("dt_ms").count()
    )
    pace = pl.col("pace").filter(pl.col("n") >= PACED)
    return hours.group_by("unit").agg(RATE=pace.max() > limits.doubts.rate * pace.min())


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


def _pieces(rows: pl.LazyFrame, limits: Limits) -> pl.LazyFrame:
    """Pieces of five minutes, by unit and time."""
    late = limits.late * pl.col("period_ms")
    hours = pl.min_horizontal(pl.col("dt_ms").fill_null(0), late) / HOUR
    packed = rows.group_by("unit", bin=pl.col("ts") // limits.doubts.bin_ms).agg(
        *_ends("voltage_mv", "mean"),
        i=pl.col("current_ma").abs().max(),
        ma=pl.col("current_ma").last(),
        moved=(pl.col("current_ma") * hours).sum(),
        lost=(pl.col("dt_ms") - late).clip(0).sum() > MINUTE,
        h=pl.col("period_ms").first() / HOUR,
        soc=pl.col("soc_pm").last(),
        full=pl.col("full_mah").max().fill_null(limits.full_mah),
    )
    return packed.sort("unit", "bin")


def _zeros(pieces: pl.LazyFrame, limits: Limits) -> pl.LazyFrame:
    """I_ZERO by unit."""
    d, at = limits.doubts, pl.col("bin")
    rested = (pl.col("i").rolling_max(d.zero_rest) < d.zero_ma) & (at - at.shift(d.zero_rest - 1) == d.zero_rest - 1)
    moves = (_moved("voltage_mv") > d.zero_mv) | (_moved("mean") > d.zero_cell_mv)
    return pieces.group_by("unit").agg(I_ZERO=(rested & moves).any())


def _ends(*names: str) -> Iterator[pl.Expr]:
    for name in names:
        value = pl.col(name)
        yield from (value.min().alias(f"{name}_lo"), value.max().alias(f"{name}_hi"), value.last().alias(f"{name}_end"))


def _moved(name: str) -> pl.Expr:
    """The range within a bin and back to the end of the one before: a bin may hold a single reading."""
    before = pl.col(f"{name}_end").shift(1)
    return pl.max_horizontal(f"{name}_hi", before) - pl.min_horizontal(f"{name}_lo", before)
