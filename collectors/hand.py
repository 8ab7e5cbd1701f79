"""What has been read and is not on the disk yet: filled by the ports' threads, emptied by the outbox's."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from cellherd.failpoint import failpoint
from cellherd.reading import as_row
from cellherd.topics import EDGE
from collectors.entries import About, Entry, Instant, never_kept, shifted
from collectors.events import Record, Sample

STEPPED_MS = 1_000
"""By so much must the wall clock have moved between reading and commit to place a reading anew by the boot clock."""
MOST = 20_000
"""Entries that are held while the disk takes none, about 30 MB; above it the oldest half becomes gaps."""


class Hand:
    """`take` is the sink of the ports' threads; everything else belongs to the outbox's thread."""

    def __init__(self, hurry: Callable[[], None]) -> None:
        self._hurry = hurry
        self._came: deque[tuple[Sample | Record, bool]] = deque()
        self._faults: dict[tuple[str, str], tuple[str, ...]] = {}
        self.urgent = False
        """Whether something came that must not wait for the next commit."""
        self._held: list[Entry] = []
        self._given: list[Entry] = []

    def take(self, event: Sample | Record) -> None:
        """Hold on to a reading or record. A change of faults and every record are urgent."""
        urgent = isinstance(event, Record) or self._faults_changed(event)
        self._came.append((event, urgent))
        failpoint("hand.after_read")
        if urgent:
            self.urgent = True
            self._hurry()

    def _faults_changed(self, sample: Sample) -> bool:
        place = (sample.device.stack, sample.module)  # a module has one port, and a port one thread
        faults = sample.measured.faults or ()
        before, self._faults[place] = self._faults.get(place, ()), faults
        return faults != before

    def add(self, entries: Iterable[Entry]) -> None:
        """Hold on to records that the edge makes itself."""
        added = list(entries)
        self._held += added
        self.urgent = self.urgent or bool(added)

    def hold(self, now: Instant) -> None:
        """Keep what came within bounds while the disk takes nothing."""
        for event, urgent in [self._came.popleft() for _ in range(len(self._came))]:
            self._held.append(_entry(event, now, urgent=urgent))
        if len(self._held) > MOST:
            self._held = [*never_kept(self._held[: MOST // 2], now), *self._held[MOST // 2 :]]

    def gather(self, now: Instant) -> list[Entry]:
        """Everything that is in hand, for one commit; it stays in hand until `done`."""
        self.urgent = False
        self.hold(now)
        self._given, self._held = [*self._given, *self._held], []
        return self._given

    def done(self) -> None:
        """What was gathered is on the disk."""
        self._given = []


def _entry(event: Sample | Record, now: Instant, *, urgent: bool) -> Entry:
    kind, name = (event.kind, event.event) if isinstance(event, Record) else (event.measured.kind, "")
    device, ts = event.device, now.ts - (now.bt - event.bt)
    by = ts - event.ts if abs(ts - event.ts) > STEPPED_MS else 0
    place = (device.stack, event.module or EDGE)
    about = About(*place, kind, device.driver.name, name, event.ts + by, event.bt, now.clk, now.boot)
    if not isinstance(event, Record):
        return Entry(about, as_row(event.measured), urgent)
    return Entry(about, shifted(event.body, by) if name == "gap" else dict(event.body), urgent)
