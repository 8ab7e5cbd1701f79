"""How long a night takes, and how much memory: simulated modules at 10 s, a process of its own."""

from __future__ import annotations

import multiprocessing
import resource
import tempfile
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import polars as pl

from pipeline.nightly.site_day import Site, nightly
from pipeline.nightly.store import Where
from pipeline.schema import TABLES
from pipeline.simulation.fleet import simulate
from pipeline.simulation.plan import FleetPlan, parts
from pipeline.validation.bars import frozen
from pipeline.validation.row import Row

AT_ONCE, STACK, DAY = 20, 10, date(2026, 6, 1)


class Folder:
    """A store of readings in Parquet files, as a compacted archive has them; daily tables go nowhere."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def scan(self, table: str, days: tuple[date, date] | None = None) -> pl.LazyFrame:
        """See pipeline.nightly.parts.Store."""
        if table != "reading":
            return pl.LazyFrame(schema=TABLES[table])
        rows = pl.scan_parquet(self.path / "*.parquet")
        return rows if days is None else rows.filter(pl.col("date").is_between(*days))

    def replace(self, table: str, frame: pl.DataFrame, *, where: Where) -> None:
        """See pipeline.nightly.parts.Store."""


def nightly_speed(seed: int, modules: int) -> Iterator[Row]:
    """Seconds, in proportion for 1,000 modules, and the highest memory of a night. Of this machine, as it is now."""
    with tempfile.TemporaryDirectory() as place:
        whole = FleetPlan(modules=modules, days=1, seed=seed, period_s=10, stack_size=STACK, start=DAY)
        for part in parts(whole, AT_ONCE):
            for day in simulate(part):
                day.readings.write_parquet(Path(place) / f"{part.first:06}.parquet")
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            seconds, memory = pool.apply(_timed, (Path(place),))
    for name, figure in (("seconds", seconds * 1000 / modules), ("memory", memory)):
        told = {"seconds": "nightly: seconds for 1,000 modules", "memory": "nightly: memory for 1,000 modules, GB"}
        yield Row(*frozen(told[name]), figure, figure, figure, "")


def _timed(place: Path) -> tuple[float, float]:
    store = Folder(place)
    ids = pl.scan_parquet(place / "*.parquet").select("site").unique().collect()["site"].sort().to_list()
    began = time.perf_counter()
    nightly(store, DAY, [Site(site, "simulated", "UTC") for site in ids])
    return time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
