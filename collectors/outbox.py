"""Store-and-forward on the edge: everything read lies here, safe from a power cut, until the server has it on its disk.

Each row is (stream, epoch, seq): a random id of this file, a random id of each opening, one counter over all modules.
Rows stay after their receipt as long as there is room, so that the server can ask for them again.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

from cellherd.clock import Clock
from cellherd.failpoint import failpoint
from cellherd.reading import KINDS
from cellherd.topics import EDGE, is_id
from collectors.entries import About, Batch, Entry, Instant, Numbered, checksum, compact, gaps
from collectors.spool import BROKEN, REFUSED, Epoch, Spool, Stored

KEEP_MS = 30 * 86_400_000
"""Receipted rows are kept for a replay up to this age."""
TRIM_EVERY = 50
"""Commits between two trims: done lazily it costs few device writes."""
ROOM = 7 / 8
"""Part of the cap that rows may fill; the rest is for the commit in hand and the gap records of a drop."""
OVERHEAD = 256
"""Bytes of a row beside its body."""

log = logging.getLogger(__name__)

Reading: TypeAlias = tuple[Numbered, dict[str, Any]]


class Outbox:
    """One file, one writer: all calls come from one thread. Every call may raise sqlite3.Error; then open it anew.

    Receipts are remembered at once and written with the next commit: one that is lost in a crash only means that its
    rows are sent again.
    """

    def __init__(self, path: Path, clock: Clock, cap_bytes: int) -> None:
        self._clock = clock
        self._spool = Spool(path, cap_bytes)
        self._full = int(cap_bytes * ROOM)
        self._owed: list[Entry] = []
        self._commits = 0
        self.stream, self.client, self.drops = self._spool.meta(clock.wall())
        self._now = self._spool.open_epoch(self.instant())

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
        said += self._made_room(sum(len(compact(entry.body)) + OVERHEAD for entry in said))
        self._commits += 1
        if self._commits % TRIM_EVERY == 0:
            self._trim()
        rows = [self._numbered(entry) for entry in said]
        self._spool.insert(self._now, rows, [entry.body for entry in said])
        self._spool.commit()
        failpoint("outbox.after_commit")
        self._owed.clear()
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
        """The rows of a batch that still wait, with their bodies. A row that is broken becomes a gap instead."""
        epoch = self._spool.known(batch.epoch)
        if epoch is None:
            return []
        stored = self._spool.rows(epoch, batch.seqs)
        broken = [_placed(row) for row, crc, body in stored if crc != checksum(epoch.n, row, body)]
        if broken:
            self._settle(epoch, [row.seq for row in broken], BROKEN)
            self._owed += gaps(((row, {}) for row in broken), "corrupt_row", self.instant())
        return list(_sound(epoch, stored))

    def reject(self, rows: Sequence[Numbered]) -> None:
        """Give up rows of one epoch that can never be taken; they are kept, and the readings among them become gaps.

        A record that is given up makes no record: that might be refused as well, without end.
        """
        epoch = self._spool.known(rows[0].epoch) if rows else None
        if epoch is not None:
            self._settle(epoch, [row.seq for row in rows], REFUSED)
            self._owed += gaps(((row, {}) for row in rows if not row.about.event), "rejected", self.instant())

    def _settle(self, epoch: Epoch, seqs: Sequence[int], state: int) -> None:
        self._spool.begin()
        self._spool.mark(epoch, seqs, state)

    def receipt(self, stream: str, epoch: str, upto: int, also: Sequence[Sequence[int]] = ()) -> int:
        """The server has all numbers up to `upto`, and those of `also` ([first, last]). Returns how many were freed.

        Receipts may come twice, late, in any order, or for a file that is no longer ours.
        """
        known = self._spool.known(epoch)
        if known is None or stream != self.stream:
            return 0
        failpoint("outbox.before_receipt")
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

    def replay(self, stream: str, epoch: str, first: int, last: int) -> int:
        """The server wants these numbers again, receipt or not. Returns how many of them are still kept."""
        known = self._spool.known(epoch)
        if known is None or stream != self.stream:
            return 0
        self._spool.begin()
        return self._spool.again(known, max(first, 1), min(last, known.last))

    def before(self, limit: int) -> Iterator[Reading]:
        """The newest rows of earlier epochs, newest first, with their bodies: what was known before this opening."""
        for epoch in reversed(self._spool.epochs[:-1]):
            stored = self._spool.newest(epoch, limit)
            yield from _sound(epoch, stored)
            limit -= len(stored)

    def close(self) -> None:
        """Write what is remembered and close the file."""
        self.commit()
        self._spool.close()

    def abandon(self) -> None:
        """Close the file without writing: what was not committed is forgotten here."""
        self._spool.close()

    def _made_room(self, need: int) -> list[Entry]:
        lost: list[Reading] = []
        while self._spool.used() + need > self._full:
            dropped = self._spool.drop()
            if dropped is None:
                break
            lost += ((row, _slots(row, body)) for row, _, body in dropped)
        if lost:
            self.drops += len(lost)
            self._spool.count_drops(self.drops)
        return list(gaps(lost, "spool_cap", self.instant()))

    def _trim(self) -> None:
        self._spool.trim(self._clock.wall() - KEEP_MS)
        failpoint("outbox.trim")


def open_outbox(path: Path, clock: Clock, cap_bytes: int) -> Outbox:
    """Open the outbox; a file that is damaged beyond use is put aside as *.broken and a new one begun.

    Raises sqlite3.OperationalError where the disk is full, read-only or fails.
    """
    try:
        return Outbox(path, clock, cap_bytes)
    except sqlite3.DatabaseError as error:
        if not damaged(error):
            raise
        put_aside(path, error)
        return Outbox(path, clock, cap_bytes)


def damaged(error: sqlite3.Error) -> bool:
    """Whether it is the file's content that is bad, and not the disk below or our own doing."""
    return type(error) is sqlite3.DatabaseError


def put_aside(path: Path, error: sqlite3.Error) -> None:
    """Keep a damaged file for whoever wants to save its rows, one at a time."""
    log.error("%s is damaged (%s); it is kept as %s.broken and a new outbox begins", path, error, path.name)
    for end in ("", "-wal", "-shm"):
        part = path.with_name(path.name + end)
        if part.exists():
            part.replace(path.with_name(path.name + ".broken" + end))


def _sound(epoch: Epoch, stored: Iterable[Stored]) -> Iterator[Reading]:
    return ((row, json.loads(body)) for row, crc, body in stored if crc == checksum(epoch.n, row, body))


def _slots(row: Numbered, body: str) -> dict[str, Any]:
    """What a gap record said, since it must be said again; of a broken one nothing is known."""
    try:
        return json.loads(body) if row.about.event == "gap" else {}
    except ValueError:
        return {}


def _placed(row: Numbered) -> Numbered:
    """A broken row, where need be without the words that are broken too."""
    about = row.about
    if is_id(str(about.stack)) and is_id(str(about.module)) and isinstance(about.ts, int) and about.kind in KINDS:
        return row
    nowhere = About(EDGE, EDGE, "station", "", str(about.event), 0, 0, "bad", "")
    return replace(row, about=nowhere)
