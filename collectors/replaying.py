"""The server asks for numbers again: what still stands here is sent again, the rest is told as a gap, and told once."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from cellherd.runs import Run, without
from collectors.entries import Entry, Instant, Numbered
from collectors.holes import Place, no_longer
from collectors.spool import Spool


@dataclass(frozen=True, slots=True)
class _Told:
    """A gap record and the numbers that it speaks of; `epoch` and `seq` are its own, 0 until it is committed."""

    of_epoch: str
    first: int
    last: int
    epoch: str = ""
    seq: int = 0


class Replaying:
    """Answers for one file. All gap records are read when the first number is found gone, which is seldom."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._told: list[_Told] | None = None

    def answer(self, epoch: str, run: Run, periods: Mapping[Place, int], now: Instant) -> tuple[int, list[Entry]]:
        """How many rows wait again, and gap records for the numbers that are gone and not told yet, to be committed.

        A gap record that has a receipt and is asked for by what it tells waits again. Needs an open transaction.
        """
        gone = list(self._gone(epoch, *run))
        back = 0
        for told in self._about(epoch, run) if gone else ():
            rest = list(without(gone, [(told.first, told.last)]))
            again = self._say_again(told) if rest != gone and told.seq else 0
            if again is not None:
                back, gone = back + again, rest
        entries = no_longer(self._spool, epoch, gone, periods, now) if gone else []
        if entries:
            self._known().extend(_Told(epoch, *one) for one in gone)
        standing = self._spool.known(epoch)
        return back + (self._spool.again(standing, run[0], min(run[1], standing.last)) if standing else 0), entries

    def committed(self, rows: Iterable[Numbered], entries: Iterable[Entry]) -> None:
        """These entries have their numbers now."""
        if self._told is None:
            return
        found = [
            replace(told, epoch=row.epoch, seq=row.seq)
            for row, entry in zip(rows, entries, strict=True)
            if row.about.event == "gap" and (told := _read(entry.body)) is not None
        ]
        self._told = [told for told in self._told if told.seq] + found

    def _gone(self, epoch: str, first: int, last: int) -> Iterator[Run]:
        """Numbers from first to last that stand nowhere; of an epoch that is not known here, all of them."""
        known, stand = self._spool.known(epoch), "select seq from row where n=? and seq between ? and ?"
        if known is self._spool.epochs[-1]:
            last = min(last, known.last)  # the rest is yet to be given
        at = first
        if known is not None:
            for (seq,) in self._spool.ask(f"{stand} order by seq", (known.n, first, last)):
                if seq > at:
                    yield at, seq - 1
                at = seq + 1
        if at <= last:
            yield at, last

    def _known(self) -> list[_Told]:
        if self._told is None:
            rows = self._spool.ask("select epoch.id, seq, body from row join epoch using (n) where event='gap'")
            found = ((epoch, seq, _parsed(body)) for epoch, seq, body in rows)
            self._told = [replace(told, epoch=epoch, seq=seq) for epoch, seq, told in found if told is not None]
        return self._told

    def _about(self, epoch: str, run: Run) -> list[_Told]:
        """What was told of any of these numbers; a damaged outbox can have told thousands of others one by one."""
        first, last = run
        return [told for told in self._known() if told.of_epoch == epoch and told.first <= last and first <= told.last]

    def _say_again(self, told: _Told) -> int | None:
        """Let a gap record wait again; None of one that stands here no more, for it tells nothing."""
        epoch = self._spool.known(told.epoch)
        query = "select 1 from row where n=? and seq=?"
        if epoch is None or self._spool.ask(query, (epoch.n, told.seq)).fetchone() is None:
            self._known().remove(told)
            return None
        return self._spool.again(epoch, told.seq, told.seq)


def _parsed(body: str) -> _Told | None:
    try:
        found = json.loads(body)
    except ValueError:  # a broken row
        return None
    return _read(found) if isinstance(found, dict) else None


def _read(body: Mapping[str, object]) -> _Told | None:
    first, last, of = body.get("from_seq"), body.get("to_seq"), body.get("of_epoch")
    return _Told(of, first, last) if isinstance(first, int) and isinstance(last, int) and isinstance(of, str) else None
