"""What a damaged outbox lost: numbers that are gone, told as gaps of the modules whose slots they held."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from math import inf
from typing import Any, TypeAlias

from collectors.adoption import Opening, openings
from collectors.entries import About, Entry, Instant, about_edge, gap
from collectors.spool import COLUMNS, Spool

NEAR = 3000
"""Rows before and behind a hole among which a module's neighbours are looked for."""
MOST = 500
"""Holes that are told one by one; more become one a module and epoch."""

Place: TypeAlias = tuple[str, str]
"""Stack and module."""
Run: TypeAlias = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Hole:
    """Numbers of an epoch that are gone."""

    opening: Opening
    first: int
    last: int
    reason: str = "corrupt_row"

    @property
    def count(self) -> int:
        return self.last - self.first + 1

    def told(self, from_ts: int, to_ts: int, slots: int) -> dict[str, object]:
        """The body of its gap record."""
        found = {"from_ts": from_ts, "to_ts": to_ts, "from_seq": self.first, "to_seq": self.last, "slots": slots}
        return {**found, "of_epoch": self.opening.id}


@dataclass(frozen=True, slots=True)
class _Edge:
    """Where a module's slots are accounted for beside a hole, on its boot's clock; `place` is the row's (n, seq)."""

    about: About
    bt: int
    place: tuple[int, int]


def lost(spool: Spool, periods: Mapping[Place, int], now: Instant) -> Iterator[Entry]:
    """Gap records `corrupt_row` for numbers above the mark that stand nowhere. `periods` are ms by module.

    How many slots a module lost is read from its rows on both sides, in this epoch or the next that has one; of holes
    with no row of the module between them the last one tells the slots of all. Where nothing stands before, its share
    of the numbers is taken; what lies behind its last row is told as the edge's time off.
    """
    return _gaps(spool, [hole for opening in openings(spool) for hole in _holes(spool, opening)], periods, now)


def no_longer(spool: Spool, epoch: str, runs: Sequence[Run], periods: Mapping[Place, int], now: Instant) -> list[Entry]:
    """Gap records for numbers of an epoch that the server asks for and that stand nowhere any more.

    What was done with, of room or age, is `spool_cap`, the rest `corrupt_row`. `runs` are in order and not empty; more
    than `MOST` are told as one. An epoch of which even the line is gone was before all that are here.
    """
    forgotten = Opening(0, epoch, "", 0, 0, "", runs[-1][1], runs[-1][1])
    opening = next((opening for opening in openings(spool) if opening.id == epoch), forgotten)
    told = runs if len(runs) <= MOST else [(runs[0][0], runs[-1][1])]
    holes = [_Hole(opening, *run, "spool_cap" if run[1] <= opening.mark else "corrupt_row") for run in told]
    return list(_gaps(spool, holes, periods, now))


def _gaps(spool: Spool, holes: Sequence[_Hole], periods: Mapping[Place, int], now: Instant) -> Iterator[Entry]:
    for hole, following in zip_longest(holes, holes[1:]):
        beside = _look(spool, hole, periods)
        until = (following.opening.n, following.first) if following else (inf, inf)
        yield from list(_of_modules(hole, beside, periods, now, until)) or [_nobodys(hole, now, beside)]


def _holes(spool: Spool, opening: Opening) -> list[_Hole]:
    runs = _runs(spool, opening)
    return [_Hole(opening, *run) for run in (runs if len(runs) <= MOST else [(runs[0][0], runs[-1][1])])]


def _runs(spool: Spool, opening: Opening) -> list[Run]:
    query = (
        "select prev + 1, seq - 1 from (select seq, lag(seq, 1, ?) over (order by seq) as prev from row"
        " where n=? and seq>?) where seq > prev + 1"
    )
    told = [
        (body["from_seq"], body["to_seq"])
        for (text,) in spool.ask("select body from row where event='gap' and body like ?", (f"%{opening.id}%",))
        if isinstance((body := json.loads(text)).get("from_seq"), int) and body.get("of_epoch") == opening.id
    ]
    found: list[Run] = spool.ask(query, (opening.mark, opening.n, opening.mark)).fetchall()
    ((last,),) = spool.ask("select max(seq) from row where n=?", (opening.n,)).fetchall()
    tail = max(last or 0, opening.mark) + 1
    if tail <= opening.last:
        found.append((tail, opening.last))
    return [run for run in found if not any(first <= run[0] and run[1] <= last for first, last in told)]


@dataclass(frozen=True, slots=True)
class _Beside:
    """The rows around a hole: looked at once for all modules."""

    before: Mapping[Place, _Edge]
    after: Mapping[Place, _Edge]


def _of_modules(
    hole: _Hole, beside: _Beside, periods: Mapping[Place, int], now: Instant, until: tuple[float, float]
) -> Iterator[Entry]:
    for place, period in periods.items():
        before, after = beside.before.get(place), beside.after.get(place)
        if after is None or after.place > until:
            continue
        boot = after.about.boot
        if before is not None and before.about.boot == boot:
            begin = before.bt
        elif hole.first == 1 and hole.opening.boot == boot:
            begin = hole.opening.opened_bt
        else:
            begin = after.bt - period * (hole.count // len(periods))
        slots = round((after.bt - begin) / period)
        if slots > 0:
            end_ts = after.about.ts - after.about.bt + after.bt
            yield gap(after.about, now, hole.reason, hole.told(end_ts - slots * period, end_ts, slots))


def _look(spool: Spool, hole: _Hole, periods: Mapping[Place, int]) -> _Beside:
    """Up to where the modules' slots are accounted for before the hole, and from where on behind it."""
    n, query = hole.opening.n, f"select n, {COLUMNS}, body from row where event in ('', 'gap') and (n, seq) "  # noqa: S608 - our columns
    before = spool.ask(f"{query} < (?, ?) order by n desc, seq desc limit {NEAR}", (n, hole.first))
    after = spool.ask(f"{query} > (?, ?) order by n, seq limit {NEAR}", (n, hole.last))
    return _Beside(_nearest(before, periods, end=True), _nearest(after, periods, end=False))


def _nearest(rows: Iterable[Sequence[Any]], periods: Mapping[Place, int], *, end: bool) -> dict[Place, _Edge]:
    found: dict[Place, _Edge] = {}
    for row in rows:
        about = About(*row[3:-1])
        place = (about.stack, about.module)
        if place not in periods or place in found:
            continue
        if not about.event:
            found[place] = _Edge(about, about.bt + periods[place] * end, (row[0], row[1]))
            continue
        body = json.loads(row[-1])
        at = body.get("to_ts" if end else "from_ts")
        if isinstance(at, int) and body.get("from_seq") is None:  # others tell of rows, not of polls
            found[place] = _Edge(about, about.bt + at - about.ts, (row[0], row[1]))
        if len(found) == len(periods):
            break
    return found


def _nobodys(hole: _Hole, now: Instant, beside: _Beside) -> Entry:
    """Only its numbers are told: the slots are told elsewhere, or not even the modules are known."""
    slots = 0 if beside.before or beside.after else hole.count
    return gap(about_edge(now, "gap"), now, hole.reason, hole.told(now.ts, now.ts, slots))
