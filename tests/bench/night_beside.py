"""The same daily features by our night, pandas and DuckDB, and year-on-year slopes by us and rdtools, in one run.

    python -m tests.bench.night_beside --modules 200

Each of the three reads the same Parquet files in a process of its own with two threads and must come to the same
numbers. Ours is what the night runs (throughput), which works out the tests of data quality as well. rdtools is given
our draws, so that its simple interval is the same method and must be the same interval; its circular block bootstrap
draws from the signal, ours from the slopes: there only times are compared.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from time import perf_counter, process_time
from typing import TypeVar

import numpy as np
import polars as pl

from pipeline.analyses.steps import in_order, timed
from pipeline.analyses.throughput import throughput
from pipeline.days import local_day
from pipeline.limits import LFP
from pipeline.methods.slope import year_on_year
from pipeline.nightly.parts import READ
from tests.bench.nightly import CELLS, modules
from tests.pipeline.fleets import DAY, MIDNIGHT

CELL = [f"c{k:02}" for k in range(CELLS)]
FEATURES = [
    *("charge_mah", "discharge_mah", "charge_wh", "discharge_wh", "soc_pm_min", "soc_pm_mean", "soc_pm_max"),
    *("current_ma_min", "current_ma_mean", "current_ma_max", "spread_mv_mean", "spread_mv_max"),
]
SAME, REPEATS = 1e-6, 10_000
T = TypeVar("T")


def ours(place: Path) -> pl.DataFrame:
    """As a part of the night does it: numbered modules, in order, then the features."""
    rows = pl.scan_parquet(place / "*.parquet").select("unit", *READ, "t00", "t01", *CELL)
    numbered = rows.with_columns(unit=pl.col("unit").str.slice(4).cast(pl.UInt32))
    ordered = timed(in_order(numbered.collect(engine="streaming")).lazy(), LFP)
    told = throughput(ordered, local_day(DAY, "UTC"), LFP).collect(engine="streaming")
    return told.select("unit", *FEATURES)


def by_pandas(place: Path) -> pl.DataFrame:
    """The same features with pandas."""
    import pandas as pd  # noqa: PLC0415 - only in the process that measures it

    columns = ["unit", "ts", "voltage_mv", "current_ma", "soc_pm", *CELL]
    rows = pd.read_parquet(place, columns=columns).sort_values(["unit", "ts"], ignore_index=True)
    apart = rows["ts"].diff().where(rows["unit"] == rows["unit"].shift())
    period = apart.groupby(rows["unit"]).transform("median")
    first = np.minimum(rows["ts"] - MIDNIGHT, period)
    hours = np.minimum(apart.fillna(first), 2 * period) / 3_600_000
    flow = rows["current_ma"] * hours
    power = flow * rows["voltage_mv"] / 1e6
    spread = rows[CELL].max(axis=1) - rows[CELL].min(axis=1)
    frame = pd.DataFrame({
        "unit": rows["unit"],
        "charge_mah": flow.clip(lower=0),
        "discharge_mah": (-flow).clip(lower=0),
        "charge_wh": power.clip(lower=0),
        "discharge_wh": (-power).clip(lower=0),
    })  # fmt: skip
    sums = frame.groupby("unit").sum()
    said = rows[["unit", "soc_pm", "current_ma"]].assign(spread_mv=spread).groupby("unit")
    rest = said.agg(["min", "mean", "max"])
    rest.columns = ["_".join(name) for name in rest.columns]
    both = sums.join(rest).reset_index()
    both["unit"] = both["unit"].str.slice(4).astype(int)
    return pl.from_pandas(both).select("unit", *FEATURES)


def by_duckdb(place: Path) -> pl.DataFrame:
    """The same features with DuckDB."""
    import duckdb  # noqa: PLC0415 - only in the process that measures it

    cells = ", ".join(CELL)
    query = f"""
    with said as (select *, ts - lag(ts) over (partition by unit order by ts) dt from '{place}/*.parquet'),
    own as (select unit, median(dt) period from said group by unit),
    rows as (select unit, soc_pm, current_ma, voltage_mv, greatest({cells}) - least({cells}) spread,
        current_ma * least(coalesce(dt, least(ts - {MIDNIGHT}, period)), 2 * period) / 3600000 flow
        from said join own using (unit))
    select cast(substr(unit, 5) as integer) unit, sum(greatest(flow, 0)) charge_mah, sum(greatest(-flow, 0))
        discharge_mah, sum(greatest(flow * voltage_mv / 1e6, 0)) charge_wh,
        sum(greatest(-flow * voltage_mv / 1e6, 0)) discharge_wh,
        min(soc_pm) soc_pm_min, avg(soc_pm) soc_pm_mean, max(soc_pm) soc_pm_max,
        min(current_ma) current_ma_min, avg(current_ma) current_ma_mean, max(current_ma) current_ma_max,
        avg(spread) spread_mv_mean, max(spread) spread_mv_max
    from rows group by unit
    """  # noqa: S608 - our own names
    connection = duckdb.connect(config={"threads": 2})
    return pl.from_arrow(connection.execute(query).to_arrow_table()).select("unit", *FEATURES)  # type: ignore[union-attr]


WAYS: dict[str, Callable[[Path], pl.DataFrame]] = {"ours": ours, "pandas": by_pandas, "duckdb": by_duckdb}


def measured(asked: tuple[str, Path]) -> tuple[pl.DataFrame, float, float, float]:
    """Features, wall and CPU seconds of the better of two runs, peak memory in MB."""
    name, place = asked
    WAYS[name](place)
    wall, cpu = perf_counter(), process_time()
    told = WAYS[name](place)
    spent = perf_counter() - wall, process_time() - cpu
    return told.sort("unit"), *spent, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def features(count: int) -> None:
    """The daily features of `count` modules, three ways."""
    os.environ["POLARS_MAX_THREADS"] = "2"
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for first in range(0, count, 20):
            modules(first, min(20, count - first)).write_parquet(place / f"{first:05}.parquet", compression_level=3)
        context = multiprocessing.get_context("spawn")
        found = {}
        for name in WAYS:
            with context.Pool(1) as pool:
                found[name] = pool.apply(measured, ((name, place),))
    base = found["ours"]
    for name, (told, wall, cpu, peak) in found.items():
        off = max(relative(told[column], base[0][column]) for column in FEATURES)
        assert off <= SAME, f"{name} differs by {off:.1e}"
        ratio = f"wall {wall / base[1]:5.2f} x, CPU {cpu / base[2]:5.2f} x ours"
        known = "" if name == "ours" else version(name)
        print(f"{name:8}{known:8}{wall:7.2f} s {cpu:7.2f} s CPU {peak:6.0f} MB   {ratio}   differs by {off:.0e}")


def relative(one: pl.Series, other: pl.Series) -> float:
    """The largest relative difference."""
    a, b = one.cast(pl.Float64).to_numpy(), other.cast(pl.Float64).to_numpy()
    return float(np.max(np.abs(a - b) / np.maximum(np.abs(b), 1)))


def slopes() -> None:
    """Year-on-year slope and interval of three years of days, by us and by rdtools."""
    import pandas as pd  # noqa: PLC0415 - a dependency of the peer
    from rdtools import degradation_year_on_year  # noqa: PLC0415 - the peer

    days = np.arange(3 * 365)
    noise = np.random.default_rng(1).normal(0, 0.004, len(days))
    soh = 1 - 0.02 * days / 365 + 0.01 * np.sin(2 * np.pi * days / 365) + noise
    series = pd.Series(soh, index=pd.date_range("2025-01-01", periods=len(days), freq="D"))
    mine = spent(lambda: year_on_year(days.astype(float), soh, REPEATS, block=1))
    n = len(days) - 365
    draws = np.random.default_rng(0).integers(0, n, size=(REPEATS, n, 1))[:, :, 0]
    real = np.random.choice
    np.random.choice = lambda values, _size, **_: np.asarray(values)[draws.T]  # type: ignore[assignment]
    try:
        told = degradation_year_on_year(series, recenter=False, confidence_level=95)
    finally:
        np.random.choice = real
    simple = spent(lambda: degradation_year_on_year(series, recenter=False, confidence_level=95))
    theirs = np.array([told[0], *told[1]]) / 100
    off = float(np.max(np.abs(theirs - np.array(mine[0]))))
    assert off <= SAME, f"rdtools differs by {off:.1e}"
    print(f"year on year, 10,000 draws: ours {mine[1]:.3f} s, rdtools {version('rdtools')} {simple[1]:.3f} s, "
          f"{simple[1] / mine[1]:.1f} x ours; slope and interval differ by {off:.0e}")  # fmt: skip
    blocks = spent(lambda: year_on_year(days.astype(float), soh))
    circular = spent(lambda: degradation_year_on_year(series, recenter=False, confidence_level=95,
                                                      uncertainty_method="circular_block"))  # fmt: skip
    print(f"in blocks of 30, 1,000 draws: ours {blocks[1]:.3f} s, rdtools {circular[1]:.3f} s, "
          f"{circular[1] / blocks[1]:.0f} x ours")  # fmt: skip


def spent(do: Callable[[], T]) -> tuple[T, float]:
    """The answer and the CPU seconds of the better of two."""
    times = []
    for _ in range(2):
        began = process_time()
        answer = do()
        times.append(process_time() - began)
    return answer, min(times)


def main() -> None:
    """Both comparisons."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--modules", type=int, default=200)
    asked = parser.parse_args()
    features(asked.modules)
    slopes()


if __name__ == "__main__":
    main()
