"""A simulated fleet through the nights, day by day, in memory: what they said, and beside it what was so."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Protocol

import polars as pl

from pipeline.nightly.parts import About
from pipeline.nightly.site_day import Site, nightly
from pipeline.nightly.store import Where
from pipeline.schema import TABLES

PROMISED = "10 years, 6000 cycles, 70 %"
DEVICE = ("device_info", "device_counter")
KEPT = ("finding", "lockout", "capacity", "cell_day", "module_day", "soh", "resistance", "loop", "trend")

Progress = Callable[[int], None]
"""Told after each day how many are done."""


class Day(Protocol):
    """A simulated day, as pipeline/simulation gives it."""

    @property
    def date(self) -> date:
        """The UTC date."""

    @property
    def readings(self) -> pl.DataFrame:
        """As the archive has them."""

    @property
    def infos(self) -> pl.DataFrame:
        """Rows of device_info."""

    @property
    def counters(self) -> pl.DataFrame:
        """Rows of device_counter."""

    @property
    def gaps(self) -> pl.DataFrame:
        """Rows of gap: slots in which nothing was heard."""

    @property
    def truth(self) -> Mapping[str, pl.DataFrame]:
        """`flaw`, `lockout`, `cell` and `module` (pipeline/simulation/truth.py)."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """The small tables of all days, and the truth of all days: the simulator's, and `gap`, slots without a reading."""

    tables: Mapping[str, pl.DataFrame]
    truth: Mapping[str, pl.DataFrame]
    days: tuple[date, ...]

    def by_day(self) -> list[dict[str, pl.DataFrame]]:
        """The truth day by day; what has no day, the flaws, stands with the first."""
        return [
            {name: _of(frame, day, first=day == self.days[0]) for name, frame in self.truth.items()}
            for day in self.days
        ]


def _of(frame: pl.DataFrame, day: date, *, first: bool) -> pl.DataFrame:
    if "day" in frame.columns:
        return frame.filter(pl.col("day") == day)
    return frame if first else frame.clear()


class Memory:
    """A store over data frames; of each table a frame a night, so that a night does not copy those before it."""

    def __init__(self) -> None:
        self.nights: dict[str, dict[date, list[pl.DataFrame]]] = {}
        self.raw: dict[str, list[pl.DataFrame]] = {}

    def scan(self, table: str, days: tuple[date, date] | None = None) -> pl.LazyFrame:
        """See pipeline.nightly.parts.Store."""
        frames = [*self.raw.get(table, ()), *(f for night in self.nights.get(table, {}).values() for f in night)]
        rows: pl.LazyFrame = pl.concat([pl.LazyFrame(schema=TABLES[table]), *(frame.lazy() for frame in frames)])
        return rows if days is None else rows.filter(pl.col("date").is_between(*days))

    def replace(self, table: str, frame: pl.DataFrame, *, where: Where) -> None:
        """See pipeline.nightly.parts.Store."""
        night, sites = where["day"], where["site"]
        if not isinstance(night, date):
            raise TypeError("a night is replaced by its day")
        mine = pl.col("site").is_in(list(sites)) if isinstance(sites, tuple) else pl.col("site").is_null()
        held = [old.filter(~mine) for old in self.nights.setdefault(table, {}).get(night, [])]
        self.nights[table][night] = [*(old for old in held if old.height), frame]

    def told(self, day: Day) -> None:
        """Take what came on a day; of the readings those of the day before stay too."""
        self.raw["reading"] = [*self.raw.get("reading", [])[-1:], day.readings]
        for table, frame in zip(DEVICE, (day.infos, day.counters), strict=True):
            self.raw.setdefault(table, []).append(frame.select(TABLES[table].keys()))


def replay(days: Iterable[Day], chemistry: str = "lfp", progress: Progress = lambda _done: None) -> Replayed:
    """Work through every day. The truth's daily frames are joined by name."""
    store, truth, seen = Memory(), dict[str, list[pl.DataFrame]](), list[date]()
    for day in days:
        store.told(day)
        for name, frame in (*day.truth.items(), ("gap", day.gaps)):
            truth.setdefault(name, []).append(frame)
        seen.append(day.date)
        nightly(store, day.date, _sites(day, chemistry, seen[0]))
        progress(len(seen))
    tables = {name: store.scan(name).collect() for name in KEPT}
    return Replayed(tables, {name: pl.concat(frames) for name, frames in truth.items()}, tuple(seen))


def _sites(day: Day, chemistry: str, begin: date) -> list[Site]:
    """The registry of a simulated fleet: what each module holds when new, installed a year before the record."""
    rated = day.truth["module"].select("site", "unit", mah=(1000 * pl.col("rated_ah")).round().cast(pl.Int64))
    places = day.infos.select("site", "stack", "module", "unit").unique().join(rated, on=["site", "unit"], how="left")
    about = About(chemistry, begin - timedelta(days=365), PROMISED)
    told = []
    for (site,), group in places.sort("site", "stack", "module").group_by("site", maintain_order=True):
        known = {(stack, module): mah for _, stack, module, _, mah in group.iter_rows()}
        sizes = {place: mah for place, mah in known.items() if mah is not None}
        told.append(
            Site(str(site), "simulated", "UTC", dict.fromkeys(known, chemistry), sizes, dict.fromkeys(known, about))
        )
    return told
