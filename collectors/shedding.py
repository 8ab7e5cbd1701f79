"""What goes first when there is no more room in the outbox: the stated order, one chunk at a time, never unsaid.

Rows with a receipt, oldest first; routine readings older than a week, thinned to one a minute; routine readings, oldest
first; records about a device (who it is, counters, logs, notes); changes of faults, and gaps.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from collectors.entries import Numbered
from collectors.spool import Epoch, Spool, Stored

THIN_AFTER_MS = 7 * 86_400_000
MINUTE_MS = 60_000
LOOKS = 20
"""Chunks that one call looks through for something to thin: a commit must not wait for a scan of the whole file."""
_ORDER = ("prio=0", "event in ('info', 'counter', 'log', 'edge')", "1")

Shed: TypeAlias = tuple[Literal["done", "decimated", "spool_cap"], list[Stored]]
"""Why, and the rows that had no receipt."""


class Shedding:
    """Chooses and deletes rows; the caller tells what was lost."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._looked: dict[str, int] = {}
        """Number up to which each epoch was thinned."""
        self._kept: dict[tuple[str, str, str], int] = {}
        """The minute of each module's last reading that stayed, by epoch, stack and module."""

    def shed(self, now: int) -> Shed | None:
        """Delete a chunk. `now` is ms UTC. None if nothing is left."""
        if self._spool.drop_done():
            return "done", []
        if thinned := self._thin(now - THIN_AFTER_MS):
            return "decimated", thinned
        for where in _ORDER:
            if lost := self._spool.drop_waiting(where):
                return "spool_cap", lost
        return None

    def _thin(self, before_ts: int) -> list[Stored]:
        for epoch in (e for e in self._spool.epochs if e.waiting):
            for _ in range(LOOKS):
                rows = self._spool.routine(epoch, self._looked.get(epoch.id, 0), before_ts)
                if not rows:
                    break
                self._looked[epoch.id] = rows[-1].seq
                if doubled := self._same_minute(epoch, rows):
                    return self._spool.drop(epoch, self._spool.rows(epoch, doubled))
        return []

    def _same_minute(self, epoch: Epoch, rows: list[Numbered]) -> list[int]:
        found = []
        for row in rows:
            place, minute = (epoch.id, row.about.stack, row.about.module), row.about.ts // MINUTE_MS
            if self._kept.get(place) == minute:
                found.append(row.seq)
            self._kept[place] = minute
        return found
