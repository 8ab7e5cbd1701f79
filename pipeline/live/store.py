"""The engine's memory on disk: its state, its events and its place in the journal, changed in one transaction.

Whoever tells people takes part in that transaction: `on_events(connection, events, now)` is called inside it with the
events that may be told (see docs/live.md), and writes its own tables in the same file.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from cellherd import forms
from cellherd.failpoint import failpoint
from pipeline.live import state
from pipeline.live.engine import Key
from pipeline.live.events import Event
from pipeline.live.pending import PENDING
from pipeline.live.state import Group, Module, Place

OnEvents: TypeAlias = Callable[[sqlite3.Connection, Sequence[Event], int], None]
"""Given the open transaction, the events that may be told, and the time (UTC ms). What it raises undoes everything."""

log = logging.getLogger(__name__)
_TABLES = (
    PENDING
    + """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS module (site TEXT, stack TEXT, module TEXT, state BLOB NOT NULL,
  PRIMARY KEY (site, stack, module)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS stack (site TEXT, edge TEXT, stack TEXT, state BLOB NOT NULL,
  PRIMARY KEY (site, edge, stack)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS event (event_id TEXT PRIMARY KEY, batch INTEGER NOT NULL, row TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS event_batch ON event (batch);
CREATE TABLE IF NOT EXISTS late (site TEXT, date TEXT, readings INTEGER NOT NULL,
  PRIMARY KEY (site, date)) WITHOUT ROWID;
"""
)


def queue_events(connection: sqlite3.Connection, events: Sequence[Event], now: int) -> None:
    """The usual `on_events`: events wait in `pending_event`, in order, until whoever tells people deletes them."""
    rows = ((event.event_id, now, _text(event.row())) for event in events)
    connection.executemany("INSERT OR IGNORE INTO pending_event (event_id, told_at, row) VALUES (?, ?, ?)", rows)


class Changes(msgspec.Struct, frozen=True):
    """What one step changes beside events: modules, groups, late readings by (site, date, count), and the position."""

    modules: Mapping[Key, Module] = {}
    groups: Sequence[Group] = ()
    late: Iterable[tuple[str, str, int]] = ()
    position: int | None = None


class LiveStore:
    """`live.sqlite` in the state folder. One writer; readers as many as they like."""

    def __init__(self, path: Path, on_events: OnEvents = queue_events) -> None:
        self._on_events = on_events
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        forms.prepare_state(self._db, path, _TABLES)

    def modules(self) -> dict[Key, Module]:
        """All that is remembered of modules; what another version wrote and we cannot read begins anew."""
        rows = self._db.execute("SELECT site, stack, module, state FROM module")
        return {(s, t, m): found for s, t, m, data in rows if (found := _decoded(state.module_of, data)) is not None}

    def groups(self) -> dict[Place, Group]:
        """All that is remembered of stacks and sites."""
        rows = self._db.execute("SELECT site, edge, stack, state FROM stack")
        return {(s, e, t, ""): found for s, e, t, d in rows if (found := _decoded(state.group_of, d)) is not None}

    def number(self, name: str) -> int:
        """A number kept under a name, 0 if none was."""
        found = self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return int(found[0]) if found else 0

    def put_number(self, name: str, value: int) -> None:
        """Keep a number under a name."""
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    def commit(self, changes: Changes, events: Sequence[Event], now: int) -> list[Event]:
        """Everything of one step, or nothing. Returns the events that were new."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            new = self._write(changes, events, now)
            failpoint("live-written")
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        failpoint("live-committed")
        return new

    def _write(self, changes: Changes, events: Sequence[Event], now: int) -> list[Event]:
        modules = ((*key, state.encode(module)) for key, module in changes.modules.items())
        self._db.executemany("INSERT OR REPLACE INTO module VALUES (?, ?, ?, ?)", modules)
        groups = ((*group.place[:3], state.encode(group)) for group in changes.groups)
        self._db.executemany("INSERT OR REPLACE INTO stack VALUES (?, ?, ?, ?)", groups)
        late = "INSERT INTO late VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET readings = readings + excluded.readings"
        self._db.executemany(late, changes.late)
        new = []
        batch = self.number("batch") + 1
        for event in events:
            put = self._db.execute(
                "INSERT OR IGNORE INTO event VALUES (?, ?, ?)", (event.event_id, batch, _text(event.row()))
            )
            new += [event] if put.rowcount else []
        if new:
            self.put_number("batch", batch)
        if told := [event for event in new if event.alerts]:
            self._on_events(self._db, told, now)
        if changes.position is not None:
            self.put_number("position", changes.position)
        return new

    def batches(self, after: int) -> list[tuple[int, list[dict[str, Any]]]]:
        """Events by batch, for outlets that have those up to `after`."""
        rows = self._db.execute("SELECT batch, row FROM event WHERE batch > ? ORDER BY batch, rowid", (after,))
        found: dict[int, list[dict[str, Any]]] = {}
        for batch, row in rows:
            found.setdefault(batch, []).append(_row(row))
        return list(found.items())

    def forget(self, before: int, upto: int) -> None:
        """Drop events from before a time (UTC ms) that every outlet has."""
        old = "DELETE FROM event WHERE batch <= ? AND json_extract(row, '$.ts') < ?"
        self._db.execute(old, (upto, before))

    def close(self) -> None:
        """Let the file go."""
        self._db.close()


def _reader(path: Path) -> sqlite3.Connection:
    """A connection that only reads; to an empty memory where the engine has not made its tables yet."""
    if path.exists():
        db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)
        if db.execute("SELECT count(*) FROM sqlite_master WHERE name IN ('event', 'late')").fetchone()[0] == 2:
            return db
        db.close()
    empty = sqlite3.connect(":memory:")
    empty.executescript(_TABLES)
    return empty


def recent(path: Path) -> list[dict[str, Any]]:
    """Events in a live.sqlite, oldest first; none if there is no such file. Does not disturb its writer."""
    with closing(_reader(path)) as db:
        rows = [_row(row) for (row,) in db.execute("SELECT row FROM event ORDER BY batch, rowid")]
    return sorted(rows, key=lambda row: row["ts"])


def late_days(path: Path) -> list[tuple[str, str, int]]:
    """Site, UTC date and how many readings came too late for the live engine: days for the night to replay."""
    with closing(_reader(path)) as db:
        return list(db.execute("SELECT site, date, readings FROM late ORDER BY date, site"))


def replayed(path: Path, site: str, day: str, readings: int) -> None:
    """A late day was replayed with so many late readings; more that came since keep it owed."""
    with closing(sqlite3.connect(path, timeout=30)) as db, db:
        db.execute("UPDATE late SET readings = readings - ? WHERE site = ? AND date = ?", (readings, site, day))
        db.execute("DELETE FROM late WHERE readings <= 0")


def _decoded(decode: Callable[[bytes], Any], data: bytes) -> Any:
    try:
        return decode(data)
    except msgspec.DecodeError as error:
        log.warning("a remembered state cannot be read and begins anew: %s", error)
        return None


def _text(row: dict[str, Any]) -> str:
    return json.dumps({**row, "date": row["date"].isoformat()}, separators=(",", ":"))


def _row(text: str) -> dict[str, Any]:
    row: dict[str, Any] = json.loads(text)
    return row | {"date": date.fromisoformat(row["date"])}
