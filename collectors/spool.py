"""The outbox's file: SQLite set up to survive a power cut, and every statement that touches it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any, TypeAlias

from cellherd.forms import LaterForm
from cellherd.paths import sync
from cellherd.runs import runs_of
from collectors import tables, wal, witness
from collectors.entries import About, Instant, Numbered, checksum, columns, compact
from collectors.witness import SAFE, SETTLED, WAITING

CHUNK = 1000
"""Rows of one deletion: more would make the write-ahead log grow."""
COLUMNS = "seq, prio, stack, module, kind, driver, event, ts, bt, clk, boot"

Identity: TypeAlias = tuple[str, str]
"""Stream id, and the random part of the client id."""
Stored: TypeAlias = tuple[Numbered, int, str]
"""A row, the checksum that stands with it, and the text of its body."""


@dataclass(slots=True)
class Epoch:
    """One opening of the file. All numbers up to `mark` are done with; `waiting` rows above it have no receipt."""

    n: int
    id: str
    last: int = 0
    mark: int = 0
    waiting: int = 0
    ahead: bool = True
    """Whether rows above the mark may be done with."""


class Spool:
    """The file. Statements between `begin` and `commit` take effect together or not at all."""

    def __init__(self, path: Path | None, cap_bytes: int) -> None:
        if path is not None and path.exists() and (why := wal.broken(path)):
            raise witness.damaged(why)
        self._db = sqlite3.connect(path or ":memory:", isolation_level=None)
        self._db.text_factory = lambda text: text.decode(errors="replace")  # a broken row must not stop its neighbours
        try:
            tables.prepare(self._db, path, cap_bytes)
            # After a failed fsync the kernel may hold pages for clean that never reached the disk: write them anew.
            self._db.execute("pragma wal_checkpoint(truncate)")
            if path is not None:
                sync(path.parent)
        except (sqlite3.Error, OSError, LaterForm):
            self._db.close()
            raise
        self.epochs: list[Epoch] = []

    def meta(self, wall: int, identity: Identity | None) -> tuple[str, str, int]:
        """Stream id, random part of the client id, and rows dropped so far; made with the file, where not given."""
        stream, client = identity or (token_hex(16), token_hex(8))
        self._db.execute("insert or ignore into meta values (1, ?, ?, ?, 0)", (stream, client, wall))
        row: tuple[str, str, int] = self._db.execute("select stream, client, drops from meta").fetchone()
        return row

    def open_epoch(self, now: Instant) -> Epoch:
        """Read what earlier openings left and begin a new one, so that no number is ever given twice.

        Raises sqlite3.DatabaseError where the file contradicts itself.
        """
        self.begin()
        if not self.epochs:
            witness.check_lines(self._db.execute)
        found = self._db.execute("select n, id, last_seq, mark, waiting from epoch order by n")
        self.epochs = [Epoch(*row) for row in found]
        self._forget_empty()
        new = Epoch(self.epochs[-1].n + 1 if self.epochs else 1, token_hex(8), ahead=False)
        values = (new.n, new.id, now.boot, now.ts, now.bt, now.clk)
        self._db.execute("insert into epoch (n, id, boot, opened_ts, opened_bt, clk) values (?,?,?,?,?,?)", values)
        self.epochs.append(new)
        self._save(new)
        witness.write_roll(self._db.execute)
        self.commit()
        return new

    def _forget_empty(self) -> None:
        for epoch in [e for e in self.epochs[:-1] if not e.waiting and e.mark >= e.last and not self._holds(e)]:
            self._db.execute("delete from epoch where n=?", (epoch.n,))
            for table in ("gone", "spare"):
                self._db.execute(f"delete from {table} where n=?", (epoch.n,))  # noqa: S608 - of these two
            self.epochs.remove(epoch)

    def _holds(self, epoch: Epoch) -> bool:
        return self._db.execute("select 1 from row where n=? limit 1", (epoch.n,)).fetchone() is not None

    def known(self, epoch_id: str) -> Epoch | None:
        """The epoch of that id, if it is kept here."""
        return next((epoch for epoch in self.epochs if epoch.id == epoch_id), None)

    def begin(self) -> None:
        """Open a transaction unless one is open."""
        if not self._db.in_transaction:
            self._db.execute("begin immediate")

    def changed(self) -> bool:
        """Whether something waits for `commit`."""
        return self._db.in_transaction

    def commit(self) -> None:
        """Everything since `begin` is on the disk when this returns."""
        self._db.execute("commit")

    def ask(self, query: str, values: Sequence[object] = ()) -> sqlite3.Cursor:
        """Run one statement of the modules that share this file."""
        return self._db.execute(query, values)

    def many(self, query: str, values: Iterable[Sequence[object]]) -> None:
        """Run one statement for each of these."""
        self._db.executemany(query, values)

    def insert(self, epoch: Epoch, rows: Sequence[Numbered], bodies: Iterable[Mapping[str, object]]) -> None:
        """Add rows with their bodies."""
        bodies = list(bodies)
        for row, body in zip(rows, bodies, strict=True):
            witness.keep_spare(self._db.execute, epoch.n, row, body)
        values = (self._values(epoch, row, compact(body)) for row, body in zip(rows, bodies, strict=True))
        self._db.executemany(f"insert into row values (?{',?' * 14})", values)  # noqa: S608 - question marks only
        self._save(epoch)  # a lost tail shows only where it is known how far the numbers went

    def _values(self, epoch: Epoch, row: Numbered, body: str) -> tuple[object, ...]:
        return (epoch.n, row.seq, row.urgent, *columns(row.about), checksum(epoch.n, row, body), WAITING, body)

    def waiting(self, epoch: Epoch) -> Iterator[Numbered]:
        """Rows without a receipt, oldest first. Raises sqlite3.DatabaseError at their end if there should be others."""
        query = f"select {COLUMNS} from row where n=? and seq>? and state=0 order by seq"  # noqa: S608 - our columns
        count = 0
        for count, row in enumerate(self._db.execute(query, (epoch.n, epoch.mark)), 1):  # noqa: B007 - used below
            yield _numbered(epoch, row)
        if count != epoch.waiting:
            raise witness.damaged(f"{count} rows of epoch {epoch.id} wait, and not {epoch.waiting}")

    def rows(self, epoch: Epoch, seqs: Sequence[int]) -> list[Stored]:
        """Those of these rows that have no receipt."""
        # With a bare `seq>?` SQLite walks through all rows above the mark: seconds a message in a week's backlog.
        where = "n=? and +seq>? and state=0 and seq in (select value from json_each(?))"
        return self._stored(epoch, where, (epoch.mark, json.dumps(seqs)))

    def check_around(self, epoch: Epoch, seqs: Sequence[int], found: Sequence[Stored]) -> None:
        """Of these rows `found` wait: whether the others came to their end. Raises sqlite3.DatabaseError if not."""
        waiting = {row.seq for row, _, _ in found}
        for seq in seqs:
            if seq not in waiting and seq > epoch.mark:
                witness.check_passed(self._db.execute, epoch.n, seq - 1, seq)

    def check_order(self, epoch: Epoch, broken: Sequence[int]) -> None:
        """Whether all that is wrong with an epoch are these rows; raises sqlite3.DatabaseError if not."""
        for seq in broken:
            if self._db.execute("select 1 from spare where n=? and seq=?", (epoch.n, seq)).fetchone():
                raise witness.damaged(f"row {seq} is broken, and it was written down twice")
        witness.check_order(self._db.execute, epoch.n, epoch.mark, epoch.last)

    def newest(self, epoch: Epoch, limit: int) -> list[Stored]:
        """The last rows, newest first, whatever their state."""
        return self._stored(epoch, "n=?", (), f"desc limit {max(limit, 0)}")

    def _stored(self, epoch: Epoch, where: str, values: tuple[object, ...], order: str = "") -> list[Stored]:
        query = f"select crc, body, {COLUMNS} from row where {where} order by seq {order}"  # noqa: S608 - from above
        found = self._db.execute(query, (epoch.n, *values))
        return [(_numbered(epoch, row[2:]), row[0], row[1]) for row in found]

    def safe(self, epoch: Epoch, first: int, last: int) -> None:
        """The rows from first to last have their receipt."""
        first, last = max(first, epoch.mark + 1), min(last, epoch.last)
        if first > last:
            return
        inside = "n=? and seq between ? and ? and state=0"
        if first == epoch.mark + 1:  # the usual case writes one number instead of many rows
            query = f"select count(*) from row where {inside}"  # noqa: S608 - from above
            freed = self._db.execute(query, (epoch.n, first, last)).fetchone()[0]
            epoch.mark = last
        else:
            freed = self._db.execute(f"update row set state={SAFE} where {inside}", (epoch.n, first, last)).rowcount  # noqa: S608 - from above
            epoch.ahead = True
        epoch.waiting -= freed

    def mark(self, epoch: Epoch, seqs: Sequence[int], state: int) -> None:
        """These waiting rows came to their end otherwise than by a receipt: kept, but never sent again."""
        update = "update row set state=? where n=? and seq=?"
        self._db.executemany(update, ((state, epoch.n, seq) for seq in seqs))
        epoch.waiting -= len(seqs)
        epoch.ahead = True
        self.advance(epoch)

    def advance(self, epoch: Epoch) -> None:
        """Move the mark up to the first row that waits, and write the epoch's line.

        Raises sqlite3.DatabaseError where it would pass over a number that has not come to its end.
        """
        query = "select seq from row where n=? and seq>? and state=0 order by seq limit 1"
        first = self._db.execute(query, (epoch.n, epoch.mark)).fetchone() if epoch.waiting else None
        upto = first[0] - 1 if first else epoch.last
        witness.check_passed(self._db.execute, epoch.n, epoch.mark, upto)
        epoch.mark = upto
        self._save(epoch)

    def _save(self, epoch: Epoch) -> None:
        line = epoch.n, epoch.id, epoch.last, epoch.mark, epoch.waiting
        values = (epoch.last, epoch.mark, epoch.waiting, witness.line_sum(line), epoch.n)
        self._db.execute("update epoch set last_seq=?, mark=?, waiting=?, crc=? where n=?", values)

    def again(self, epoch: Epoch, first: int, last: int) -> int:
        """Let the rows from first to last wait again. Returns how many did not."""
        if first > last:
            return 0
        if last < epoch.mark:  # rows between them and the mark stay done with
            update = f"update row set state={SAFE} where n=? and seq>? and seq<=? and state=0"  # noqa: S608 - a number
            self._db.execute(update, (epoch.n, last, epoch.mark))
        update = "update row set state=0 where n=? and seq between ? and ? and (state<>0 or seq<=?)"
        back: int = self._db.execute(update, (epoch.n, first, last, epoch.mark)).rowcount
        epoch.waiting, epoch.mark, epoch.ahead = epoch.waiting + back, min(epoch.mark, first - 1), True
        self._save(epoch)
        return back

    def used(self) -> int:
        """Bytes that rows fill; the file does not shrink, but its free pages are used again."""
        return self.size() - int(self._db.execute("pragma freelist_count").fetchone()[0]) * tables.PAGE

    def size(self) -> int:
        """Bytes of the file; what of them is free is used before it grows."""
        return int(self._db.execute("pragma page_count").fetchone()[0]) * tables.PAGE

    def drop_done(self) -> bool:
        """Delete a chunk of the oldest rows with a receipt. Returns whether there were any."""
        return any(self._delete_done(epoch) for epoch in self.epochs)

    def drop_waiting(self, where: str) -> list[Stored]:
        """Delete a chunk of the oldest rows without a receipt for which `where` holds, and give them back."""
        for epoch in (e for e in self.epochs if e.waiting):
            lost = self._stored(epoch, f"n=? and seq>? and state=0 and {where}", (epoch.mark,), f"limit {CHUNK}")
            if lost:
                return self.drop(epoch, lost)
        return []

    def routine(self, epoch: Epoch, after: int, before_ts: int) -> list[Numbered]:
        """The next chunk of waiting readings that are not urgent, above number `after` and read before `before_ts`."""
        where = "n=? and seq>? and ts<? and state=0 and prio=0 and event=''"
        query = f"select {COLUMNS} from row where {where} order by seq limit {CHUNK}"  # noqa: S608 - our columns
        found = self._db.execute(query, (epoch.n, max(after, epoch.mark), before_ts)).fetchall()
        return [_numbered(epoch, row) for row in found]

    def drop(self, epoch: Epoch, lost: Sequence[Stored]) -> list[Stored]:
        """Delete these waiting rows and give them back."""
        self._delete(epoch, [row.seq for row, _, _ in lost])
        epoch.waiting -= len(lost)
        self.advance(epoch)
        return list(lost)

    def _delete_done(self, epoch: Epoch) -> int:
        below = self._seqs("n=? and seq<=?", (epoch.n, epoch.mark))
        if not below and epoch.ahead:
            below = self._seqs(f"n=? and {SETTLED}", (epoch.n,))
            epoch.ahead = len(below) == CHUNK
        self._delete(epoch, below)
        return len(below)

    def trim(self, oldest_ts: int) -> None:
        """Delete old rows with a receipt, from the oldest epoch that has rows; update the newest epoch's line.

        Looks at a chunk only, so that it takes no longer on a full file.
        """
        query = f"select seq, ts from row where n=? and seq<=? order by seq limit {CHUNK}"  # noqa: S608 - a number
        epoch = next((e for e in self.epochs if self._holds(e)), self.epochs[-1])
        first = self._db.execute(query, (epoch.n, epoch.mark)).fetchall()
        self._delete(epoch, [seq for seq, ts in first if ts < oldest_ts])
        self._save(self.epochs[-1])

    def _seqs(self, where: str, values: tuple[object, ...]) -> list[int]:
        query = f"select seq from row where {where} order by seq limit {CHUNK}"  # noqa: S608 - from above
        return [row[0] for row in self._db.execute(query, values)]

    def _delete(self, epoch: Epoch, seqs: Sequence[int]) -> None:
        self._db.executemany("delete from row where n=? and seq=?", ((epoch.n, seq) for seq in seqs))
        for first, last in runs_of(seqs):
            witness.forget(self._db.execute, epoch.n, first, last)
        self._save(epoch)

    def count_drops(self, drops: int) -> None:
        """Remember how many rows were dropped without a receipt since the file was made."""
        self._db.execute("update meta set drops=?", (drops,))

    def close(self) -> None:
        """Close the file; the last commit stands."""
        self._db.close()


def _numbered(epoch: Epoch, row: Sequence[Any]) -> Numbered:
    return Numbered(epoch.id, row[0], bool(row[1]), About(*row[2:]))
