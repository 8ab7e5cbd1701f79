"""A simulated fleet through the night's work, day by day, in memory: what the analyses said, beside the truth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Protocol

import polars as pl

from pipeline.nightly.parts import Where
from pipeline.nightly.site_day import Site, nightly
from pipeline.schema import TABLES


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
        """`flaw` and `lockout` among others."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """The small tables of all days, and the truth of all days: the simulator's, and `gap`, slots without a reading."""

    tables: Mapping[str, pl.DataFrame]
    truth: Mapping[str, pl.DataFrame]
    days: tuple[date, ...]


class Memory:
    """A store over data frames; readings are those of the last two days."""

    def __init__(self) -> None:
        self.tables: dict[str, pl.DataFrame] = {}

    def scan(self, table: str, days: tuple[date, date] | None = None) -> pl.LazyFrame:
        """See pipeline.nightly.parts.Store."""
        rows = self.tables.get(table, pl.DataFrame(schema=TABLES[table])).lazy()
        return rows if days is None else rows.filter(pl.col("date").is_between(*days))

    def replace(self, table: str, frame: pl.DataFrame, *, where: Where) -> None:
        """See pipeline.nightly.parts.Store."""
        old, sites = self.scan(table).collect(), where["site"]
        at = pl.col("site").is_in(list(sites)) if isinstance(sites, tuple) else pl.col("site").is_null()
        self.tables[table] = pl.concat([old.filter(~(at & (pl.col("day") == where["day"]))), frame])

    def add(self, table: str, frame: pl.DataFrame) -> None:
        """Append rows of a device table."""
        self.tables[table] = pl.concat([self.scan(table).collect(), frame.select(TABLES[table].keys())])


def replay(days: Iterable[Day], chemistry: str = "lfp") -> Replayed:
    """Work through every day. The truth's daily frames are joined by name."""
    store, truth, seen = Memory(), dict[str, list[pl.DataFrame]](), list[date]()
    for day in days:
        before = store.scan("reading").filter(pl.col("date") >= day.date - _DAY).collect()
        store.tables["reading"] = pl.concat([before, day.readings])
        store.add("device_info", day.infos)
        store.add("device_counter", day.counters)
        for name, frame in (*day.truth.items(), ("gap", day.gaps)):
            truth.setdefault(name, []).append(frame)
        nightly(store, day.date, _sites(day.infos, chemistry))
        seen.append(day.date)
    return Replayed(store.tables, {name: pl.concat(frames) for name, frames in truth.items()}, tuple(seen))


_DAY = date(2000, 1, 2) - date(2000, 1, 1)


def _sites(infos: pl.DataFrame, chemistry: str) -> list[Site]:
    places = infos.select("site", "stack", "module").unique().sort("site", "stack", "module").rows()
    of = {site: {(s, m): chemistry for at, s, m in places if at == site} for site, _, _ in places}
    return [Site(site, "simulated", "UTC", known) for site, known in of.items()]
