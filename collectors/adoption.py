"""Rows that change their file and keep their identity: from memory back to the disk, or out of a damaged outbox."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass
from typing import TypeAlias

from collectors.entries import About, Numbered, checksum
from collectors.spool import CHUNK, COLUMNS, Spool

Kept: TypeAlias = tuple[Numbered, int, str]
"""A row, its state and the text of its body."""


@dataclass(frozen=True, slots=True)
class Opening:
    """An epoch with all that is known of it. `n` is its place among the epochs; 0: behind all that are there."""

    n: int
    id: str
    boot: str
    opened_ts: int
    opened_bt: int
    clk: str
    last: int
    mark: int


def openings(spool: Spool) -> list[Opening]:
    """The epochs of a file, oldest first, each up to its last row."""
    last = {epoch.id: (epoch.last, epoch.mark) for epoch in spool.epochs}
    found = spool.ask("select n, id, boot, opened_ts, opened_bt, clk from epoch order by n").fetchall()
    return [Opening(*row, *last[row[1]]) for row in found]  # type: ignore[call-arg]  # SQLite's rows are untyped


def rows_of(spool: Spool, opening: Opening) -> Iterator[Kept]:
    """All rows of an epoch, with a receipt or without, that are sound."""
    after = 0
    query = f"select {COLUMNS}, state, crc, body from row where n=? and seq>? order by seq limit {CHUNK}"  # noqa: S608 - our columns
    while found := spool.ask(query, (opening.n, after)).fetchall():
        after = found[-1][0]
        for seq, prio, *rest, state, crc, body in found:
            row = Numbered(opening.id, seq, bool(prio), About(*rest))
            if crc == checksum(opening.n, row, body):
                yield row, state, body


def adopt(spool: Spool, opening: Opening, rows: Iterable[Kept]) -> int:
    """Put an epoch and its rows into this file, within the open transaction. Returns how many rows it did not have.

    A row that stands there already stays as it is. Ends with `count_again`, once all are there.
    """
    (known,) = spool.ask("select max(n) from epoch where id=?", (opening.id,)).fetchone()
    (highest,) = spool.ask("select max(n) from epoch").fetchone()
    n = known or opening.n or (highest or 0) + 1
    told = (opening.id, opening.boot, opening.opened_ts, opening.opened_bt, opening.clk, opening.last, opening.mark)
    spool.ask("insert or ignore into epoch values (?,?,?,?,?,?,?,?,0)", (n, *told))
    before = spool.changes()
    insert = f"insert or ignore into row values (?{',?' * 14})"  # noqa: S608 - question marks only
    spool.many(
        insert, ((n, r.seq, r.urgent, *astuple(r.about), checksum(n, r, body), state, body) for r, state, body in rows)
    )
    return spool.changes() - before


def count_again(spool: Spool) -> None:
    """Write the epochs' lines from their rows."""
    spool.ask(
        "update epoch set last_seq=max(last_seq, coalesce((select max(seq) from row where n=epoch.n), 0)),"
        " waiting=(select count(*) from row where n=epoch.n and seq>epoch.mark and state=0)"
    )


def cut_off(spool: Spool, epoch: str, after: int) -> None:
    """Delete the rows of an epoch above a number, as if they had never been."""
    found = spool.ask("select n from epoch where id=?", (epoch,)).fetchone()
    if found:
        spool.ask("delete from row where n=? and seq>?", (*found, after))
        spool.ask("update epoch set last_seq=min(last_seq, ?) where n=?", (after, *found))
        count_again(spool)
