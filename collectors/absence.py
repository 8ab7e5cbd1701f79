"""What was missed while the collector was off: one gap `edge_off` a module, from its last row to this start."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from cellherd.clock import EARLIEST
from collectors.entries import About, Entry, Instant, gap
from collectors.outbox import Reading

LOOK_BACK = 5000
"""Rows among which each module's last one is looked for; a module leaves at least a gap record a minute."""
Place = tuple[str, str]
"""Stack and module."""


def edge_off(before: Iterable[Reading], periods: Mapping[Place, int], start: Instant) -> Iterator[Entry]:
    """Gap records for all slots between what `before` (newest first) tells of a module and the start.

    `periods` are ms by module. Where the machine went on running, its boot clock measures the span; else the wall
    clock, and a clock that has gone back gives no gap.
    """
    for place, (about, until) in _last(before, periods).items():
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


def _last(before: Iterable[Reading], periods: Mapping[Place, int]) -> dict[Place, tuple[About, int]]:
    """Of each module its last reading or gap, and the wall time up to which its slots are accounted for."""
    found: dict[Place, tuple[About, int]] = {}
    for row, body in before:
        about, place = row.about, (row.about.stack, row.about.module)
        lost_here = body.get("from_seq") is not None  # such a gap tells of old rows, not of polls
        if place in periods and place not in found and about.event in ("", "gap") and not lost_here:
            end = body.get("to_ts") if about.event else about.ts + periods[place]
            if isinstance(end, int):
                found[place] = (about, end)
    return found
