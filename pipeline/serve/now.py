"""How each module is right now: the last of everything it said, kept in memory and refreshed from the archive."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, TypeAlias

import polars as pl

from cellherd.config import FleetConfig
from cellherd.faults import catalogue
from pipeline.schema import CELL_COLUMNS, TEMP_COLUMNS

Key: TypeAlias = tuple[str, str, str]
KEY = ["site", "stack", "module"]
VALUES = ("ts", "kind", "voltage_mv", "current_ma", "soc_pm", "charge_on", "discharge_on", "faults")
CELLS_AND_TEMPS = ("low_mv", "high_mv", "low_cell", "high_cell", "hottest_dc")
LOOK_BACK = timedelta(days=1)
SILENT_MS = 10 * 60_000
"""A module that said nothing for so long is shown as silent."""


class Readings(Protocol):
    """What is needed of an archive."""

    def scan(self, table: str, days: Any = None) -> pl.LazyFrame:
        """Rows of a table, from one UTC date to another."""


@dataclass(slots=True)
class Now:
    """The latest values of every module that spoke within a day or is registered. `refresh` reads what arrived since.

    A silent module keeps its last values; `state` tells how old they are.
    """

    fleet: FleetConfig
    _latest: dict[Key, dict[str, Any]] = field(default_factory=dict)
    _seen: int = 0
    read_at: int = 0
    """When the archive was read last, UTC ms."""

    def refresh(self, store: Readings, now: int) -> int:
        """Take in what has arrived since the last time; gives how many modules spoke. Raises what Polars raises."""
        today = datetime.fromtimestamp(now / 1000, UTC).date()
        since = self._seen or now - int(LOOK_BACK.total_seconds() * 1000)
        rows = store.scan("reading", (today - LOOK_BACK, today)).filter(pl.col("arrival_ts") > since)
        found = latest(rows)
        for row in found:
            key = row["site"], row["stack"], row["module"]
            known = self._latest.get(key, {})
            if row["ts"] >= known.get("ts", 0):  # a backfill of old data is not now
                self._latest[key] = known | {name: value for name, value in row.items() if value is not None}
            self._seen = max(self._seen, row["arrival_ts"])
        self.read_at = now
        return len(found)

    def newest(self) -> int | None:
        """Time of the newest reading of all, UTC ms."""
        return max((row["ts"] for row in self._latest.values()), default=None)

    def state(self, now: int) -> dict[str, Any]:
        """Everything the page shows, as JSON: sites with their modules, worst first, and four sums."""
        modules = self._modules(now)
        levels = [module["level"] for module in modules]
        return {
            "now": now,
            "newest": self.newest(),
            "simulated": self.fleet.simulated,
            "sums": {
                "modules": len(modules),
                "act": levels.count(1),
                "look": levels.count(2) + levels.count(3),
                "silent": sum(module["silent"] for module in modules),
            },
            "sites": self._by_site(modules),
        }

    def _modules(self, now: int) -> list[dict[str, Any]]:
        registered: dict[Key, dict[str, Any]] = {(m.site, m.stack, m.id): {} for m in self.fleet.module}
        return [_module(key, row, now) for key, row in sorted({**registered, **self._latest}.items())]

    def _by_site(self, modules: list[dict[str, Any]]) -> list[dict[str, Any]]:
        names = {site.id: site.name or site.id for site in self.fleet.site}
        told: dict[str, list[dict[str, Any]]] = {}
        for module in modules:
            told.setdefault(module["site"], []).append(module)
        worst = {site: min(module["level"] for module in some) for site, some in told.items()}
        order = sorted(told, key=lambda site: (worst[site], (names.get(site) or site).lower()))
        return [{"id": site, "name": names.get(site, site), "modules": told[site]} for site in order]


def latest(rows: pl.LazyFrame) -> list[dict[str, Any]]:
    """The last value of each quantity of each module: one dict with KEY, VALUES, CELLS_AND_TEMPS and arrival_ts."""
    cells, temps = pl.concat_list(CELL_COLUMNS), pl.concat_list(*TEMP_COLUMNS, "temp_max_dc")
    last = [pl.col(name).drop_nulls().last() for name in (*VALUES, *CELL_COLUMNS, *TEMP_COLUMNS, "temp_max_dc")]
    asked = rows.sort("ts").group_by(KEY).agg(*last, pl.col("arrival_ts").max())
    derived = asked.with_columns(
        low_mv=cells.list.min(),
        high_mv=cells.list.max(),
        low_cell=cells.list.arg_min() + 1,
        high_cell=cells.list.arg_max() + 1,
        hottest_dc=temps.list.max(),
    )
    return derived.select(*KEY, *VALUES, *CELLS_AND_TEMPS, "arrival_ts").collect().to_dicts()


def _module(key: Key, row: dict[str, Any], now: int) -> dict[str, Any]:
    """One module as the page shows it; `level` 1 act now, 2 today, 3 next visit, 4 fine or unknown."""
    site, stack, name = key
    age = None if not row else now - row["ts"]
    silent = age is None or age > SILENT_MS
    faults = [] if silent else _faults(row.get("faults", "").split())
    level = min([fault["priority"] for fault in faults] + ([2] if silent and row else [4]))
    shown = {value: row.get(value) for value in (*VALUES, *CELLS_AND_TEMPS) if value != "faults"}
    told = {"faults": faults, "silent": silent, "level": level, "age_ms": age}
    return {"site": site, "stack": stack, "module": name, **shown, **told}


def _faults(said: Iterable[str]) -> list[dict[str, Any]]:
    known = catalogue()
    found = [
        {"id": one, "title": known[one].title, "priority": known[one].priority}
        if one in known
        else {"id": one, "title": one, "priority": 3}
        for one in said
    ]
    return sorted(found, key=lambda fault: (fault["priority"], fault["title"]))
