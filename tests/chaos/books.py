"""The book of slots: every slot of a running edge is a reading or part of a gap, and the time it was off is told.

Nobody tells when exactly a module's slots began. But soon after its edge's start there must be one beginning for which
every reading lies in the slot that its number of readings and gap slots before it says; that holds to the unit, or not
at all.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import inf
from typing import Literal

from collectors.entries import CLOCKS_APART_MS

Sort = Literal["reading", "gap", "absence", "lost"]
TOLERANCE_MS = CLOCKS_APART_MS + 4
"""A message has one clock offset for all of its rows; and times go through two roundings to ms on their way."""
START_MS = 400
"""From when an edge notes its start to its ports' first slot, on a busy machine."""


@dataclass(frozen=True, slots=True)
class Item:
    """What accounts for slots of a module: `bt` is when they begin, ms since boot.

    "gap" is of a running edge, "absence" of the time it was off, "lost" tells of rows that were read and are gone.
    """

    bt: float
    slots: int
    sort: Sort
    written: float = 0.0
    """When an absence was noted: as its edge came back."""
    until: float = 0.0
    """Where the last of the rows that are gone lay: between them are others that arrived."""

    def end(self, period: int) -> float:
        """Up to when the module's slots are accounted for."""
        return self.written or (self.until + period if self.sort == "lost" else self.bt + self.slots * period)


def wrong(
    items: Iterable[Item],
    starts: Sequence[int],
    period: int,
    hurt: Container[int] = (),
    in_memory: Container[int] = (),
) -> Iterator[str]:
    """What is wrong with a module's book. `starts` are when its edge was started, sorted, ms since boot.

    The lives that `hurt` holds forgot some of their rows, and so what came behind them does not know where they ended.
    Those of `in_memory` died before a disk had what they told, which may be the time off in front of them.
    """
    known, slack, blurred = -inf, 0, _blurred(items := list(items), starts)
    for life, mine in lives(items, starts).items():
        off = [item for item in mine if item.sort == "absence"]
        on = [item for item in mine if item.sort != "absence"]
        if life not in hurt:
            hole = blurred.get(life, -inf)
            begun = starts[life - 1] if 0 < life <= len(starts) and hole == -inf else None
            yield from _shifted(on, period, begun, hole)
        sure = life - 1 not in hurt and not {life - 1, life} & blurred.keys() and (off or life not in in_memory)
        if known > -inf and 0 < life <= len(starts) and sure:
            yield from _off(off, known, starts[life - 1], period, slack)
        last = max(mine, key=lambda item: item.end(period))
        if last.end(period) > known:  # the last of rows that are gone was a reading or a gap: nobody knows
            known, slack = last.end(period), period * (last.sort == "lost")


def _blurred(items: Iterable[Item], starts: Sequence[int]) -> dict[int, float]:
    """Lives of which one record tells what several lost, and up to when: where one of them ended stands nowhere."""
    found: dict[int, float] = {}
    for item in items:
        first, last = (life_at(moment, starts) for moment in (item.bt, item.until))
        if item.sort == "lost" and last > first:
            found |= {life: max(item.until, found.get(life, -inf)) for life in range(first + 1, last + 1)}
            found.setdefault(first, -inf)  # in front of the hole that life's book holds
    return found


def lives(items: Iterable[Item], starts: Sequence[int]) -> dict[int, list[Item]]:
    """What accounts for each life of an edge, by its number, in order."""
    found: dict[int, list[Item]] = {}
    for item in sorted(items, key=_order):
        found.setdefault(life_at(item.written if item.sort == "absence" else item.bt, starts), []).append(item)
    return dict(sorted(found.items()))


def _order(item: Item) -> tuple[float, str]:
    """A gap begins with its slot, and a reading just before it, or told as just behind it, is of the slot before."""
    return item.bt - TOLERANCE_MS * (item.sort == "reading"), item.sort


def life_at(moment: float, starts: Sequence[int]) -> int:
    """The number of the life at a moment; one that begins just then has begun."""
    return bisect_right(starts, moment + START_MS)


def _shifted(items: Sequence[Item], period: int, start: int | None, hole: float) -> Iterator[str]:
    """The first slot begins soon after the start; each item narrows down when, until none is left.

    Up to `hole` one cannot know: there the life lost rows.
    """
    low, high, count = -inf, inf, 0
    if start is not None:
        low, high = start - TOLERANCE_MS, start + START_MS
    for item in items:
        if item.sort == "lost" or item.bt <= hole:  # which slots of a hole are gone is not told: begin anew behind it
            low, high, count, hole = -inf, inf, 0, max(hole, item.until)
            continue
        first = item.bt - count * period
        low = max(low, first - TOLERANCE_MS - (period if item.sort == "reading" else 0))
        high = min(high, first + TOLERANCE_MS)
        if low > high:
            yield f"a {item.sort} of {item.slots} at {item.bt:.0f} lies {low - high:.0f} ms beside its slot"
            low, high, count = -inf, inf, 0
        count += item.slots


def _off(told: Sequence[Item], known: float, start: int, period: int, slack: int) -> Iterator[str]:
    if not told:
        if start - known >= period + START_MS + slack:
            yield f"off from {known:.0f} to {start}, and nothing tells of it"
        return
    if len(told) > 1:
        yield f"off until {start}, told {len(told)} times"
    begin = told[0].bt
    if abs(begin - known) > TOLERANCE_MS + slack:
        yield f"off from {known:.0f} to {start}, told from {begin:.0f}"
    if abs(told[0].slots - (start - known) / period) > 1 + (START_MS + slack) / period:
        yield f"off from {known:.0f} to {start}, told as {told[0].slots} slots of {period} ms"


def uncovered(
    items: Iterable[Item], starts: Sequence[int], period: int, spoiled: Sequence[tuple[int, int]] = ()
) -> Iterator[tuple[str, int]]:
    """Stretches for which nothing at all accounts, where the same slots may be told twice; and their slots.

    `spoiled` is from when to when the outbox may have forgotten: then nobody knows since when it was off.
    Such a stretch has no text.
    """
    known = None
    for item in sorted(items, key=lambda item: item.bt):
        if known is not None and item.bt - known > period + START_MS:
            lost = any(begin <= item.bt and known - period <= end for begin, end in spoiled)
            yield "" if lost else f"nothing tells of {known:.0f} to {item.bt:.0f}", round((item.bt - known) / period)
        known = max(known or -inf, item.end(period))
