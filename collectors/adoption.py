"""Rows that change their file and keep their identity: from memory back to the disk, or out of a damaged outbox."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from cellherd.runs import Run
from collectors import witness
from collectors.entries import About, Numbered, checksum, columns
from collectors.spool import CHUNK, COLUMNS, Spool
from collectors.witness import forget, gone, keep_spare, recount

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
    gone: tuple[Run, ...] = ()
    """Numbers that need not stand there any more."""


def openings(spool: Spool) -> list[Opening]:
    """The epochs of a file, oldest first, each up to its last row."""
    last = {epoch.id: (epoch.last, epoch.mark) for epoch in spool.epochs}
    found = spool.ask("select n, id, boot, opened_ts, opened_bt, clk from epoch order by n").fetchall()
    told = [(*row, *last[row[1]], tuple(gone(spool.ask, row[0]))) for row in found]
    return [Opening(*values) for values in told]


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

    A row that stands there already stays as it is. Ends with `recount`, once all are there.
    """
    (known,) = spool.ask("select max(n) from epoch where id=?", (opening.id,)).fetchone()
    (highest,) = spool.ask("select max(n) from epoch").fetchone()
    n = known or opening.n or (highest or 0) + 1
    told = (opening.id, opening.boot, opening.opened_ts, opening.opened_bt, opening.clk, opening.last, opening.mark)
    spool.ask("insert or ignore into epoch values (?,?,?,?,?,?,?,?,0,0)", (n, *told))
    for first, last in opening.gone:
        forget(spool.ask, n, first, last)
    insert = f"insert or ignore into row values (?{',?' * 14})"  # noqa: S608 - question marks only
    came = 0
    for row, state, body in rows:
        values = (n, row.seq, row.urgent, *columns(row.about), checksum(n, row, body), state, body)
        came += spool.ask(insert, values).rowcount
        if row.about.event == "gap":
            keep_spare(spool.ask, n, row, json.loads(body))
    return came


def cut_off(spool: Spool, epoch: str, after: int) -> None:
    """Delete the rows of an epoch above a number, as if they had never been."""
    found = spool.ask("select n from epoch where id=?", (epoch,)).fetchone()
    if found:
        spool.ask("delete from row where n=? and seq>?", (*found, after))
        spool.ask("update epoch set last_seq=min(last_seq, ?1), mark=min(mark, ?1) where n=?", (after, *found))
        witness.cut_off(spool.ask, found[0], after)
        recount(spool.ask)
