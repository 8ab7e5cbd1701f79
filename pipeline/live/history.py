"""Events that were: gathered, told in words, and found again where readings came late."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from cellherd.clock import as_text
from cellherd.fault_words import CUTS
from cellherd.faults import catalogue
from cellherd.settings import FleetConfig
from pipeline.live.engine import Registry
from pipeline.live.events import frame
from pipeline.live.replay import replay
from pipeline.live.store import late_days, recent, replayed
from pipeline.stores.archive import archive_of
from pipeline.words import place, quantity


def gathered(fleet: FleetConfig, folder: Path, first: date) -> list[dict[str, Any]]:
    """Events of the archive and of the live engine, each once, oldest first."""
    stored = archive_of(fleet, folder).scan("event").filter(pl.col("date") >= first).collect()
    live = frame([row for row in recent(folder / "live.sqlite") if row["date"] >= first])
    return pl.concat([stored, live]).unique("event_id", keep="first").sort("ts").to_dicts()


def told(row: dict[str, Any], fleet: FleetConfig) -> tuple[str, ...]:
    """One event as a line of words."""
    fault = catalogue().get(row["fault"])
    word = {"enter": "began", "leave": "ended", "note": "note"}[row["phase"]]
    much = quantity(row["value"], row["value_unit"]) if row["value"] is not None else ""
    much += f" (limit {quantity(row['threshold'], row['value_unit'])})" if much and row["threshold"] is not None else ""
    cut = CUTS.get(row["cuts"], "") if row["cuts"] not in (None, "none") and row["phase"] == "enter" else ""
    note = f" [{row['code']}]" if row["phase"] == "note" and row["code"] else ""
    return as_text(row["ts"]), word, place(row, fleet), (fault.title if fault else row["fault"]) + note, much, cut


def again(fleet: FleetConfig, folder: Path, day: date, sites: list[str]) -> int:
    """Replay a day of these sites. Returns how many events were new."""
    return replay(archive_of(fleet, folder), day, sites, _registry(fleet))


def late(fleet: FleetConfig, folder: Path) -> int:
    """Replay every day that the live engine had late readings of. Returns how many events were new."""
    archive, new = archive_of(fleet, folder), 0
    registry = _registry(fleet)
    for site, day, readings in late_days(folder / "live.sqlite"):
        new += replay(archive, date.fromisoformat(day), [site], registry)
        replayed(folder / "live.sqlite", site, day, readings)
    return new


def _registry(fleet: FleetConfig) -> Registry:
    return {(entry.site, entry.stack, entry.id): entry for entry in fleet.module}
