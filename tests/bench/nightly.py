"""How long a night takes: N modules x 1 day x 10 s x 16 cells, beside a bare scan of the same columns.

    python -m tests.bench.nightly --modules 100

The day lies as sorted Parquet, as a compacted archive has it; with `--archive` in a real archive.
"""

from __future__ import annotations

import argparse
import math
import resource
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from pipeline.nightly.parts import READ
from pipeline.nightly.site_day import Site, nightly
from pipeline.schema import READING, TABLES
from pipeline.stores.archive import Archive
from tests.pipeline.fleets import DAY, MIDNIGHT

CELLS, STEP_S, PER_SITE = 16, 10, 10
READINGS = 86_400 // STEP_S


class Folder:
    """Readings in Parquet files, daily tables in memory."""

    def __init__(self, path: Path) -> None:
        self.path, self.tables = path, dict[str, list[pl.DataFrame]]()

    def append(self, table: str, frame: pl.DataFrame, *, app_id: str, version: int) -> None:
        frame.write_parquet(self.path / f"{table}-{app_id}-{version:05}.parquet", compression_level=3)

    def scan(self, table: str, days: tuple[date, date] | None = None) -> pl.LazyFrame:
        if table != "reading":
            return pl.DataFrame(schema=TABLES[table]).lazy()
        rows = pl.scan_parquet(self.path / "*.parquet")
        return rows if days is None else rows.filter(pl.col("date").is_between(*days))

    def replace(self, table: str, frame: pl.DataFrame, *, where: dict[str, str | date]) -> None:
        self.tables.setdefault(table, []).append(frame)


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


def timed(name: str, rows: int, do: Callable[[], object]) -> float:
    """Run it, print wall, rows/s and the process's peak so far."""
    began = time.perf_counter()
    do()
    wall = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{name:<22} {wall:7.2f} s {rows / wall / 1e6:8.2f} M rows/s   peak {peak:6.0f} MB")
    return wall


def main() -> None:
    """Make the day, scan it, work through it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--modules", type=int, default=100)
    parser.add_argument("--archive", action="store_true")
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
        whole = timed("nightly", rows, lambda: nightly(store, DAY, sites))
        print(f"{asked.modules} modules, {rows} readings; nightly / bare scan = {whole / bare:.1f}")


if __name__ == "__main__":
    main()
