"""How long 3 M fault runs of 10,000 modules take to become sessions with recurrence, beside a bare sort of them.

python -m tests.bench.lockouts --runs 3000000 --modules 10000
"""

from __future__ import annotations

import argparse

import polars as pl

from pipeline.analyses.causes import CAUSE
from pipeline.analyses.recurrence import recurrence
from pipeline.analyses.sessions import sessions
from pipeline.limits import DAY, LFP, MINUTE
from tests.bench.nightly import timed

KEY = ["site", "unit"]


def runs(count: int, modules: int) -> pl.DataFrame:
    """A year of runs, evenly spread and the same in every run of this program."""
    faults = pl.Series(sorted(CAUSE))
    number = pl.DataFrame({"no": range(count)})
    drawn = number.select(
        unit=(pl.col("no").hash(1) % modules).cast(pl.Int64),
        start=(pl.col("no").hash(2) % (365 * DAY)).cast(pl.Int64),
        lasts=(pl.col("no").hash(3) % (20 * MINUTE)).cast(pl.Int64),
        fault=(pl.col("no").hash(4) % len(faults)).cast(pl.Int64),
    )
    return drawn.select(
        site=pl.concat_str(pl.lit("site"), pl.col("unit") // 10),
        unit=pl.concat_str(pl.lit("unit"), "unit"),
        fault=pl.col("fault").replace_strict(dict(enumerate(faults)), return_dtype=pl.String),
        start="start",
        end=pl.col("start") + pl.col("lasts"),
    )


def worked(rows: pl.DataFrame) -> int:
    """Sessions with recurrence; how many there are."""
    found = sessions(rows.lazy(), KEY, LFP.lockouts.session_ms).with_columns(ended_by=pl.lit("reset"))
    return recurrence(found, LFP.lockouts).collect().height


def main() -> None:
    """Make the runs, sort them, work through them."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=300_000)
    parser.add_argument("--modules", type=int, default=1_000)
    asked = parser.parse_args()
    rows = runs(asked.runs, asked.modules)
    bare = timed("bare sort", asked.runs, lambda: rows.sort(*KEY, "start"))
    whole = timed("sessions, recurrence", asked.runs, lambda: worked(rows))
    print(f"{asked.runs} runs, {worked(rows)} sessions; sessions / bare sort = {whole / bare:.1f}")


if __name__ == "__main__":
    main()
