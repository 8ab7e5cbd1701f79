"""Which protections belong together? Runs of faults become lockout sessions with a first cause."""

from __future__ import annotations

import polars as pl

from pipeline.analyses.causes import BIT, CAUSE, DANGER, lockout_runs


def sessions(runs: pl.LazyFrame, by: list[str], gap_ms: int) -> pl.LazyFrame:
    """Lockout sessions of `by`: start, end (UTC ms), fault and cause (the first), faults and causes (the set, space-
    separated), n_chatter (returns of a fault that had been there), weight, danger.

    Runs are (by.., fault, start, end); a new session begins more than `gap_ms` after everything before it has ended.
    """
    ordered = lockout_runs(runs).sort(*by, "start", "place", "end")
    other = pl.any_horizontal((pl.col(name) != pl.col(name).shift(1)).fill_null(value=True) for name in by)
    marked = ordered.with_columns(other=other).with_columns(who=pl.col("other").cum_sum().cast(pl.Int64) * _FAR)
    upto = (pl.col("who") + pl.col("end")).cum_max().shift(1) - pl.col("who")
    new = pl.col("other") | (pl.col("start") - upto > gap_ms)
    joined = (
        marked.with_columns(nth=new.cum_sum())
        .group_by("nth", maintain_order=True)
        .agg(
            *(pl.col(name).first() for name in (*by, "start", "fault", "cause")),
            pl.col("end").max(),
            pl.col("weight").max(),
            mask=pl.col("bit").bitwise_or(),
            runs=pl.len().cast(pl.Int64),
        )
    )
    masks = (
        joined.select("mask")
        .unique()
        .with_columns(
            pl.col("mask").map_elements(_faults, return_dtype=pl.String).alias("faults"),
            pl.col("mask").map_elements(_causes, return_dtype=pl.String).alias("causes"),
        )
    )
    return joined.join(masks, on="mask", how="left", maintain_order="left").select(
        *(*by, "start", "end", "fault", "cause", "faults", "causes"),
        n_chatter=pl.col("runs") - pl.col("mask").bitwise_count_ones().cast(pl.Int64),
        weight="weight",
        danger=(pl.col("mask") & _DANGER) != 0,
    )


_FAR = 1 << 42
"""More than any time in ms, so that units side by side never mix in one running maximum."""
_DANGER = sum(BIT[fault] for fault in DANGER if fault in BIT)


def _faults(mask: int) -> str:
    return " ".join(sorted(fault for fault, bit in BIT.items() if mask & bit))


def _causes(mask: int) -> str:
    return " ".join(sorted({CAUSE[fault] for fault, bit in BIT.items() if mask & bit}))
