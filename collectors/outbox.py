"""Store-and-forward on the edge: everything read lies here, safe from a power cut, until the server has it on its disk.

Each row is (stream, epoch, seq): a random id of this file, a random id of each opening, one counter over all modules.
Rows stay after their receipt as long as there is room, so that the server can ask for them again.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

from cellherd.clock import Clock
from cellherd.failpoint import failpoint
from collectors.adoption import Kept, Opening, adopt, cut_off, openings, rows_of
from collectors.boots import Boots
from collectors.entries import Batch, Entry, Instant, Numbered, checksum, compact, gaps, moved, nowhere, slots_told
from collectors.holes import Place, lost
from collectors.replaying import Replaying
from collectors.shedding import Shedding
from collectors.spool import Epoch, Identity, Spool, Stored
from collectors.witness import REFUSED, recount

KEEP_MS = 30 * 86_400_000
"""Receipted rows are kept for a replay up to this age."""
STEADY_MS, JUMP_MS = 86_400_000, 60_000
"""Nothing is deleted for its age until the clock has gone for a day without such a jump: it may be the clock."""
TRIM_EVERY = 50
"""Commits between two trims: done lazily it costs few device writes."""
ROOM = 7 / 8
"""Part of the cap that rows may fill; the rest is for the commit in hand and the gap records of a drop."""
OVERHEAD = 256
"""Bytes of a row beside its body."""

Reading: TypeAlias = tuple[Numbered, dict[str, Any]]
Room: TypeAlias = Callable[[], int] | None
"""Bytes by which the file may still grow, as the disk has it; below 0 rows must go. None: up to its cap."""


class Outbox:
    """One file, one writer: all calls come from one thread. Every call may raise sqlite3.Error; then open it anew.

    Receipts are remembered at once and written with the next commit: one that is lost in a crash only means that its
    rows are sent again.
    """

    def __init__(
        self, path: Path | None, clock: Clock, cap_bytes: int, *, identity: Identity | None = None, room: Room = None
    ) -> None:
        self._clock, self._room = clock, room
        self._spool = Spool(path, cap_bytes)
        self._shedding = Shedding(self._spool)
        self._full = int(cap_bytes * ROOM)
        self._replaying = Replaying(self._spool)
        self._owed: list[Entry] = []
        self._commits = 0
        self.dropped: Counter[str] = Counter()
        """Rows lost since this opening, by the reason that their gap records tell."""
        self.rolled_back: set[str] = set()
        """Epochs of which the server has numbers that stand nowhere here: the file is older than what was sent."""
        self.committed = 0
        """The last number of this opening that is known to be on the disk."""
        with ExitStack() as failed:  # what stays open would lock the file for the next try
            failed.callback(self._spool.close)
            self.stream, self.client, self.drops = self._spool.meta(clock.wall(), identity)
            self.boots = Boots(self._spool)
            self._now = self._spool.open_epoch(self.instant())
            failed.pop_all()
        self._steady = (clock.wall() - clock.boot(), clock.boot())

    def last(self) -> tuple[str, int]:
        """The id of this opening and the last number given in it, committed or not."""
        return self._now.id, self._now.last

    def instant(self) -> Instant:
        """This moment, for records that the edge makes itself."""
        clock = self._clock
        return Instant(clock.wall(), clock.boot(), clock.quality(), clock.boot_id())

    def epochs(self) -> list[tuple[str, int]]:
        """Every epoch that is kept here with its last number, oldest first, so that the server sees a lost tail."""
        return [(epoch.id, epoch.last) for epoch in self._spool.epochs]

    def depth(self) -> int:
        """Rows without a receipt."""
        return sum(epoch.waiting for epoch in self._spool.epochs)

    def oldest_ts(self) -> int | None:
        """When the oldest row without a receipt was read, ms UTC."""
        first = self.pending(1)
        return first[0].about.ts if first else None

    def commit(self, entries: Iterable[Entry] = ()) -> list[Numbered]:
        """Number these and put them on the disk, with all receipts since the last commit. Returns when they are safe.

        The rows that come back may be more than were given: gap records for what was dropped, broken or refused.
        """
        said = [*entries, *self._owed]
        if not said and not self._spool.changed():
            return []
        failpoint("outbox.before_commit")
        self._spool.begin()
        self.boots.learn(self.instant())
        said += self._made_room(sum(len(compact(entry.body)) + OVERHEAD for entry in said))
        self._commits += 1
        if self._commits % TRIM_EVERY == 0:
            self._trim()
        rows = [self._numbered(entry) for entry in said]
        self._spool.insert(self._now, rows, [entry.body for entry in said])
        self._spool.commit()
        self._replaying.committed(rows, said)
        failpoint("outbox.after_commit")
        self._owed.clear()
        self.committed = self._now.last
        return rows

    def _numbered(self, entry: Entry) -> Numbered:
        self._now.last += 1
        self._now.waiting += 1
        return Numbered(self._now.id, self._now.last, entry.urgent, entry.about)

    def pending(self, limit: int, skip: Container[tuple[str, int]] = ()) -> list[Numbered]:
        """Rows without a receipt, oldest first, but for those that `skip` holds as (epoch, seq)."""
        found: list[Numbered] = []
        for epoch in self._spool.epochs:
            for row in self._spool.waiting(epoch) if epoch.waiting else ():
                if len(found) == limit:
                    return found
                if (epoch.id, row.seq) not in skip:
                    found.append(row)
        return found

    def read(self, batch: Batch) -> list[Reading]:
        """The rows of a batch that still wait. A broken one becomes a gap; a broken file is a sqlite3.DatabaseError."""
        epoch = self._spool.known(batch.epoch)
        if epoch is None:
            return []
        stored = self._spool.rows(epoch, batch.seqs)
        self._spool.check_around(epoch, batch.seqs, stored)
        broken = [one for one in stored if one[1] != checksum(epoch.n, one[0], one[2])]
        if broken:
            self._spool.check_order(epoch, [row.seq for row, _, _ in broken])
            self.dropped["corrupt_row"] += len(broken)
            self._spool.begin()
            self._spool.drop(epoch, broken)
            self._owed += gaps(((nowhere(row), {}) for row, _, _ in broken), "corrupt_row", self.instant())
        return [(row, json.loads(body)) for row, crc, body in stored if (row, crc, body) not in broken]

    def reject(self, rows: Sequence[Numbered]) -> None:
        """Give up rows of one epoch that can never be taken; they are kept, and the readings among them become gaps.

        A record that is given up makes no record: that might be refused as well, without end.
        """
        epoch = self._spool.known(rows[0].epoch) if rows else None
        if epoch is not None:
            self.dropped["rejected"] += len(rows)
            self._spool.begin()
            self._spool.mark(epoch, [row.seq for row in rows], REFUSED)
            self._owed += gaps(((row, {}) for row in rows if not row.about.event), "rejected", self.instant())

    def receipt(self, stream: str, epoch: str, upto: int, also: Sequence[Sequence[int]] = ()) -> int:
        """The server has all numbers up to `upto`, and those of `also` ([first, last]). Returns how many were freed.

        Receipts may come twice, late, in any order, or for a file that is no longer ours.
        """
        known = self._spool.known(epoch)
        if known is None or stream != self.stream:
            return 0
        failpoint("outbox.before_receipt")
        if max(upto, *(last for _, last in also), 0) > known.last:
            self.rolled_back.add(epoch)
        before = known.waiting
        self._spool.begin()
        self._spool.safe(known, known.mark + 1, upto)
        for first, last in also:
            self._spool.safe(known, first, last)
        self._spool.advance(known)
        return before - known.waiting

    def refused(self, stream: str, epoch: str, seqs: Iterable[int]) -> int:
        """The server will never take these numbers. Returns how many of them waited."""
        known = self._spool.known(epoch)
        if known is None or stream != self.stream:
            return 0
        rows = [row for row, _, _ in self._spool.rows(known, tuple(seqs))]
        self.reject(rows)
        return len(rows)

    def replay(self, stream: str, epoch: str, first: int, last: int, periods: Mapping[Place, int] | None = None) -> int:
        """The server wants these numbers again, receipt or not. Returns how many of them are still kept.

        What is gone becomes a gap with the next commit, once; `periods` (ms by module) tell how many slots it held.
        """
        first = max(first, 1)
        if stream != self.stream or first > last:
            return 0
        self._spool.begin()
        back, gone = self._replaying.answer(epoch, (first, last), periods or {}, self.instant())
        self._owed += gone
        return back

    def before(self, limit: int) -> Iterator[Reading]:
        """The newest rows of earlier epochs, newest first, with their bodies: what was known before this opening."""
        for epoch in reversed(self._spool.epochs[:-1]):
            stored = self._spool.newest(epoch, limit)
            yield from _sound(epoch, stored)
            limit -= len(stored)

    def adopt(self, other: Outbox) -> int:
        """Take over another outbox's rows with their identity, and go on in a new epoch. Returns how many came."""
        self._spool.begin()
        gone = self._made_room(other.size())
        taken = sum(adopt(self._spool, replace(opening, n=0), rows) for opening, rows in other.holdings())
        recount(self._spool.ask)
        self.commit(gone)  # what went for it is told with the same commit
        self._replaying = Replaying(self._spool)
        self.renew()
        return taken

    def size(self) -> int:
        """Bytes of the file, or of memory."""
        return self._spool.size()

    def renew(self) -> None:
        """Go on in a new epoch."""
        self._now = self._spool.open_epoch(self.instant())
        self.committed = 0

    def tell_lost(self, note: Entry, periods: Mapping[Place, int]) -> None:
        """After a salvage: commit the note and gaps for all numbers that are gone, so that they are told once."""
        self._spool.begin()
        gone = list(lost(self._spool, periods, self.instant()))
        for epoch in self._spool.epochs[:-1]:
            if not epoch.waiting:  # with its lost tail told nothing is left to do
                self._spool.advance(epoch)
        self.commit([note, *gone])

    def placed(self, rows: Sequence[Reading]) -> list[Reading] | None:
        """The rows of a batch with the times that are known for them by now; None if it is better to wait."""
        first = rows[0][0].about
        found = self.boots.placed(first, self.instant())
        if found is None or found == (first.ts, first.clk):
            return list(rows) if found else None
        offset, clk = found[0] - first.bt, found[1]
        return [moved(row, body, offset, clk) for row, body in rows]

    def holdings(self) -> Iterator[tuple[Opening, Iterable[Kept]]]:
        """Every epoch with its rows, for another file to adopt."""
        for opening in openings(self._spool):
            yield opening, rows_of(self._spool, opening)

    def disown(self, epoch: str, after: int) -> None:
        """Delete rows of an epoch above a number: they were never sent and stand elsewhere under another number."""
        self._spool.begin()
        cut_off(self._spool, epoch, after)
        self._spool.commit()
        self.renew()

    def close(self) -> None:
        """Write what is remembered and close the file."""
        self.commit()
        self._spool.close()

    def abandon(self) -> None:
        """Close the file without writing: what was not committed is forgotten here."""
        self._spool.close()

    def _made_room(self, need: int) -> list[Entry]:
        lost: defaultdict[str, list[Reading]] = defaultdict(list)
        full = self._full if self._room is None else min(self._full, self._spool.size() + self._room())
        while self._spool.used() + need > full:
            shed = self._shedding.shed(self._clock.wall())
            if shed is None:
                break
            lost[shed[0]] += ((row, slots_told(row, body)) for row, _, body in shed[1])
        lost.pop("done", None)
        for why, some in lost.items():
            self.drops += len(some)
            self.dropped[why] += len(some)
        if lost:
            self._spool.count_drops(self.drops)
        return [entry for why, some in lost.items() for entry in gaps(some, why, self.instant())]

    def _trim(self) -> None:
        """Keep the newest epoch's line up to date, and delete what is old by a clock that can be believed."""
        wall, boot = self._clock.wall(), self._clock.boot()
        if abs(wall - boot - self._steady[0]) > JUMP_MS:
            self._steady = (wall - boot, boot)
        self._spool.trim(wall - KEEP_MS if boot - self._steady[1] >= STEADY_MS else 0)
        failpoint("outbox.trim")


def _sound(epoch: Epoch, stored: Iterable[Stored]) -> Iterator[Reading]:
    return ((row, json.loads(body)) for row, crc, body in stored if crc == checksum(epoch.n, row, body))
