"""What was missed while the collector was off: one gap `edge_off` a module, from its last row to this start."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TypeAlias

from cellherd.clock import EARLIEST
from collectors.boots import GOOD, Boots
from collectors.entries import About, Entry, Instant, gap
from collectors.outbox import Reading

LOOK_BACK = 5000
"""Rows among which each module's last one is looked for; a module leaves at least a gap record a minute."""
Place = tuple[str, str]
"""Stack and module."""


Seen: TypeAlias = Mapping[Place, tuple[About, int]]
"""Of each module its last reading or gap, and the wall time up to which its slots are accounted for."""


def edge_off(seen: Seen, periods: Mapping[Place, int], start: Instant) -> Iterator[Entry]:
    """Gap records for all slots between what was last seen of a module and the start.

    `periods` are ms by module. Where the machine went on running, its boot clock measures the span; else the wall
    clock, and a clock that has gone back gives no gap.
    """
    for place, (about, until) in seen.items():
        if about.boot == start.boot:
            off = start.bt - (about.bt + until - about.ts)
        elif until > EARLIEST:
            off = start.ts - until
        else:
            continue
        slots = off // periods[place]
        if slots > 0:
            span = {"from_ts": start.ts - off, "to_ts": start.ts, "from_seq": None, "to_seq": None}
            yield gap(about, start, "edge_off", {**span, "slots": slots})


class Absence:
    """Told at once where the machine went on running, else as soon as the time is known: a clock that woke up in 1970,
    or jumped a year, would make nonsense of it."""

    def __init__(self, seen: Seen, periods: Mapping[Place, int], start: Instant) -> None:
        self._seen, self._periods, self._start = dict(seen), periods, start

    def learn(self, seen: Seen) -> None:
        """What was seen before the start is known only now: the disk could not be read then."""
        self._seen |= seen

    def told(self, now: Instant, boots: Boots, *, last: bool = False) -> list[Entry]:
        """The gaps that can be told now; with `last` all of them, by whatever clock there is."""
        if not self._seen:
            return []
        start = Instant(now.ts - (now.bt - self._start.bt), self._start.bt, now.clk, now.boot)
        ripe = {}
        for place, (about, until) in self._seen.items():
            placed = (about.ts, about.clk) if about.boot == now.boot else boots.placed(about, now)
            known = placed is not None and (about.boot == now.boot or now.clk in GOOD)
            if known or last:
                ts = placed[0] if placed else about.ts
                ripe[place] = replace(about, ts=ts), until + ts - about.ts
        for place in ripe:
            del self._seen[place]
        return list(edge_off(ripe, self._periods, start))


def last_seen(before: Iterable[Reading], periods: Mapping[Place, int]) -> Seen:
    """What `before` (rows, newest first) tells of each module."""
    found: dict[Place, tuple[About, int]] = {}
    for row, body in before:
        about, place = row.about, (row.about.stack, row.about.module)
        lost_here = body.get("from_seq") is not None  # such a gap tells of old rows, not of polls
        if place in periods and place not in found and about.event in ("", "gap") and not lost_here:
            end = body.get("to_ts") if about.event else about.ts + periods[place]
            if isinstance(end, int):
                found[place] = (about, end)
    return found
