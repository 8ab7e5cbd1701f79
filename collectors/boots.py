"""When a row was really read: a boot's clock is known from the moment that it was right, also for what was read before.

A Raspberry Pi wakes up in 1970, or where it was shut down. Each row has its place on its boot's own clock, so one good
look at the time places all rows of that boot. A boot that never knew the time lies between its neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass

from cellherd.clock import EARLIEST
from collectors.entries import About, Instant
from collectors.spool import Spool

GOOD = ("ntp", "srv")
"""Clock qualities that need no correction."""
MOVED_MS = 1_000
"""Change of a boot's offset that is worth a write."""


@dataclass(frozen=True, slots=True)
class Span:
    """One boot: what its own clock claimed as wall time at its start, and the last bt at which it is known to run."""

    boot: str
    claimed: int
    last_bt: int


class Boots:
    """What is known of the boots that left rows here. `offset` is wall time at a boot's start, ms UTC."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._known: dict[str, tuple[int, str]] = {
            boot: (offset, clk) for boot, offset, clk in spool.ask("select id, offset_ms, clk from boot")
        }
        self._guessed: dict[str, int] = {}

    def learn(self, now: Instant) -> None:
        """Remember this boot's offset, with the next commit, while the clock is good."""
        if now.clk not in GOOD:
            return
        offset = now.ts - now.bt
        known = self._known.get(now.boot)
        if known is None or abs(known[0] - offset) > MOVED_MS:
            self._known[now.boot] = offset, now.clk
            self._guessed.clear()
            self._spool.begin()
            self._spool.ask("delete from boot where id not in (select boot from epoch)")
            self._spool.ask("insert or replace into boot values (?, ?, ?)", (now.boot, offset, now.clk))

    def placed(self, about: About, now: Instant) -> tuple[int, str] | None:
        """Time and clock quality to tell for a row; None where it is better to wait until the time is known.

        What this boot read while it does not know the time goes as it is: the server places it by this boot's clock.
        """
        if about.clk in GOOD:
            return about.ts, about.clk
        if about.boot in self._known:
            offset, clk = self._known[about.boot]
            return about.bt + offset, clk
        if about.boot == now.boot:
            return about.ts, about.clk
        if now.clk not in GOOD:
            return None
        if about.boot not in self._guessed:
            known = {boot: offset for boot, (offset, _) in self._known.items()}
            self._guessed = guess(self._spans(now), known)
        guessed = self._guessed.get(about.boot)
        return (about.ts, about.clk) if guessed is None else (about.bt + guessed, "est")

    def _spans(self, now: Instant) -> list[Span]:
        """The boots in order, the present one last."""
        found: dict[str, Span] = {}
        for n, boot, claimed, opened in self._spool.ask(
            "select n, boot, opened_ts - opened_bt, opened_bt from epoch order by n"
        ).fetchall():
            last = self._spool.ask("select max(bt) from row where n=? and boot=?", (n, boot)).fetchone()[0]
            found[boot] = Span(boot, claimed, max(last or 0, opened, found[boot].last_bt if boot in found else 0))
        found.pop(now.boot, None)
        return [*found.values(), Span(now.boot, now.ts - now.bt, now.bt)]


def guess(spans: list[Span], known: dict[str, int]) -> dict[str, int]:
    """Offsets of the boots in `spans` that never knew the time; the last one's own claim is taken for true.

    Such a boot began after the last known moment before it and ended before the next boot began. Its own claim is
    taken where it fits in there; else the boot is taken to have ended as the next one began.
    """
    found: dict[str, int] = {}
    begun = spans[-1].claimed
    for i in range(len(spans) - 2, -1, -1):
        span = spans[i]
        latest = begun - span.last_bt
        earliest = max((known[s.boot] + s.last_bt for s in spans[:i] if s.boot in known), default=EARLIEST)
        offset = known.get(span.boot, span.claimed if earliest <= span.claimed <= latest else latest)
        if span.boot not in known:
            found[span.boot] = offset
        begun = offset
    return found
