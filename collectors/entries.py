"""What waits in the outbox: readings and records with their times and checksums, and how several become one message."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from operator import attrgetter
from typing import Any

from cellherd.clock import Quality
from cellherd.reading import KINDS
from cellherd.topics import EDGE, is_id

PACK = 60
"""Most readings in one message."""
CLOCKS_APART_MS = 20
"""A message has one offset between wall and boot clock; where they moved apart by more, a new message begins."""


@dataclass(frozen=True, slots=True)
class About:
    """Whose it is and when it was. `event` is "" for a reading, else the event of a record (design A.2).

    `ts` is ms UTC, `bt` ms since the boot named by `boot`, `clk` how far `ts` can be trusted.
    """

    stack: str
    module: str
    kind: str
    driver: str
    event: str
    ts: int
    bt: int
    clk: str
    boot: str


columns = attrgetter(*(field.name for field in fields(About)))
"""All that an About says, in the order of its fields: `astuple` copies each of them, which takes ten times as long."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One reading (`body` is its row) or record (`body` as in A.2). Urgent ones are sent first and dropped last."""

    about: About
    body: Mapping[str, object]
    urgent: bool = False


@dataclass(frozen=True, slots=True)
class Numbered:
    """An entry that is on the disk: its outbox epoch and number, without the body."""

    epoch: str
    seq: int
    urgent: bool
    about: About


@dataclass(frozen=True, slots=True)
class Batch:
    """What goes into one message: numbers of one epoch and one module, or of one record."""

    epoch: str
    seqs: tuple[int, ...]
    about: About


@dataclass(frozen=True, slots=True)
class Instant:
    """One moment on both clocks, ms, for records that the edge makes itself."""

    ts: int
    bt: int
    clk: Quality
    boot: str


def checksum(epoch: int, numbered: Numbered, body: str) -> int:
    """CRC-32 over everything that a row says: SQLite does not notice a flipped bit."""
    parts = (epoch, numbered.seq, int(numbered.urgent), *columns(numbered.about), body)
    return zlib.crc32("\x1f".join(map(str, parts)).encode("utf-8", "surrogatepass"))


def shifted(body: Mapping[str, object], by: int) -> Mapping[str, object]:
    """The body of a gap record whose times were off by so many ms."""
    if not by:
        return body
    times = {name: at + by for name in ("from_ts", "to_ts") if isinstance(at := body.get(name), int)}
    return {**body, **times}


def compact(body: Mapping[str, object]) -> str:
    """The JSON text of a body."""
    return json.dumps(body, separators=(",", ":"))


def batches(rows: Iterable[Numbered]) -> list[Batch]:
    """Group rows into messages: one epoch, module, driver, kind, boot, clock quality and clock offset; at most PACK.

    Messages stand in the order of their first rows, and their rows in the order given.
    """
    done: list[list[Numbered]] = []
    growing: dict[object, list[Numbered]] = {}
    for row in rows:
        key = (row.epoch, replace(row.about, ts=0, bt=0))
        group = growing.get(key)
        if row.about.event or group is None or len(group) >= PACK or _apart(group[0].about, row.about):
            group = growing[key] = []
            done.append(group)
        group.append(row)
    return [Batch(group[0].epoch, tuple(row.seq for row in group), group[0].about) for group in done]


def grown(rows: Sequence[Numbered]) -> list[Batch]:
    """The messages of the first of many rows. One of the second half that is not full is left out: more may follow."""
    young = {(row.epoch, row.seq) for row in rows[(len(rows) + 1) // 2 :]}
    return [
        batch
        for batch in batches(rows)
        if len(batch.seqs) == PACK or batch.about.event or (batch.epoch, batch.seqs[0]) not in young
    ]


def _apart(first: About, other: About) -> bool:
    return abs((other.ts - other.bt) - (first.ts - first.bt)) > CLOCKS_APART_MS


@dataclass(slots=True)
class _Hole:
    last: About
    reason: str
    from_ts: int
    to_ts: int
    from_seq: int
    to_seq: int
    slots: int


def gaps(lost: Iterable[tuple[Numbered, Mapping[str, object]]], reason: str, now: Instant) -> Iterator[Entry]:
    """One gap record a module and epoch for rows that will not reach the server; of gaps among them also the bodies.

    A lost gap lives on with its own reason and slots, and with the numbers that it told. from_seq..to_seq bounds the
    module's lost numbers of `of_epoch`.
    """
    holes: dict[tuple[str, str, str, str, str], _Hole] = {}
    for given, said in lost:
        about, told = given.about, dict(said) if given.about.event == "gap" else {}
        row, body = moved(given, told, clock_offset(about, now), about.clk)
        for epoch, found in _holes_of(row, body, reason):
            key = (epoch, about.stack, about.module, about.kind, found.reason)
            known = holes.setdefault(key, found)
            if known is not found:
                _widen(known, found)
    for key, hole in holes.items():
        yield gap(hole.last, now, hole.reason, _told(hole) | ({"of_epoch": key[0]} if key[0] else {}))


def _holes_of(row: Numbered, body: Mapping[str, object], reason: str) -> Iterator[tuple[str, _Hole]]:
    """What is lost with a row, by epoch: its own number, and of a gap what it told."""
    about = row.about
    slots, why = body.get("slots", 0) if about.event else 1, str(body.get("reason", reason))
    slots = slots if isinstance(slots, int) else 0
    start, end = body.get("from_ts"), body.get("to_ts")
    times = (start if isinstance(start, int) else about.ts, end if isinstance(end, int) else about.ts)
    first, last, epoch = body.get("from_seq"), body.get("to_seq"), body.get("of_epoch")
    if not isinstance(first, int) or not isinstance(last, int) or not isinstance(epoch, str):
        yield row.epoch, _Hole(about, why, *times, row.seq, row.seq, slots)
        return
    yield epoch, _Hole(about, why, *times, first, last, slots)
    if row.epoch:
        yield row.epoch, _Hole(about, reason, about.ts, about.ts, row.seq, row.seq, 0)


def _widen(hole: _Hole, other: _Hole) -> None:
    """The times bound the slots: a record that is lost with them holds none, and may be of much earlier or later."""
    if other.slots and not hole.slots:
        hole.from_ts, hole.to_ts = other.from_ts, other.to_ts
    elif other.slots or not hole.slots:
        hole.from_ts, hole.to_ts = min(hole.from_ts, other.from_ts), max(hole.to_ts, other.to_ts)
    hole.from_seq, hole.to_seq = min(hole.from_seq, other.from_seq), max(hole.to_seq, other.to_seq)
    hole.slots += other.slots


def _told(hole: _Hole) -> dict[str, object]:
    times = {"from_ts": hole.from_ts, "to_ts": hole.to_ts}
    return times | {"from_seq": hole.from_seq or None, "to_seq": hole.to_seq or None, "slots": hole.slots}


def clock_offset(about: About, now: Instant) -> int:
    """Wall time at the start of a row's boot, ms UTC, for a record that is made now: its times go by one clock."""
    return now.ts - now.bt if about.boot == now.boot else about.ts - about.bt


def never_kept(lost: Iterable[Entry], now: Instant) -> Iterator[Entry]:
    """Gap records for entries that had to be given up before they got a number."""
    return gaps(((Numbered("", 0, entry.urgent, entry.about), entry.body) for entry in lost), "spool_cap", now)


def gap(about: About, now: Instant, reason: str, body: Mapping[str, object]) -> Entry:
    """A gap record for the module that `about` names."""
    here = replace(about, event="gap", ts=now.ts, bt=now.bt, clk=now.clk, boot=now.boot)
    return Entry(here, {"reason": reason, **body}, urgent=True)


def about_edge(now: Instant, event: str) -> About:
    """For records that concern the collector itself."""
    return About(EDGE, EDGE, "station", "", event, now.ts, now.bt, now.clk, now.boot)


def slots_told(row: Numbered, body: str) -> dict[str, Any]:
    """What a gap record said, since it must be said again; of a broken one nothing is known."""
    try:
        return json.loads(body) if row.about.event == "gap" else {}
    except ValueError:
        return {}


def nowhere(row: Numbered) -> Numbered:
    """A broken row, where need be without the words that are broken too."""
    about = row.about
    if is_id(str(about.stack)) and is_id(str(about.module)) and isinstance(about.ts, int) and about.kind in KINDS:
        return row
    nowhere = About(EDGE, EDGE, "station", "", str(about.event), 0, 0, "bad", "")
    return replace(row, about=nowhere)


def moved(row: Numbered, body: dict[str, Any], offset: int, clk: str) -> tuple[Numbered, dict[str, Any]]:
    """A row placed anew on its boot's clock; what a gap tells of times moves with it."""
    about = row.about
    ts = about.bt + offset
    there = dict(shifted(body, ts - about.ts)) if about.event == "gap" else body
    return replace(row, about=replace(about, ts=ts, clk=clk)), there
