"""Which nights are behind us, what has arrived since, and who is at work: a small SQLite file in the state folder."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from uuid import uuid4

from cellherd import forms
from cellherd.errors import CellherdError
from pipeline.limits import MINUTE
from pipeline.nightly.site_day import CODE_VERSION, Done, Key

EXPIRES = 30 * MINUTE
"""A worker that was not heard of for so long is dead, and its lock free."""
_TABLES = """
create table if not exists done (site text, day text, code_version integer not null, upto integer not null,
    primary key (site, day)) without rowid;
create table if not exists arrived (site text, day text, upto integer not null, primary key (site, day)) without rowid;
create table if not exists chore (name text primary key, day text not null) without rowid;
create table if not exists took (day text primary key, ms integer not null, ended integer not null) without rowid;
create table if not exists worker (one integer primary key check (one = 1), who text not null, until integer not null);
"""
_NOTE = """
insert into arrived values (?, ?, ?) on conflict (site, day) do update set upto = max(upto, excluded.upto)
"""
_CLAIM = """
insert into worker values (1, ?, ?) on conflict (one) do update set who = excluded.who, until = excluded.until
    where worker.who = excluded.who or worker.until <= ?
"""


class Busy(CellherdError):
    """Somebody else is working through the nights; nothing was done."""

    exit_code = 75  # EX_TEMPFAIL: a timer may simply try again


class Diary:
    """The nights' bookkeeping. All times are UTC ms and come from the caller."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, isolation_level=None, timeout=30)
        self._db.execute("pragma journal_mode = wal")
        forms.prepare_state(self._db, path, _TABLES)
        self._who = uuid4().hex

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def done(self) -> dict[Key, Done]:
        """Every night behind us."""
        rows = self._db.execute("select site, day, code_version, upto from done")
        return {(site, date.fromisoformat(day)): Done(version, upto) for site, day, version, upto in rows}

    def finish(self, site: str, day: date, upto: int) -> None:
        """Note that a night is done, with everything that had arrived `upto` then."""
        row = (site, day.isoformat(), CODE_VERSION, upto)
        self._db.execute("insert or replace into done values (?, ?, ?, ?)", row)

    def took(self, day: date, ms: int, ended: int) -> None:
        """Note how long a day's work took, of all sites that owed it, and when it ended."""
        self._db.execute("insert or replace into took values (?, ?, ?)", (day.isoformat(), ms, ended))

    def arrived(self) -> dict[Key, int]:
        """The newest arrival that is known of each site's day."""
        rows = self._db.execute("select site, day, upto from arrived")
        return {(site, date.fromisoformat(day)): upto for site, day, upto in rows}

    def note(self, arrivals: Mapping[Key, int]) -> None:
        """Remember arrivals; older than known ones change nothing."""
        rows = [(site, day.isoformat(), upto) for (site, day), upto in arrivals.items()]
        self._db.execute("begin immediate")
        self._db.executemany(_NOTE, rows)
        self._db.execute("commit")

    def chore(self, name: str) -> date | None:
        """The UTC date on which a chore was done last."""
        row = self._db.execute("select day from chore where name = ?", (name,)).fetchone()
        return date.fromisoformat(row[0]) if row else None

    def did(self, name: str, day: date) -> None:
        """Note that a chore is done for a day."""
        self._db.execute("insert or replace into chore values (?, ?)", (name, day.isoformat()))

    @contextmanager
    def working(self, now: int) -> Iterator[None]:
        """Be the only worker until the block ends; raises Busy where another one is alive."""
        self.keep(now)
        try:
            yield
        finally:
            self._db.execute("delete from worker where who = ?", (self._who,))

    def keep(self, now: int) -> None:
        """Take the lock, or hold it for another half hour."""
        if self._db.execute(_CLAIM, (self._who, now + EXPIRES, now)).rowcount != 1:
            raise Busy("another `cellherd nightly` is at work on this state folder; it will do what is owed")
