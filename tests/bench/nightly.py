"""How long a night takes: N modules x 1 day x 10 s x 16 cells, beside a bare scan of the same columns.

    python -m tests.bench.nightly --modules 100
    python -m tests.bench.nightly --modules 1000 --history 365

The day lies as sorted Parquet, as a compacted archive has it; with `--archive` in a real archive. With `--history` the
night finds that many days of daily tables behind it: its own, moved back, with other figures of capacity each day. On a
busy machine look at the CPU seconds, which are of all threads.
"""

from __future__ import annotations

import argparse
import math
import os
import resource
import tempfile
import time
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from pipeline.nightly.parts import READ
from pipeline.nightly.site_day import Publish, Site, nightly
from pipeline.nightly.store import Where
from pipeline.schema import READING, TABLES
from pipeline.stores.archive import Archive
from tests.pipeline.fleets import DAY, MIDNIGHT

CELLS, STEP_S, PER_SITE = 16, 10, 10
READINGS = 86_400 // STEP_S


class Folder:
    """Readings and daily tables in Parquet files: of the daily tables one for each part of a night."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, table: str, frame: pl.DataFrame, *, app_id: str, version: int) -> None:
        (self.path / table).mkdir(exist_ok=True)
        frame.write_parquet(self.path / table / f"{app_id}-{version:05}.parquet", compression_level=3)

    def scan(self, table: str, days: tuple[date, date] | None = None) -> pl.LazyFrame:
        if not (self.path / table).is_dir():
            return pl.LazyFrame(schema=TABLES[table])
        rows = pl.scan_parquet(self.path / table / "*.parquet")
        return rows if days is None else rows.filter(pl.col("date").is_between(*days))

    def replace(self, table: str, frame: pl.DataFrame, *, where: Where) -> None:
        sites = where["site"]
        whose = sites[0] if isinstance(sites, tuple) else "fleet"
        self.append(table, frame, app_id=f"{where['day']}-{whose}", version=0)


def noise(seed: int, width: float) -> pl.Expr:
    """Evenly spread numbers, as wide as asked and the same in every run."""
    return (pl.col("no").hash(seed) % 10_001).cast(pl.Float64) / 10_000 * width - width / 2


def modules(first: int, count: int) -> pl.DataFrame:
    """A day of `count` modules: one slow cycle, 2 mV noise, cell voltages that follow charge and current."""
    phase = 2 * math.pi * pl.col("no") / READINGS - 1
    ts = MIDNIGHT + pl.col("no") * STEP_S * 1000
    soc = 500 + 450 * phase.sin()
    current = (300 * phase.cos() + noise(0, 60)).round() * 100
    frames = []
    for number in range(first, first + count):
        level = 3300 + 0.06 * (soc - 500) + 150 * ((soc - 900) / 50).clip(0, 1) + current / 1000
        cells = {
            f"c{k:02}": (level + number * (k + 1) % 9 + noise(number * CELLS + k, 2)).round() for k in range(CELLS)
        }
        site = f"site{number // PER_SITE:04}"
        said: dict[str, Any] = {
            "stream": site,
            "epoch": "0" * 16,
            "seq": pl.col("no") + number * READINGS,
            "edge": site,
            "site": site,
            "stack": "s1",
            "module": f"m{number % PER_SITE}",
            "unit": f"unit{number:06}",
            "kind": "module",
            "date": DAY,
            "ts": ts,
            "clk": "ntp",
            "arrival_ts": ts + 800,
            "driver": "jbd",
            "faults": "",
            "voltage_mv": pl.sum_horizontal(cells.values()),
            "current_ma": current,
            "soc_pm": soc // 10 * 10,
            "full_mah": 100_000,
            "balancing": 0,
            "t00": 215 + soc // 100,
            "t01": 220 + soc // 90,
            **cells,
        }
        values = {name: v if isinstance(v, pl.Expr) else pl.lit(v) for name, v in said.items()}
        columns = (values.get(name, pl.lit(None)).cast(kind).alias(name) for name, kind in READING.items())
        frames.append(pl.DataFrame({"no": range(READINGS)}).select(columns))
    return pl.concat(frames)


def moved_back(frame: pl.DataFrame, days: int) -> pl.DataFrame:
    """A night's rows as an earlier night's: its day and times, and half a percent more or less of capacity."""
    times = [name for name in ("ts", "from_ts", "to_ts", "start", "end") if name in frame.columns]
    dates = [name for name in ("day", "since_day") if name in frame.columns]
    other = (pl.int_range(pl.len()).hash(days) % 1001).cast(pl.Float64) / 100_000 + 0.995
    said = [name for name in ("soh", "mah", "r_mohm") if frame.schema.get(name) == pl.Float64]
    return frame.with_columns(
        *(pl.col(name) - days * 86_400_000 for name in times),
        *(pl.col(name) - timedelta(days=days) for name in dates),
        *(pl.col(name) * other for name in said),
    )


def faded(modules: pl.DataFrame) -> pl.DataFrame:
    """A row of soh for each module of module_day: the cycle above closes no loop that a capacity could be told from."""
    noise = (pl.int_range(pl.len()).hash(1) % 1001).cast(pl.Float64) / 50_000 - 0.01
    told: dict[str, Any] = {"method": pl.lit("crossings"), "n": 1, "soh": 0.93 + noise, "sigma": 0.004, "known": 1}
    made = modules.with_columns(**told, temp_dc=200.0, current_ma=20_000.0, cell=0, least=0.92)
    return made.select(pl.col(name).cast(kind) for name, kind in TABLES["soh"].items())


def with_history(store: Archive | Folder, night: Callable[[Publish], object], days: int) -> None:
    """Put `days` days behind the night: twice, for a trend needs capacities behind it."""
    for _ in range(2):
        nights: list[tuple[str, pl.DataFrame]] = []
        night(lambda *told, nights=nights: nights.append(told))
        made = {name: pl.concat(frame for table, frame in nights if table == name) for name, _ in nights}
        made["soh"] = faded(made["module_day"])
        for table, frame in made.items():
            sites = tuple(frame["site"].drop_nulls().unique().sort())
            for back in range(1, days + 1) if sites else ():
                store.replace(table, moved_back(frame, back), where={"site": sites, "day": DAY - timedelta(days=back)})


def timed(name: str, rows: int, do: Callable[[], object]) -> float:
    """Run it, print wall, CPU of all threads, rows/s and the process's peak so far."""
    began, spent = time.perf_counter(), time.process_time()
    do()
    wall, cpu = time.perf_counter() - began, time.process_time() - spent
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{name:<12} {wall:7.2f} s {cpu:7.2f} s CPU {rows / wall / 1e6:8.2f} M rows/s   peak {peak:6.0f} MB")
    return wall


def main() -> None:
    """Make the day, scan it, work through it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--modules", type=int, default=100)
    parser.add_argument("--archive", action="store_true")
    parser.add_argument("--history", type=int, default=0, help="days of daily tables behind the night")
    asked = parser.parse_args()
    rows = asked.modules * READINGS
    with tempfile.TemporaryDirectory() as place:
        store = Archive(place) if asked.archive else Folder(Path(place))
        for version, first in enumerate(range(0, asked.modules, 20), 1):
            day = modules(first, min(20, asked.modules - first))
            store.append("reading", day, app_id="bench", version=version)
        sites = [Site(f"site{n:04}", "acme", "UTC") for n in range(-(-asked.modules // PER_SITE))]
        used = [*READ, *(f"c{k:02}" for k in range(CELLS)), "t00", "t01", "unit", "site"]
        scan = store.scan("reading", (DAY, DAY)).select(used)
        bare = timed("bare scan", rows, lambda: scan.select(pl.all().max()).collect(engine="streaming"))
        if asked.history:
            with_history(store, lambda publish: nightly(store, DAY, sites, publish=publish), asked.history)
        whole = timed("nightly", rows, lambda: nightly(store, DAY, sites))
        print(f"{asked.modules} modules, {rows} readings, {asked.history} days behind; load {os.getloadavg()[0]:.1f}")
        print(f"nightly / bare scan = {whole / bare:.1f}")


if __name__ == "__main__":
    main()
