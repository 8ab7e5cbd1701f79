"""The ingester's memory between starts: numbers that came, batteries' names, clocks, edges.

It is written when a journal segment is sealed, so that a start needs this and the newer segments, nothing else.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path
from secrets import token_hex
from threading import Lock
from typing import Any

from cellherd import forms
from pipeline.ingest.identity import Claim, Identity, Place
from pipeline.ingest.intervals import Intervals
from pipeline.ingest.receipts import Source

KEPT_IN_MEMORY = 20_000
"""Sources above which those that rest are left to the disk."""
MOST_TOLD = 10_000
"""Runs of told gaps that are remembered of one source."""
BOOTS = 64
"""Boots of one edge whose clocks are remembered."""

_TABLES = """
create table if not exists series (one integer primary key check (one = 1), name text not null);
create table if not exists checkpoint (one integer primary key check (one = 1), segment integer not null);
create table if not exists seen (edge text, stream text, epoch text, runs blob not null,
    primary key (edge, stream, epoch)) without rowid;
create table if not exists told (edge text, stream text, epoch text, runs blob not null,
    primary key (edge, stream, epoch)) without rowid;
create table if not exists place (edge text, stack text, module text, serial text not null, ts integer not null,
    primary key (edge, stack, module)) without rowid;
create table if not exists anchor (edge text primary key, offsets text not null) without rowid;
create table if not exists edge (edge text primary key, last_seen integer not null, online integer, depth integer,
    status text not null, health text not null) without rowid;
"""


class Ledger:
    """The state database and what of it is in memory. All but `edges` belongs to the committer's thread."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._lock = Lock()
        self._db.executescript("pragma journal_mode=wal; pragma synchronous=full; pragma busy_timeout=5000;")
        forms.prepare_state(self._db, path, _TABLES)
        self._seen: dict[Source, Intervals] = {}
        self._told: dict[Source, Intervals] = {}
        self._changed: set[Source] = set()
        self._retold: set[Source] = set()
        self.identity = Identity(dict(self._claims()))
        self._anchors: dict[str, dict[str, int]] = dict(self._offsets())
        self._moved: set[str] = set()

    def seen(self, source: Source) -> Intervals:
        """The numbers that came of a source; add to it only together with `touch`."""
        known = self._seen.get(source)
        if known is None:
            known = self._seen[source] = self._runs("seen", source)
        return known

    def told(self, source: Source) -> Intervals:
        """The numbers of a source that will never come: its edge told a gap of them, or they were refused."""
        known = self._told.get(source)
        if known is None:
            known = self._told[source] = self._runs("told", source)
        return known

    def tell(self, source: Source, first: int, last: int) -> None:
        """These numbers will never come. Of a source with too many runs no more is remembered: no honest one has."""
        told = self.told(source)
        if len(told) < MOST_TOLD:
            told.add(first, last)
            self._retold.add(source)

    def torn(self, edge: str, stream: str) -> list[str]:
        """Epochs of a stream between whose numbers there were holes at the last checkpoint."""
        query = "select epoch, runs from seen where edge=? and stream=?"
        found = ((epoch, Intervals.from_bytes(runs)) for epoch, runs in self._db.execute(query, (edge, stream)))
        return [epoch for epoch, runs in found if runs.upto() < runs.after()]

    def _runs(self, table: str, source: Source) -> Intervals:
        query = f"select runs from {table} where edge=? and stream=? and epoch=?"  # noqa: S608 - from above
        row = self._db.execute(query, source).fetchone()
        return Intervals.from_bytes(row[0]) if row else Intervals()

    def touch(self, source: Source) -> None:
        """The numbers of a source changed and belong into the next checkpoint."""
        self._changed.add(source)

    def anchor(self, edge: str, boot: str, offset_ms: int) -> int:
        """Bring in one more estimate of (UTC ms - boot ms); the smallest counts, for it waited the least on its way."""
        boots = self._anchors.setdefault(edge, {})
        best = boots.get(boot)
        if best is None and len(boots) >= BOOTS:
            del boots[next(iter(boots))]
        if best is None or offset_ms < best:
            best = boots[boot] = offset_ms
            self._moved.add(edge)
        return best

    def checkpoint(self, segment: int, edges: Iterable[tuple[object, ...]]) -> None:
        """Write down everything up to and including a sealed segment, in one transaction.

        Raises sqlite3.Error if the disk refuses; nothing is forgotten then, try again.
        """
        with self._lock, self._db:
            self._db.execute("begin")
            self._db.execute("insert or replace into checkpoint values (1, ?)", (segment,))
            rows = ((*source, self._seen[source].to_bytes()) for source in self._changed)
            self._db.executemany("insert or replace into seen values (?,?,?,?)", rows)
            rows = ((*source, self._told[source].to_bytes()) for source in self._retold)
            self._db.executemany("insert or replace into told values (?,?,?,?)", rows)
            places = ((*place, claim.serial, claim.ts) for place, claim in self.identity.changed())
            self._db.executemany("insert or replace into place values (?,?,?,?,?)", places)
            anchors = ((edge, json.dumps(self._anchors[edge])) for edge in self._moved)
            self._db.executemany("insert or replace into anchor values (?,?)", anchors)
            self._db.executemany("insert or replace into edge values (?,?,?,?,?,?)", edges)
        self._changed.clear()
        self._retold.clear()
        self._moved.clear()
        self.identity.settled()
        if len(self._seen) > KEPT_IN_MEMORY:
            self._seen.clear()
        if len(self._told) > KEPT_IN_MEMORY:
            self._told.clear()

    def checkpointed(self) -> int:
        """The segment up to which the ledger holds everything; 0 at the first start."""
        row = self._db.execute("select segment from checkpoint").fetchone()
        return int(row[0]) if row else 0

    def series(self) -> str:
        """The name of this numbering of segments: a store asked for it knows nothing of a former ledger's numbers."""
        self._db.execute("insert or ignore into series values (1, ?)", (f"ingest-{token_hex(4)}",))
        return str(self._db.execute("select name from series").fetchone()[0])

    def edges(self) -> list[Mapping[str, Any]]:
        """What is known of every edge, as of the last checkpoint."""
        with self._lock:
            rows = self._db.execute("select edge, last_seen, online, depth, status, health from edge").fetchall()
        names = ("edge", "last_seen", "online", "depth")
        return [
            {**dict(zip(names, row, strict=False)), "status": json.loads(row[4]), "health": json.loads(row[5])}
            for row in rows
        ]

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def _claims(self) -> Iterable[tuple[Place, Claim]]:
        for edge, stack, module, serial, ts in self._db.execute("select * from place"):
            yield (edge, stack, module), Claim(serial, ts)

    def _offsets(self) -> Iterable[tuple[str, dict[str, int]]]:
        for edge, offsets in self._db.execute("select * from anchor"):
            yield edge, json.loads(offsets)
