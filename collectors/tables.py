"""The tables of the outbox's file, set up to survive a power cut; and how a file of before gets those that it lacks."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from cellherd import forms
from cellherd.runs import runs_of
from collectors.witness import REFUSED, SAFE, Ask, forget, recount

PAGE = 4096
VERSION = 1
"""Of the tables; 0 is a file without `gone` and `roll`, or a new one."""

# Measured: NORMAL loses the last half minute at a power cut, and max_page_count alone does not bound the log.
_SETUP = """
pragma page_size = {page};
pragma journal_mode = wal;
pragma synchronous = full;
pragma wal_autocheckpoint = 64;
pragma journal_size_limit = 1048576;
pragma busy_timeout = 5000;
pragma max_page_count = {pages};
begin;
create table if not exists meta (one integer primary key check (one = 1), stream text not null, client text not null,
    made_ts integer not null, drops integer not null default 0);
create table if not exists epoch (n integer primary key, id text not null unique, boot text not null,
    opened_ts integer not null, opened_bt integer not null, clk text not null,
    last_seq integer not null default 0, mark integer not null default 0, waiting integer not null default 0,
    crc integer not null default 0);
create table if not exists boot (id text primary key, offset_ms integer not null, clk text not null) without rowid;
create table if not exists row (n integer not null, seq integer not null, prio integer not null, stack text not null,
    module text not null, kind text not null, driver text not null, event text not null, ts integer not null,
    bt integer not null, clk text not null, boot text not null, crc integer not null,
    state integer not null default 0, body text not null, primary key (n, seq)) without rowid;
create table if not exists gone (n integer not null, first integer not null, last integer not null,
    crc integer not null, primary key (n, first)) without rowid;
create table if not exists spare (n integer not null, seq integer not null, said text not null,
    crc integer not null, primary key (n, seq)) without rowid;
create table if not exists roll (one integer primary key check (one = 1), said text not null, crc integer not null);
commit;
"""


def prepare(db: sqlite3.Connection, path: Path | None, cap_bytes: int) -> None:
    """Make what is not there. Raises sqlite3.Error, and LaterForm for a file that another version of us wrote."""
    form = forms.form_of(db, path or "memory", VERSION)
    db.executescript(_SETUP.format(page=PAGE, pages=cap_bytes // PAGE))
    if form < VERSION:
        _migrate(db)


def _migrate(db: sqlite3.Connection) -> None:
    """Give the file its witnesses, trusting it as it stands."""
    ask = db.execute
    ask("begin immediate")
    if "crc" not in [column[1] for column in ask("pragma table_info(epoch)")]:
        ask("alter table epoch add column crc integer not null default 0")
    ask("delete from row where state=3")
    ask(f"update row set state=case state when 1 then {SAFE} else {REFUSED} end where state in (1,2)")  # noqa: S608 - our numbers
    for n, line_last in ask("select n, last_seq from epoch").fetchall():
        (last,) = ask("select max(seq) from row where n=?", (n,)).fetchone()
        _as_it_stands(ask, n, max(last or 0, line_last))
    if ask("select 1 from meta").fetchone():
        recount(ask)
    forms.say_form(db, VERSION)
    ask("commit")


def _as_it_stands(ask: Ask, n: int, last: int) -> None:
    following = 1
    seqs = (seq for (seq,) in ask("select seq from row where n=? order by seq", (n,)).fetchall())
    for run in [*runs_of(seqs), (last + 1, last + 1)]:
        if following < run[0]:
            forget(ask, n, following, run[0] - 1)
        following = run[1] + 1
