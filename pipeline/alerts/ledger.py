"""The alerts' memory on disk, in the same file as the live engine's: what one step changes, changes in one transaction.

One process at a time steps the machine (it holds `alerts.lock`); any process may put something in for it.
"""

from __future__ import annotations

import fcntl
import json
import logging
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Any, Literal

import msgspec

from cellherd import forms
from pipeline.alerts.state import Action, Alert, Silence
from pipeline.live.pending import PENDING

DATABASE = "live.sqlite"
TAKEN = 2_000
"""Events of one step at most, so that a step stays short."""
log = logging.getLogger(__name__)
TABLES = (
    PENDING
    + """
CREATE TABLE IF NOT EXISTS alert (id TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS alert_input (n INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS alert_silence (id TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS alert_note (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS delivery (
  number INTEGER PRIMARY KEY, key TEXT NOT NULL, kind TEXT NOT NULL, thread TEXT NOT NULL, priority INTEGER NOT NULL,
  person TEXT NOT NULL, channel TEXT NOT NULL, address TEXT NOT NULL, spare TEXT, message TEXT NOT NULL, plot TEXT,
  state TEXT NOT NULL DEFAULT 'due', queued INTEGER NOT NULL, first INTEGER NOT NULL, not_before INTEGER NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0, repeat INTEGER NOT NULL DEFAULT 0, ended INTEGER NOT NULL DEFAULT 0,
  reference TEXT NOT NULL DEFAULT '', said TEXT NOT NULL DEFAULT '', UNIQUE (key, channel, address));
CREATE INDEX IF NOT EXISTS delivery_state ON delivery (state, channel);
CREATE INDEX IF NOT EXISTS delivery_thread ON delivery (thread, channel, address);
CREATE TABLE IF NOT EXISTS attempt (
  delivery INTEGER NOT NULL, at INTEGER NOT NULL, outcome TEXT NOT NULL DEFAULT 'unknown',
  said TEXT NOT NULL DEFAULT '');
CREATE INDEX IF NOT EXISTS attempt_delivery ON attempt (delivery);
"""
)
Kind = Literal["night", "action"]


def connect(state: Path) -> sqlite3.Connection:
    """The file in the state folder, made if it is new. Transactions are begun by hand."""
    state.mkdir(parents=True, exist_ok=True)
    path = state / DATABASE
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    there = database.execute("SELECT count(*) FROM sqlite_master WHERE name = 'attempt_delivery'").fetchone() == (1,)
    forms.prepare_state(database, path, "" if there else TABLES)
    return database


def version(database: sqlite3.Connection) -> int:
    """Changes with every commit of another connection; costs next to nothing."""
    return int(database.execute("PRAGMA data_version").fetchone()[0])


@contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    """All of it or nothing."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        database.execute("ROLLBACK")
        raise


@contextmanager
def opened(state: Path) -> Iterator[sqlite3.Connection]:
    """A connection for the length of a block."""
    with closing(connect(state)) as database:
        yield database


def lock(state: Path) -> IO[str] | None:
    """The right to step the machine and to send, for as long as the file stays open; None if another one has it."""
    state.mkdir(parents=True, exist_ok=True)
    held = (state / "alerts.lock").open("w")
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        held.close()
        return None
    return held


def put_input(database: sqlite3.Connection, kind: Kind, body: Mapping[str, Any]) -> int:
    """Put something in for the next step; returns its number."""
    row = (kind, json.dumps(body, default=str))
    return int(database.execute("INSERT INTO alert_input (kind, body) VALUES (?, ?)", row).lastrowid or 0)


def taken(database: sqlite3.Connection, number: int) -> bool:
    """Whether a step has taken an input."""
    return database.execute("SELECT 1 FROM alert_input WHERE n = ?", (number,)).fetchone() is None


def act(database: sqlite3.Connection, action: Action) -> int:
    """Put an operator's decision in for the next step; from the command line, a button or a reply."""
    return put_input(database, "action", msgspec.to_builtins(action))


def inputs(database: sqlite3.Connection) -> tuple[list[tuple[int, str]], list[tuple[int, str, str]]]:
    """What waits: events as (n, row), and everything else as (n, kind, body)."""
    events = database.execute("SELECT n, row FROM pending_event ORDER BY n LIMIT ?", (TAKEN,)).fetchall()
    return events, database.execute("SELECT n, kind, body FROM alert_input ORDER BY n").fetchall()


def drop_inputs(database: sqlite3.Connection, event: int, other: int) -> None:
    """Inputs up to these numbers are taken."""
    database.execute("DELETE FROM pending_event WHERE n <= ?", (event,))
    database.execute("DELETE FROM alert_input WHERE n <= ?", (other,))


def alerts(database: sqlite3.Connection) -> dict[str, Alert]:
    """All alerts, open or over; what another version wrote and we cannot read is left out, and said."""
    found = (_read(body, Alert) for (body,) in database.execute("SELECT body FROM alert"))
    return {alert.id: alert for alert in found if alert is not None}


def put_alerts(database: sqlite3.Connection, changed: Sequence[Alert]) -> None:
    """Remember alerts as they are now."""
    rows = ((alert.id, msgspec.json.encode(alert).decode()) for alert in changed)
    database.executemany("INSERT OR REPLACE INTO alert VALUES (?, ?)", rows)


def silences(database: sqlite3.Connection) -> list[Silence]:
    """What operators keep back."""
    found = (_read(body, Silence) for (body,) in database.execute("SELECT body FROM alert_silence ORDER BY id"))
    return [silence for silence in found if silence is not None]


def put_silence(database: sqlite3.Connection, silence: Silence) -> None:
    """Keep troubles back, from the next step on. The same id again replaces it."""
    row = (silence.id, msgspec.json.encode(silence).decode())
    database.execute("INSERT OR REPLACE INTO alert_silence VALUES (?, ?)", row)


def note(database: sqlite3.Connection, name: str) -> str:
    """Something small that is remembered, "" if it is not."""
    found = database.execute("SELECT value FROM alert_note WHERE name = ?", (name,)).fetchone()
    return str(found[0]) if found else ""


def put_note(database: sqlite3.Connection, name: str, value: str) -> None:
    """Remember something small."""
    database.execute("INSERT OR REPLACE INTO alert_note VALUES (?, ?)", (name, value))


def drop_notes(database: sqlite3.Connection, begin: str) -> None:
    """Forget what is noted under names that begin so."""
    database.execute("DELETE FROM alert_note WHERE substr(name, 1, ?) = ?", (len(begin), begin))


def _read(body: str, form: Any) -> Any:
    try:
        return msgspec.json.decode(body, type=form)
    except msgspec.DecodeError as error:
        log.warning("a remembered %s cannot be read and is left out: %s", form.__name__, error)
        return None
