"""Which protections belong together? Runs of faults become lockout sessions with a first cause."""

from __future__ import annotations

import polars as pl

from pipeline.analyses.causes import DANGER, lockout_runs


def sessions(runs: pl.LazyFrame, by: list[str], gap_ms: int) -> pl.LazyFrame:
    """Lockout sessions of `by`: start, end (UTC ms), fault and cause (the first), faults and causes (the set, space-
    separated), n_chatter (returns of a fault that had been there), weight, danger.

    Runs are (by.., fault, start, end); a new session begins more than `gap_ms` after everything before it has ended.
    """
    ordered = lockout_runs(runs).sort(*by, "start", "place", "end")
    key = pl.struct(by).rank("dense") if len(by) > 1 else pl.col(by[0])
    changed = ordered.with_columns(key=key).with_columns(
        other=(pl.col("key") != pl.col("key").shift(1)).fill_null(value=True),
        upto=pl.col("end").cum_max().over(by).shift(1),
    )
    new = pl.col("other") | (pl.col("start") - pl.col("upto") > gap_ms)
    numbered = changed.with_columns(nth=new.cum_sum())
    first = {name: pl.col(name).first() for name in (*by, "start", "fault", "cause")}
    joined = numbered.group_by("nth", maintain_order=True).agg(
        **first,
        end=pl.col("end").max(),
        faults=pl.col("fault").unique().sort(),
        causes=pl.col("cause").unique().sort(),
        runs=pl.len(),
        weight=pl.col("weight").max(),
        danger=pl.col("fault").is_in(list(DANGER)).any(),
    )
    return joined.select(
        *by,
        "start",
        "end",
        "fault",
        "cause",
        pl.col("faults").list.join(" "),
        pl.col("causes").list.join(" "),
        n_chatter=(pl.col("runs") - pl.col("faults").list.len()).cast(pl.Int64),
        weight="weight",
        danger="danger",
    )
