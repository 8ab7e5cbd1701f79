"""What the outbox's file says a second time, elsewhere in it: so that a flipped bit cannot hide a row.

A row has its checksum, but a bit in a page's head or in an inner page makes rows vanish without an error. So the file
also tells which numbers need not stand there any more (`gone`), who its epochs are (`roll`), and each epoch's line has
a checksum. Whatever disagrees raises sqlite3.DatabaseError: then the file is damaged, and a salvage looks at all of it.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from cellherd.runs import Run, runs_of
from collectors.entries import About, Numbered, columns, compact

Ask: TypeAlias = Callable[..., sqlite3.Cursor]
"""Runs one statement of the file."""
Line: TypeAlias = tuple[int, str, int, int, int]
"""What changes of an epoch: its place, id, last number, mark, waiting rows."""

WAITING, SAFE, REFUSED = 0, 0x33, 0x55
"""States of a row, four bits or more apart. Rows up to their epoch's mark are done with, whatever theirs says."""
SETTLED = f"state in ({SAFE},{REFUSED})"


def sum_of(*values: object) -> int:
    """CRC-32 of what a line says."""
    return zlib.crc32("\x1f".join(map(str, values)).encode("utf-8", "surrogatepass"))


def damaged(what: str) -> sqlite3.DatabaseError:
    """The error that lets the file be salvaged."""
    return sqlite3.DatabaseError(f"the file contradicts itself: {what}")


def forget(ask: Ask, n: int, first: int, last: int) -> None:
    """The numbers first..last of an epoch need not stand in the file any more: done with, or told as a gap."""
    before = ask(
        "select first, last from gone where n=? and first<=? order by first desc limit 1", (n, first)
    ).fetchone()
    if before and before[1] >= first - 1:
        first, last = before[0], max(last, before[1])
    (most,) = ask("select max(last) from gone where n=? and first between ? and ?", (n, first, last + 1)).fetchone()
    ask("delete from gone where n=? and first between ? and ?", (n, first, last + 1))
    last = max(last, most or 0)
    ask("insert into gone values (?,?,?,?)", (n, first, last, sum_of(n, first, last)))
    ask("delete from spare where n=? and seq between ? and ?", (n, first, last))


def gone(ask: Ask, n: int) -> list[Run]:
    """The runs of an epoch that need not stand in the file."""
    return ask("select first, last from gone where n=? order by first", (n,)).fetchall()


def keep_spare(ask: Ask, n: int, numbered: Numbered, body: Mapping[str, object]) -> None:
    """Write a gap that tells of numbers down twice: were it lost, nothing else would tell of them."""
    if numbered.about.event == "gap" and body.get("from_seq") is not None:
        said = json.dumps([numbered.urgent, *columns(numbered.about), body], separators=(",", ":"))
        ask("insert or replace into spare values (?,?,?,?)", (n, numbered.seq, said, sum_of(n, numbered.seq, said)))


def read_spare(epoch: str, n: int, seq: int, said: str, crc: int) -> tuple[Numbered, str] | None:
    """Such a gap and the text of its body, None if it is broken."""
    if crc != sum_of(n, seq, said):
        return None
    urgent, *about, body = json.loads(said)
    return Numbered(epoch, seq, bool(urgent), About(*about)), compact(body)


def cut_off(ask: Ask, n: int, after: int) -> None:
    """The numbers of an epoch above one were never given."""
    ask("delete from spare where n=? and seq>?", (n, after))
    for first, last in gone(ask, n):
        if last > after:
            ask("delete from gone where n=? and first=?", (n, first))
            if first <= after:
                forget(ask, n, first, after)


def check_passed(ask: Ask, n: int, mark: int, upto: int) -> None:
    """Whether every number above the mark, up to one that it is to be moved to, has come to its end. Raises if not."""
    if upto <= mark:
        return
    inside = f"select count(*) from row where n=? and seq>? and seq<=? and {SETTLED}"  # noqa: S608 - our numbers
    (count,) = ask(inside, (n, mark, upto)).fetchone()
    overlap = "select total(min(last, ?) - max(first, ?) + 1) from gone where n=? and first<=? and last>?"
    (more,) = ask(overlap, (upto, mark + 1, n, upto, mark)).fetchone()
    if count + int(more) != upto - mark:
        raise damaged(f"of the numbers {mark + 1} to {upto} some are neither there nor done with")


def check_order(ask: Ask, n: int, mark: int, last: int) -> None:
    """Whether every number above the mark stands there once, or need not. Raises if not."""
    missing, following = gone(ask, n), mark + 1
    seqs = (seq for (seq,) in ask("select seq from row where n=? and seq>? order by seq", (n, mark)))
    for run in runs_of(seqs):
        if run[0] < following or (run[0] > following and not _covered(missing, following, run[0] - 1)):
            raise damaged(f"the numbers before {run[0]} are not those that were given")
        following = run[1] + 1
    if following - 1 > last or (following <= last and not _covered(missing, following, last)):
        raise damaged(f"the last number is not {last}")


def _covered(runs: Sequence[Run], first: int, last: int) -> bool:
    return any(run[0] <= first and last <= run[1] for run in runs)


def line_sum(line: Line) -> int:
    """The checksum of an epoch's line."""
    return sum_of(*line)


def check_lines(ask: Ask) -> None:
    """Whether lines, roll and the ends of the rows agree. Raises if not; a file that is new says nothing yet."""
    lines = ask("select n, id, last_seq, mark, waiting, crc from epoch order by n").fetchall()
    for *line, crc in lines:
        if crc != line_sum(tuple(line)):
            raise damaged(f"the line of epoch {line[1]} has a wrong checksum")
    found = ask("select said, crc from roll").fetchone()
    if (found is None and lines) or (found and (found[1] != sum_of(found[0]) or found[0] != said(ask))):
        raise damaged("its epochs are not those that it should have")
    for n, first, last, crc in ask("select n, first, last, crc from gone"):
        if crc != sum_of(n, first, last):
            raise damaged("a run of numbers that are gone has a wrong checksum")
    last_of = {line[0]: line[2] for line in lines}
    n = -(2**63)
    while found := ask("select n from row where n>? order by n limit 1", (n,)).fetchone():
        (n,) = found
        (last,) = ask("select seq from row where n=? order by seq desc limit 1", found).fetchone()
        if last > last_of.get(n, -1):
            raise damaged(f"a row {last} stands there that was never given")


def said(ask: Ask) -> str:
    """Who the file and its epochs are, as JSON."""
    meta = ask("select stream, client from meta").fetchone()
    lines = ask("select n, id, boot, opened_ts, opened_bt, clk from epoch order by n").fetchall()
    return json.dumps([meta, lines], separators=(",", ":"))


def write_roll(ask: Ask) -> None:
    """Write down who the file and its epochs are."""
    text = said(ask)
    ask("insert or replace into roll values (1, ?, ?)", (text, sum_of(text)))


def read_roll(text: object, crc: object) -> tuple[list[str], list[list[Any]]] | None:
    """Stream and client id, and n, id, boot, opened_ts, opened_bt, clk of each epoch; None if it is broken."""
    if not isinstance(text, str) or crc != sum_of(text):
        return None
    meta, lines = json.loads(text)
    return meta, lines


def recount(ask: Ask) -> None:
    """Write the epochs' lines from their rows, and the roll from the lines."""
    ask(
        "update epoch set last_seq=max(last_seq, coalesce((select max(seq) from row where n=epoch.n), 0)),"
        " waiting=(select count(*) from row where n=epoch.n and seq>epoch.mark and state=0)"
    )
    for line in ask("select n, id, last_seq, mark, waiting from epoch").fetchall():
        ask("update epoch set crc=? where n=?", (line_sum(line), line[0]))
    write_roll(ask)
