"""The engine as a sink of the journal, and its clock: takes segments, ticks, and brings its events to the stores.

A store that is away keeps neither the engine nor the alerts waiting: events wait in live.sqlite, each outlet with a
place of its own there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Event as Signal
from threading import Lock, Thread
from typing import Any

import polars as pl

from cellherd.clock import Clock
from cellherd.failpoint import failpoint
from pipeline.decoding.decode import Decoded
from pipeline.limits import DAY
from pipeline.live.absence import Link, tick
from pipeline.live.engine import Key, Registry, advance
from pipeline.live.events import Event, frame
from pipeline.live.state import Group, Module, Place
from pipeline.live.store import Changes, LiveStore
from pipeline.stores.archive import Archive
from pipeline.stores.errors import StoreAway

TICK_S = 5.0
KEEP_MS = 35 * DAY
log = logging.getLogger(__name__)
Outlet = Callable[[int, pl.DataFrame], None]
"""Given a batch's number and its events; the same batch again is the same. Raises StoreAway."""


@dataclass(slots=True)
class LiveSink:
    """The engine of this process. Thread-safe: segments and ticks come from two threads."""

    store: LiveStore
    registry: Registry
    clock: Clock
    outlets: Mapping[str, Outlet] = field(default_factory=dict)
    name: str = "live"
    _modules: dict[Key, Module] = field(init=False, repr=False)
    _groups: dict[Place, Group] = field(init=False, repr=False)
    _started: int = field(init=False)
    _away: set[str] = field(init=False, default_factory=set)
    _lock: Lock = field(init=False, default_factory=Lock)

    def __post_init__(self) -> None:
        """Remember what was."""
        self._modules, self._groups = self.store.modules(), self.store.groups()
        self._started = self.clock.wall()

    def position(self) -> int:
        """The last segment taken in."""
        return self.store.number("position")

    def write(self, number: int, decoded: Decoded) -> None:
        """Take a segment in; again changes nothing."""
        if number <= self.position():
            return
        with self._lock:
            found = advance(self._modules.get, decoded.frames, self.registry)
            changes = Changes(found.modules, (), list(_days(found.late)), number)
            self.store.commit(changes, found.events, self.clock.wall())
            self._modules.update(found.modules)
        self.deliver()

    def tick(self, links: Mapping[str, Link]) -> Sequence[Event]:
        """Look at the clock: who is silent, who does not fit. Call it only when all sealed segments are taken in."""
        with self._lock:
            now = self.clock.wall()
            groups, events = tick(list(self._modules.values()), self._groups, links, (now, self._started))
            if not groups:
                return []
            self.store.commit(Changes(groups=groups), events, now)
            self._groups.update({group.place: group for group in groups})
        self.deliver()
        return events

    def deliver(self) -> None:
        """Bring waiting events to every outlet that takes them."""
        with self._lock:
            for name, outlet in self.outlets.items():
                self._deliver(name, outlet)

    def _deliver(self, name: str, outlet: Outlet) -> None:
        try:
            for batch, rows in self.store.batches(self.store.number(name)):
                outlet(batch, frame(rows))
                failpoint("live-delivered")
                self.store.put_number(name, batch)
        except StoreAway as error:
            if name not in self._away:
                log.warning("events wait for %s: %s", name, error)
            self._away.add(name)
        else:
            self._away.discard(name)

    def forget(self) -> None:
        """Drop events older than five weeks that every outlet has."""
        with self._lock:
            upto = min((self.store.number(name) for name in self.outlets), default=0)
            self.store.forget(self.clock.wall() - KEEP_MS, upto)


def _days(late: pl.DataFrame) -> list[tuple[str, str, int]]:
    if late.is_empty():
        return []
    counted = late.group_by("site", date=pl.from_epoch("ts", "ms").dt.date().cast(pl.String)).len()
    return [(site, day, n) for site, day, n in counted.iter_rows()]


def to_archive(archive: Archive, series: str) -> Outlet:
    """Events into the archive's table `event`, each batch once."""
    app_id = f"live.{series}"

    def outlet(batch: int, events: pl.DataFrame) -> None:
        archive.append("event", events, app_id=app_id, version=batch)

    return outlet


class Ticker:
    """The engine's clock: a thread that lets it look for silence, as long as it is not behind with segments."""

    def __init__(self, sink: LiveSink, links: Callable[[], Mapping[str, Link] | None]) -> None:
        self._sink, self._links = sink, links
        self._stopping = Signal()
        self._thread = Thread(target=self._run, name="live clock", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stopping.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        turns = 0
        while not self._stopping.wait(TICK_S):
            turns += 1
            try:
                links: Any = self._links()
                if links is not None:
                    self._sink.tick(links)
                self._sink.deliver()
                if turns % 720 == 0:
                    self._sink.forget()
            except Exception:
                log.exception("a tick of the live engine failed; the next one tries again")
