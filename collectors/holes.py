"""What a damaged outbox lost: numbers that are gone, told as gaps of the modules whose slots they held."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from cellherd.runs import Run, without
from collectors.adoption import Opening, openings
from collectors.entries import About, Entry, Instant, about_edge, clock_offset, gap
from collectors.spool import COLUMNS, Spool
from collectors.witness import forget, gone

MOST = 500
"""Records for one module and epoch; of more, neighbours become one: it bounds their numbers and has all their slots."""

NEAR = 3000
"""Rows before and behind numbers that are asked for among which a module's neighbours are looked for."""

Place: TypeAlias = tuple[str, str]
"""Stack and module."""


_ROWS = f"select {COLUMNS}, case event when 'gap' then body end from row where event in ('', 'gap')"  # noqa: S608 - our columns


@dataclass(frozen=True, slots=True)
class _Hole:
    """Numbers of an epoch that are gone. `before` are those that are gone in front of it, in all epochs."""

    opening: Opening
    first: int
    last: int
    before: int
    reason: str

    @property
    def count(self) -> int:
        return self.last - self.first + 1


@dataclass(frozen=True, slots=True)
class _Edge:
    """Up to where a module's slots are accounted for, on its boot's clock; `gone` is how many numbers were by then."""

    boot: str
    bt: int
    gone: int


@dataclass(frozen=True, slots=True)
class _Told:
    """One record to be: whose, and what it bounds."""

    about: About
    times: Run
    seqs: Run
    slots: int


@dataclass(slots=True)
class _Teller:
    """Goes over rows and holes in their order; keeps a place for each module, whatever the length of the file."""

    periods: Mapping[Place, int]
    now: Instant
    hole: _Hole | None = None
    claimed: bool = True
    """Whether a module told slots of `hole`."""
    edges: dict[Place, _Edge] = field(default_factory=dict)
    told: dict[tuple[Place, str, str], list[_Told]] = field(default_factory=dict)
    """By place, epoch and reason."""
    nobodys: list[_Hole] = field(default_factory=list)

    def pass_hole(self, opening: Opening, run: Run, reason: str = "corrupt_row") -> None:
        """The next numbers are gone."""
        self._leave()
        self.hole, self.claimed = _Hole(opening, *run, self._gone(), reason), False

    def pass_row(self, row: Sequence[Any]) -> None:
        """The next row that accounts for a module's slots: a reading, or a gap of polls."""
        span = _accounted(row, self.periods)
        if span is None:
            return
        about, begin, end = span
        place = about.stack, about.module
        before = self.edges.get(place)
        if self.hole and (before.gone if before else 0) < self._gone():
            self._tell(self.hole, about, begin, before)
        self.edges[place] = _Edge(about.boot, end, self._gone())

    def _tell(self, hole: _Hole, about: About, bt: int, before: _Edge | None) -> None:
        """What a module lost in front of `bt`; of several holes since its last row the last one tells it all."""
        place = about.stack, about.module
        period = self.periods[place]
        if before is not None and before.boot == about.boot:
            begin = before.bt
        elif hole.first == 1 and hole.opening.boot == about.boot:
            begin = hole.opening.opened_bt
        else:
            begin = bt - period * ((self._gone() - (before.gone if before else 0)) // len(self.periods))
        slots = round((bt - begin) / period)
        if slots > 0:
            end_ts = clock_offset(about, self.now) + bt
            told = _Told(about, (end_ts - slots * period, end_ts), (hole.first, hole.last), slots)
            _add(self.told.setdefault((place, hole.opening.id, hole.reason), []), told)
            self.claimed = True

    def _gone(self) -> int:
        return self.hole.before + self.hole.count if self.hole else 0

    def _leave(self) -> None:
        if self.hole and not self.claimed:
            self.nobodys.append(self.hole)
        self.claimed = True

    def entries(self) -> Iterator[Entry]:
        """The records, once all has been gone over."""
        self._leave()
        for hole in self.nobodys:  # only their numbers: the slots are told elsewhere, or not even the modules are known
            place, times = ("", ""), (self.now.ts, self.now.ts)
            slots = 0 if self.edges else hole.count
            told = _Told(about_edge(self.now, "gap"), times, (hole.first, hole.last), slots)
            _add(self.told.setdefault((place, hole.opening.id, hole.reason), []), told)
        for (_, epoch, reason), found in self.told.items():
            for told in found:
                spans = dict(zip(("from_ts", "to_ts", "from_seq", "to_seq"), (*told.times, *told.seqs), strict=True))
                body = {**spans, "slots": told.slots, "of_epoch": epoch}
                yield gap(told.about, self.now, reason, body)


def _accounted(row: Sequence[Any], periods: Mapping[Place, int]) -> tuple[About, int, int] | None:
    """From when to when, on its boot's clock, a row accounts for its module's slots; None of one that does not."""
    about, text = About(*row[2:-1]), row[-1]
    period = periods.get((about.stack, about.module))
    if period is None:
        return None
    if not about.event:
        return about, about.bt, about.bt + period
    body = json.loads(text)
    start, until = body.get("from_ts"), body.get("to_ts")
    if not isinstance(start, int) or not isinstance(until, int) or body.get("from_seq") is not None:
        return None  # what tells of numbers tells of rows, not of polls
    return about, about.bt + start - about.ts, about.bt + until - about.ts


def _add(known: list[_Told], told: _Told) -> None:
    known.append(told)
    if len(known) > MOST:
        known[:] = [_joined(known[at : at + 2]) for at in range(0, len(known), 2)]


def _joined(some: Sequence[_Told]) -> _Told:
    first, last = some[0], some[-1]
    slots = sum(told.slots for told in some)
    return _Told(last.about, (first.times[0], last.times[1]), (first.seqs[0], last.seqs[1]), slots)


def lost(spool: Spool, periods: Mapping[Place, int], now: Instant) -> Iterator[Entry]:
    """Gap records `corrupt_row` for numbers above the mark that stand nowhere. `periods` are ms by module.

    How many slots a module lost is read from its rows on both sides, in this epoch or the next that has one. Where
    nothing stands before, its share of the numbers is taken; what lies behind its last row is told as the edge's time
    off. The numbers are told from then on, within the transaction that is open.
    """
    teller = _Teller(periods, now)
    for opening in openings(spool):
        holes = ((run, "corrupt_row") for run in _holes(spool, opening))
        _pass(teller, opening, holes, spool.ask(f"{_ROWS} and n=? order by seq", (opening.n,)))
    yield from teller.entries()


def no_longer(spool: Spool, epoch: str, runs: Sequence[Run], periods: Mapping[Place, int], now: Instant) -> list[Entry]:
    """Gap records for numbers of an epoch that the server asks for and that stand nowhere any more.

    What was done with, of room or age, is `spool_cap`, the rest `corrupt_row`. `runs` are in order and not empty. An
    epoch of which even the line is gone was before all that are here.
    """
    forgotten = Opening(0, epoch, "", 0, 0, "", runs[-1][1], runs[-1][1])
    opening = next((opening for opening in openings(spool) if opening.id == epoch), forgotten)
    n, first, last = opening.n, runs[0][0], runs[-1][1]
    teller = _Teller(periods, now)
    before = spool.ask(f"{_ROWS} and (n, seq) < (?, ?) order by n desc, seq desc limit {NEAR}", (n, first))
    for row in reversed([*_nearest(before, periods)]):
        teller.pass_row(row)
    holes = ((run, "spool_cap" if run[1] <= opening.mark else "corrupt_row") for run in runs)
    _pass(teller, opening, holes, spool.ask(f"{_ROWS} and n=? and seq between ? and ? order by seq", (n, first, last)))
    behind = spool.ask(f"{_ROWS} and (n, seq) > (?, ?) order by n, seq limit {NEAR}", (n, last))
    for row in _nearest(behind, periods):
        teller.pass_row(row)
    if opening is not forgotten:
        for run in runs:
            forget(spool.ask, n, *run)
    return list(teller.entries())


def _nearest(rows: Iterable[Sequence[Any]], periods: Mapping[Place, int]) -> Iterator[Sequence[Any]]:
    """The rows up to the one with which each module has been met: what lies further off says nothing more."""
    unmet = set(periods)
    for row in rows:
        yield row
        if (span := _accounted(row, periods)) is not None:
            unmet.discard((span[0].stack, span[0].module))
        if not unmet:
            return


def _pass(teller: _Teller, opening: Opening, holes: Iterator[tuple[Run, str]], rows: Iterable[Sequence[Any]]) -> None:
    """An epoch's holes and rows in their order."""
    hole = next(holes, None)
    for row in rows:
        while hole and hole[0][0] < row[0]:
            teller.pass_hole(opening, *hole)
            hole = next(holes, None)
        teller.pass_row(row)
    for rest in (hole, *holes) if hole else ():
        teller.pass_hole(opening, *rest)


def _holes(spool: Spool, opening: Opening) -> Iterator[Run]:
    """Runs of numbers above the mark that should stand there and do not, in order; each is told from now on."""
    query = (
        "select prev + 1, seq - 1 from (select seq, lag(seq, 1, ?) over (order by seq) as prev from row"
        " where n=? and seq>?) where seq > prev + 1"
    )
    found: list[Run] = spool.ask(query, (opening.mark, opening.n, opening.mark)).fetchall()
    ((last,),) = spool.ask("select max(seq) from row where n=?", (opening.n,)).fetchall()
    tail = max(last or 0, opening.mark) + 1
    if tail <= opening.last:
        found.append((tail, opening.last))
    for run in list(without(found, gone(spool.ask, opening.n))):
        forget(spool.ask, opening.n, *run)
        yield run
