"""Days that came late, played to the engine again: the same rules over the archive, so that history is complete.

An event found live is found again under the same id and is not stored twice. One whose beginning the live engine could
not see (its readings came late) overlaps the live one of the same fault, and the live one stays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Protocol

import polars as pl

from pipeline.live.engine import RECORDS, Key, Registry, advance
from pipeline.live.events import Event, frame
from pipeline.live.state import Module
from pipeline.schema import EVENT
from pipeline.stores.archive import Archive

AT_ONCE = 200_000
"""Readings of one turn; a module's readings of a day may be spread over several."""
BEFORE = timedelta(days=1)
"""How long the engine is warmed up, so that what stood at midnight is known."""


class Shelf(Protocol):
    """What a replay reads from."""

    def scan(self, table: str, days: tuple[date, date] | None = None) -> pl.LazyFrame:
        """A table's rows of some UTC days."""


def found_again(store: Shelf, day: date, sites: Sequence[str], registry: Registry) -> list[Event]:
    """The events of a UTC day of these sites, from its readings and records in order of time; all of them history."""
    modules: dict[Key, Module] = {}
    events: list[Event] = []
    for one in (day - BEFORE, day):
        here = pl.col("site").is_in(list(sites))
        whole = store.scan("reading", (one, one)).filter(here).sort("ts").collect()
        others = {table: store.scan(table, (one, one)).filter(here).collect() for table in RECORDS}
        for some in whole.iter_slices(AT_ONCE):
            events += _turn(modules, {"reading": some}, registry)
        events += _turn(modules, others, registry)
    begin = int(pl.Series([day]).cast(pl.Datetime("ms")).cast(pl.Int64)[0])
    return [event for event in events if begin <= event.ts < begin + 86_400_000]


def _turn(modules: dict[Key, Module], frames: Mapping[str, pl.DataFrame], registry: Registry) -> list[Event]:
    out = advance(modules.get, frames, registry)
    modules |= out.modules
    return list(out.events)


def missing(found: Sequence[Event], known: pl.DataFrame) -> pl.DataFrame:
    """Events that `known` (rows of `event`) has neither by id nor within an episode of the same fault and place."""
    if not found:
        return pl.DataFrame(schema=EVENT)
    rows = frame([event.row() for event in found]).unique("event_id", maintain_order=True)
    rows = rows.join(known.select("event_id"), on="event_id", how="anti", maintain_order="left")
    key = ["site", "stack", "module", "fault"]
    enters = known.filter(pl.col("phase") == "enter").select(*key, "episode", begin="ts")
    leaves = known.filter(pl.col("phase") == "leave").select("episode", end="ts")
    spans = enters.join(leaves, on="episode", how="left")
    mine = (
        rows.filter(pl.col("phase") != "note").group_by("episode", *key).agg(a=pl.col("ts").min(), z=pl.col("ts").max())
    )
    over = mine.join(spans, on=key, how="inner", suffix="_live").filter(
        (pl.col("z") >= pl.col("begin")) & (pl.col("a") <= pl.col("end").fill_null(pl.col("z")))
    )
    return rows.join(over.select("episode").unique(), on="episode", how="anti", maintain_order="left")


def replay(archive: Archive, day: date, sites: Sequence[str], registry: Registry) -> int:
    """Store what is missing of a UTC day. Returns how many events were new."""
    found = found_again(archive, day, sites, registry)
    known = archive.scan("event").filter(pl.col("site").is_in(list(sites))).collect()
    new = missing(found, known)
    if new.height:
        archive.append("event", new, app_id="replay", version=(archive.version("event", "replay") or 0) + 1)
    return new.height
