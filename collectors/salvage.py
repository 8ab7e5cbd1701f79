"""Gets an outbox going again whatever happened to its file: saves the rows that can be saved, tells of the others.

The rows keep their identity, so that the server knows those that it has. It can be killed at any moment: the damaged
file stands aside as *.broken until a new one is complete.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeGuard

from cellherd.clock import Clock
from cellherd.failpoint import failpoint
from cellherd.paths import sync
from cellherd.reading import KINDS
from cellherd.runs import Run
from collectors.adoption import Kept, Opening, adopt
from collectors.carve import TABLE_LEAF, Pages, Value, records
from collectors.entries import About, Numbered, checksum
from collectors.spool import Identity, Spool
from collectors.witness import REFUSED, SAFE, WAITING, line_sum, read_roll, read_spare, recount, sum_of

PARTS = ("", "-wal", "-shm")
ASIDE_BYTES = 8 * 2**20
"""So much of a damaged file is kept for whoever wants to look at it."""
BATCH = 5000
"""Rows of one transaction, and between two signs of life."""

CONTENT = {
    sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CONSTRAINT,
    sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_FORMAT,
}  # fmt: skip
"""Errors that a bad bit makes of a table's name, a type or a key."""
log = logging.getLogger(__name__)

Alive = Callable[[], None]


@dataclass(slots=True)
class Saved:
    """What a damaged file still told. `sure` is an identity that stands there with its checksum."""

    identity: Identity | None = None
    sure: Identity | None = None
    openings: dict[int, Opening] = field(default_factory=dict)
    rows: int = 0
    broken: int = 0
    """Rows that stood there, but whose checksum was wrong."""


def damaged(error: sqlite3.Error) -> bool:
    """Whether it is the file's content that is bad, and not the disk below: our own statements and values are right."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK)
    return type(error) is sqlite3.DatabaseError or code & 0xFF in CONTENT


def broken_of(path: Path) -> Path:
    """Where the damaged file stands."""
    return path.with_name(path.name + ".broken")


def put_aside(path: Path) -> None:
    """Set a damaged file aside; there is one such at a time. Raises OSError where the disk refuses."""
    for end in PARTS:
        part, aside = path.with_name(path.name + end), path.with_name(broken_of(path).name + end)
        aside.unlink(missing_ok=True)
        if part.exists():
            part.replace(aside)
    sync(path.parent)


def new_of(path: Path) -> Path:
    """Where the new file is made."""
    return path.with_name(path.name + ".new")


def unfinished(path: Path) -> bool:
    """Whether a salvage was begun and did not come to its end."""
    return not path.exists() and broken_of(path).exists()


def salvage(path: Path, clock: Clock, cap_bytes: int, identity: Identity | None, alive: Alive) -> Saved:
    """Make a new file at `new_of(path)` from the rows of the one that was put aside. Calls `alive` now and then.

    It is the outbox only after `finish`, so that what is lost is told in it before.

    Raises OSError or sqlite3.OperationalError where the disk refuses; then it may be tried again.
    """
    new = new_of(path)
    for end in PARTS:
        new.with_name(new.name + end).unlink(missing_ok=True)
    pages = Pages(broken_of(path))
    spool = Spool(new, cap_bytes)
    try:
        spool.ask("pragma synchronous = off")  # it is not the outbox before it is complete
        saved = _heads(pages)
        saved.identity = saved.sure or saved.identity or identity
        spool.meta(clock.wall(), saved.identity)
        _move(pages, saved, spool, alive)
        spool.ask("pragma synchronous = full")
        spool.ask("pragma wal_checkpoint(truncate)")
    finally:
        pages.close()
        spool.close()
    return saved


def finish(path: Path) -> None:
    """Put the new file, closed and complete, in the place of the damaged one. Raises OSError."""
    new = new_of(path)
    failpoint("salvage.before_rename")
    sync(new)
    new.replace(path)
    sync(path.parent)
    _cut(broken_of(path))


def _heads(pages: Pages) -> Saved:
    """The file's identity and its epochs, from their lines, from the roll, or from the index on the epochs' ids."""
    saved = Saved()
    rolled: dict[int, Opening] = {}
    ids: dict[int, str] = {}
    gone: dict[int, list[Run]] = defaultdict(list)
    for kind, record in records(pages):
        match record:
            case [int(), str(stream), str(client), int(), int()] if kind == TABLE_LEAF and _hex(stream, 32):
                saved.identity = saved.identity or (stream, client)
            case [int(), str(said), int(crc)] if kind == TABLE_LEAF and (roll := read_roll(said, crc)):
                saved.sure = roll[0][0], roll[0][1]
                rolled = {line[0]: Opening(*line, 0, 0) for line in roll[1]}  # type: ignore[call-arg]  # six values
            case [int(n), str(id_), str(boot), int(ts), int(bt), str(clk), int(last), int(mark), int(some), *crc] if (
                _hex(id_, 16) and crc in ([], [line_sum((n, id_, last, mark, some))])
            ):
                saved.openings[n] = Opening(n, id_, boot, ts, bt, clk, last, mark)
            case [int(n), int(first), int(last), int(crc)] if crc == sum_of(n, first, last):
                gone[n].append((first, last))
            case [str(id_), int(n)] if _hex(id_, 16):
                ids[n] = id_
            case _:
                pass
    saved.openings = _openings(saved.openings, rolled, ids, gone)
    return saved


def _openings(
    lines: Mapping[int, Opening], rolled: Mapping[int, Opening], ids: Mapping[int, str], gone: Mapping[int, list[Run]]
) -> dict[int, Opening]:
    """An epoch whose line is lost begins after the numbers that need not stand there, and ends with its last row."""
    bare = {n: Opening(n, id_, "0" * 8, 0, 0, "bad", 0, 0) for n, id_ in ids.items()}
    found: dict[int, Opening] = {}
    for n, opening in ({**lines, **rolled} if rolled else {**bare, **lines}).items():
        line = lines.get(n)
        last, mark = (line.last, line.mark) if line else (0, 0)
        found[n] = replace(opening, last=last, mark=mark, gone=tuple(gone.get(n, ())))
    return found


def _hex(text: str, digits: int) -> bool:
    return len(text) == digits and set(text) <= set("0123456789abcdef")


def _move(pages: Pages, saved: Saved, spool: Spool, alive: Alive) -> None:
    found: dict[int, list[Kept]] = defaultdict(list)

    def write() -> None:
        spool.begin()
        for n, rows in found.items():
            saved.rows += adopt(spool, saved.openings[n], rows)
        spool.commit()
        found.clear()
        alive()

    for count, (n, kept) in enumerate(_rows(pages, saved)):
        found[n].append(kept)
        if count % BATCH == BATCH - 1:
            write()
    for n in saved.openings:
        found.setdefault(n, [])
    write()
    recount(spool.ask)


def _rows(pages: Pages, saved: Saved) -> Iterator[tuple[int, Kept]]:
    """Rows that are sound; of gaps that are not, and tell of numbers, what was written down twice."""
    spare: list[tuple[int, Kept]] = []
    for kind, record in records(pages):
        match record:
            case [int(of), int(number), str(said), int(told)] if of in saved.openings:
                if twice := read_spare(saved.openings[of].id, of, number, said, told):
                    spare.append((of, (twice[0], WAITING, twice[1])))
        if kind == TABLE_LEAF or len(record) != 15:
            continue
        n, seq, prio, *about, crc, state, body = record
        if not isinstance(n, int) or n not in saved.openings or not isinstance(seq, int) or not isinstance(body, str):
            continue
        if not _is_about(about) or not isinstance(state, int):
            saved.broken += 1
            continue
        row = Numbered(saved.openings[n].id, seq, bool(prio), About(*about))  # type: ignore[arg-type]  # looked at above
        if any(first <= seq <= last for first, last in saved.openings[n].gone):
            continue  # from a page that is free by now
        if crc == checksum(n, row, body):
            yield n, (row, state if state in (SAFE, REFUSED) else WAITING, body)
        else:
            saved.broken += 1
    yield from spare


def _is_about(values: list[Value]) -> TypeGuard[list[str | int]]:
    texts, (ts, bt) = (*values[:5], *values[7:]), values[5:7]
    return all(isinstance(t, str) for t in texts) and type(ts) is type(bt) is int and values[2] in KINDS


def _cut(broken: Path) -> None:
    """Keep only so much of the damaged file that the disk's bound holds."""
    with suppress(OSError):
        for end in PARTS:
            part = broken.with_name(broken.name + end)
            if part.exists() and part.stat().st_size > ASIDE_BYTES:
                os.truncate(part, ASIDE_BYTES)


def read_identity(path: Path) -> Identity | None:
    """The identity that stands beside the outbox, for when its own is lost; None if there is none to be read."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        told = json.loads(path.read_text())
        if _hex(told["stream"], 32) and _hex(told["client"], 16):
            return str(told["stream"]), str(told["client"])
    return None


def write_identity(path: Path, identity: Identity) -> None:
    """Put the identity beside the outbox, unless it stands there. A disk that refuses is no reason to stop."""
    if read_identity(path) == identity:
        return
    with suppress(OSError):
        new = path.with_name(path.name + ".new")
        new.write_text(json.dumps({"stream": identity[0], "client": identity[1]}))
        sync(new)
        new.replace(path)
        sync(path.parent)
