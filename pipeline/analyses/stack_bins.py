"""The modules of a stack side by side: each reading's neighbours spoke a moment earlier or later, so by minutes."""

from __future__ import annotations

import polars as pl

from pipeline.limits import HOUR, Stack

AT = ["heap", "bin"]


def bins(rows: pl.LazyFrame, mates: pl.LazyFrame, limits: Stack) -> pl.LazyFrame:
    """A row a module and piece of `bin_ms`, by unit and time, from `dynamics`: means of ma, mean, soc_pm; high, low,
    net_mah (charge since midnight), and of its stack in the same piece: all_ma, all_mah (nominal), whole (every module
    of the stack that speaks today spoke), least_mean, soc_apart_pm (to the median of all), heap_bin (its last of the
    day). `back`: this one was silent for an hour before, and the others were not.
    """
    piece = pl.col("ts") // limits.bin_ms
    own = rows.join(mates, on="unit", how="semi", maintain_order="left").group_by("unit", bin=piece).agg(
        ma=pl.col("current_ma").mean(),
        mean=pl.col("mean").mean(),
        soc_pm=pl.col("soc_pm").mean(),
        high=pl.col("high").max(),
        low=pl.col("low").min(),
        net_mah=(pl.col("in_mah") - pl.col("out_mah")).last(),
    )  # fmt: skip
    placed = own.join(mates, on="unit")
    together = placed.group_by(AT).agg(
        n=pl.col("ma").count(),
        all_ma=pl.col("ma").sum(),
        all_mah=pl.col("nominal").sum(),
        least_mean=pl.col("mean").min(),
        middle_pm=pl.col("soc_pm").median(),
    )
    size = placed.group_by("heap").agg(members=pl.col("unit").n_unique(), heap_bin=pl.col("bin").max())
    both = placed.join(together, on=AT).join(size, on="heap").sort("unit", "bin")
    same = pl.col("unit") == pl.col("unit").shift(1)
    silent = (pl.col("bin") - pl.col("bin").shift(1)) * limits.bin_ms > HOUR
    late = (pl.col("bin") - pl.col("bin").min().over("heap")) * limits.bin_ms > HOUR
    return both.with_columns(
        whole=(pl.col("n") == pl.col("members")) & pl.col("ma").is_not_null(),
        soc_apart_pm=pl.col("soc_pm") - pl.col("middle_pm"),
        back=pl.when(same).then(silent).otherwise(late),
    )
