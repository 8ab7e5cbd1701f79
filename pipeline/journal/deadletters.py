"""Messages that could not be taken in, with their bytes and the reason, until a person or a newer version can help."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from cellherd import forms
from pipeline.journal.entry import Dead, Entry

CAP = 2**28
"""Bytes kept; above it the oldest of the loudest edge go first, counted."""

_TABLES = """
create table if not exists letter (id integer primary key, digest blob unique not null, edge text not null,
    topic text not null, payload blob not null, size integer not null, first_ts integer not null,
    last_ts integer not null, times integer not null, site text not null, unit text not null,
    offset_ms integer, skip text not null, code text not null, reason text not null, wanted integer not null default 0);
create index if not exists letter_room on letter (edge, id, size);
create table if not exists dropped (edge text primary key, letters integer not null, bytes integer not null);
"""
_PUT = """
insert into letter (digest, edge, topic, payload, size, first_ts, last_ts, times, site, unit, offset_ms, skip,
    code, reason)
values (?,?,?,?,?,?,?,1,?,?,?,?,?,?)
on conflict (digest) do update set times = times + 1, last_ts = excluded.last_ts, code = excluded.code,
    reason = excluded.reason, wanted = 0
returning times
"""
_DROP = """
delete from letter where id in
    (select id from (select id, size, sum(size) over (order by id) as upto from letter where edge = ?)
    where upto - size < ?)
returning size
"""
_COUNT = """
insert into dropped values (?, ?, ?)
on conflict (edge) do update set letters = letters + excluded.letters, bytes = bytes + excluded.bytes
"""
_ROW = 256  # bytes that a letter takes beside its payload
_GET = "select id, topic, payload, first_ts, last_ts, times, site, unit, offset_ms, skip, code, reason from letter "


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead message: how often and when it came (UTC ms)."""

    id: int
    dead: Dead
    last_ts: int
    times: int


class DeadLetters:
    """The store. The same message is kept once and counted."""

    def __init__(self, path: Path, cap: int = CAP) -> None:
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.executescript("pragma journal_mode=wal; pragma synchronous=full; pragma busy_timeout=5000;")
        forms.prepare_state(self._db, path, _TABLES)
        self._cap = cap
        self._lock = Lock()
        self._size, self._seen = 0, -1

    def put(self, dead: Iterable[Dead]) -> None:
        """Keep messages, durable on return."""
        rows = [_row(one) for one in dead]
        if not rows:
            return
        with self._lock, self._db:
            self._db.execute("begin immediate")
            self._measure()
            for row in rows:
                (times,) = self._db.execute(_PUT, row).fetchone()
                self._size += _size(row) if times == 1 else 0
            while self._size > self._cap:
                self._make_room()

    def newest(self, limit: int = 100) -> list[Letter]:
        """The letters that came last, the newest first."""
        with self._lock:
            found = self._db.execute(_GET + "order by last_ts desc limit ?", (limit,)).fetchall()
        return [_letter(row) for row in found]

    def want(self, number: int | None = None) -> int:
        """Ask the ingester to take a letter, or all, in again; it looks every few seconds. Returns how many."""
        with self._lock:
            asked = self._db.execute("update letter set wanted = 1 where id = coalesce(?, id)", (number,))
        return asked.rowcount

    def wanted(self, limit: int = 100, *, store: str | None = None) -> list[Letter]:
        """Letters that are to be taken in again, the oldest first: messages, or what this store refused."""
        mine, told = ("topic = ?", (store,)) if store else ("(topic not like 'influx%' or code <> 'rejected')", ())
        with self._lock:
            found = self._db.execute(f"{_GET}where wanted and {mine} order by id limit ?", (*told, limit)).fetchall()
        return [_letter(row) for row in found]

    def remove(self, letter: Letter) -> None:
        """Forget a letter that was taken in again, unless it came back dead in the meantime."""
        with self._lock:
            self._db.execute("delete from letter where id = ? and wanted", (letter.id,))
            self._seen = -1

    def counts(self) -> dict[str, int]:
        """How many are kept, and how many were dropped for want of room."""
        with self._lock:
            kept = self._db.execute("select count(*) from letter").fetchone()[0]
            dropped = self._db.execute("select coalesce(sum(letters), 0) from dropped").fetchone()[0]
        return {"kept": int(kept), "dropped": int(dropped)}

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def _measure(self) -> None:
        """Learn the size anew where another process wrote, or letters were removed."""
        (seen,) = self._db.execute("pragma data_version").fetchone()
        if seen != self._seen:
            self._seen = seen
            self._size = int(self._db.execute("select coalesce(sum(size), 0) from letter").fetchone()[0])

    def _make_room(self) -> None:
        """Drop the oldest letters of the loudest edge until a tenth of the cap is free, and count them."""
        (edge,) = self._db.execute("select edge from letter group by edge order by sum(size) desc limit 1").fetchone()
        spare = self._size - self._cap + self._cap // 10
        gone = self._db.execute(_DROP, (edge, spare)).fetchall()
        size = sum(row[0] for row in gone)
        self._db.execute(_COUNT, (edge, len(gone), size))
        self._size -= size


def _size(row: tuple[Any, ...]) -> int:
    return int(row[4])


def _row(dead: Dead) -> tuple[object, ...]:
    entry = dead.entry
    topic = entry.topic[:1024]
    digest = hashlib.blake2b(topic.encode("utf-8", "replace") + b"\0" + entry.payload, digest_size=16).digest()
    edge = topic.split("/")[1] if "/" in topic else ""
    when = entry.arrival_ts
    place = (entry.site, entry.unit, entry.offset_ms, json.dumps(entry.skip))
    return (
        *(digest, edge, topic, entry.payload, len(entry.payload) + _ROW, when, when),
        *(*place, dead.code, dead.reason[:1000]),
    )


def _letter(row: tuple[Any, ...]) -> Letter:
    number, topic, payload, first, last, times, site, unit, offset, skip, code, reason = row
    entry = Entry(topic, payload, first, site, unit, offset, tuple(json.loads(skip)))
    return Letter(number, Dead(entry, code, reason), last, times)
