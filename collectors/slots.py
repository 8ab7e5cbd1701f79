"""Every slot of a running edge gives a reading or is part of a gap with its reason: the book that proves it."""

from __future__ import annotations

from dataclasses import dataclass, field

LONGEST_MS = 60_000
"""A gap that goes on is told in pieces of this length."""


@dataclass(frozen=True, slots=True)
class Gap:
    """`slots` slots from number `first` on without a reading."""

    first: int
    slots: int
    reason: str


@dataclass(slots=True)
class Tally:
    """The slots of one module: all before `next` are accounted for, the last of them perhaps in the open gap."""

    period_ms: int
    next: int = 0
    _open: Gap | None = field(default=None)

    def read(self, slot: int) -> list[Gap]:
        """A reading came in this slot, and nothing is open before it. Gives the gap that ended."""
        self.next = max(self.next, slot + 1)
        return self.close()

    def miss(self, until: int, reason: str) -> list[Gap]:
        """No reading came in any slot before `until` that is not accounted for yet. Gives what is to be told."""
        missed = until - self.next
        if missed <= 0:
            return []
        told = [] if self._open is None or self._open.reason == reason else self.close()
        already = self._open.slots if self._open else 0
        self._open = Gap(self.next - already, already + missed, reason)
        self.next = until
        if self._open.slots * self.period_ms >= LONGEST_MS:
            told += self.close()
        return told

    def close(self) -> list[Gap]:
        """End the open gap."""
        ended, self._open = self._open, None
        return [ended] if ended else []
