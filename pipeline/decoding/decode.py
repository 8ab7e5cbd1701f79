"""Journal entries to tables: each reading and record a row, each message that cannot be read set aside with its reason.

A pure function of the entries, so that each store may decode them again and get the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from typing import Any, TypeAlias

import numpy as np
import polars as pl

from cellherd import topics
from cellherd.clock import EARLIEST, LATEST_AHEAD
from cellherd.errors import BadPayload
from cellherd.topics import Topic
from cellherd.wire import MAX_OUT, inflate
from pipeline.decoding import columns, numbers, records
from pipeline.decoding.columns import Message, Told
from pipeline.decoding.numbers import Block
from pipeline.journal.entry import Dead, Entry
from pipeline.schema import PLACE, TABLES, Schema

_ROWS = 2**15
"""Readings taken apart together: a segment of deflated history has six times as many, and each of them is several
hundred bytes of Python's objects and text until it is a row.
"""
_OF_MESSAGE: Schema = {
    **PLACE,
    **dict.fromkeys(("stream", "epoch", "clk", "driver"), pl.String),
    **dict.fromkeys(("t0", "bt0", "arrival_ts", "offset_ms"), pl.Int64),
}


@dataclass(frozen=True, slots=True)
class Decoded:
    """Frames by table with the columns of `pipeline.schema` (empty where nothing came), and what could not be read.

    `unknown` counts the keys that we do not know and therefore left out.
    """

    frames: Mapping[str, pl.DataFrame]
    dead: list[Dead] = field(default_factory=list)
    unknown: int = 0


@dataclass(frozen=True, slots=True)
class _Readings:
    entry: Entry
    topic: Topic
    message: Message
    unknown: int


@dataclass(frozen=True, slots=True)
class _Record:
    entry: Entry
    topic: Topic
    table: str
    row: dict[str, Any]
    unknown: int


_Outcome: TypeAlias = _Readings | _Record | Dead
_Reader: TypeAlias = Callable[[bytes], tuple[Message, int]]


def decode(entries: Sequence[Entry]) -> Decoded:
    """Decode the readings (`r`, `rz`) and records (`e`) among the entries; status and health have no table.

    Rows keep the order of the entries; seqs in an entry's `skip` are left out.
    """
    parts: dict[str, list[pl.DataFrame]] = {table: [] for table in ("reading", *records.TABLES)}
    dead: list[Dead] = []
    unknown = 0
    for found in _helpings(entries):
        readings, blocks, late = _fitting([one for one in found if isinstance(one, _Readings)])
        recorded = [one for one in found if isinstance(one, _Record)]
        dead += [*(one for one in found if isinstance(one, Dead)), *late]
        unknown += sum(one.unknown for one in readings) + sum(one.unknown for one in recorded)
        parts["reading"] += _of_readings(readings, blocks)
        for table in records.TABLES:
            parts[table] += _of_records(table, [one for one in recorded if one.table == table])
    return Decoded({table: _finished(table, some) for table, some in parts.items()}, dead, unknown)


def _helpings(entries: Sequence[Entry]) -> Iterator[list[_Outcome]]:
    some: list[_Outcome] = []
    rows = 0
    for entry in entries:
        if one := _read(entry):
            some.append(one)
            rows += len(one.message.told.seq) if isinstance(one, _Readings) else 1
        if rows >= _ROWS:
            yield some
            some, rows = [], 0
    yield some


def _fitting(readings: list[_Readings]) -> tuple[list[_Readings], list[Block], list[Dead]]:
    """The messages whose numbers all fit their columns, their numbers, and the other messages.

    Whether one does not fit is seen when many are numbers already; then the strict reader has to say why.
    """
    found = numbers.blocks([one.message.numbers for one in readings])
    places = chain.from_iterable(block.doubtful for block in found)
    doubtful = {place for place in places if not readings[place].message.sure}
    if not doubtful:
        return readings, found, []
    again = [_read(one.entry, columns.slow) if at in doubtful else one for at, one in enumerate(readings)]
    kept = [one for one in again if isinstance(one, _Readings)]
    return (
        kept,
        numbers.blocks([one.message.numbers for one in kept]),
        [one for one in again if isinstance(one, Dead)],
    )


def _read(entry: Entry, read: _Reader = columns.read) -> _Outcome | None:
    try:
        topic = _topic(entry.topic)
        if topic.channel in ("r", "rz"):
            return _readings(entry, topic, read)
        return _record(entry, topic) if topic.channel == "e" else None
    except BadPayload as error:
        return Dead(entry, error.code, error.reason)


_topic = lru_cache(65536)(topics.parse)


def _readings(entry: Entry, topic: Topic, read: _Reader) -> _Readings:
    payload = inflate(entry.payload) if topic.channel == "rz" else _bounded(entry.payload)
    message, unknown = read(payload)
    _check_module(message.told.module, topic)
    return _Readings(entry, topic, message, unknown)


def _record(entry: Entry, topic: Topic) -> _Record | None:
    table, row, unknown = records.read(_bounded(entry.payload))
    _check_module(row["module"], topic)
    return None if row["seq"] in entry.skip else _Record(entry, topic, table, row, unknown)


def _bounded(payload: bytes) -> bytes:
    if len(payload) > MAX_OUT:
        raise BadPayload("too_big", f"{len(payload)} bytes are more than {MAX_OUT}")
    return payload


def _check_module(module: str, topic: Topic) -> None:
    if module != topic.module:
        raise BadPayload("schema", f"module {module!r} on the topic of {topic.module!r}")


def _of_readings(readings: list[_Readings], blocks: Sequence[Block]) -> list[pl.DataFrame]:
    """All readings but the doubled ones. What is said once a message is spread over its readings."""
    if not readings:
        return []
    told = zip(*(_head(one.entry, one.topic, one.message.told) for one in readings), strict=True)
    heads = pl.DataFrame([
        pl.Series(name, values, kind) for (name, kind), values in zip(_OF_MESSAGE.items(), told, strict=True)
    ])  # fmt: skip
    counts = [len(one.message.told.seq) for one in readings]
    if sum(counts) > len(counts):
        heads = heads[np.repeat(np.arange(len(heads)), counts)]
    frame = heads.hstack(columns.table([one.message for one in readings], blocks))
    if not any(one.entry.skip for one in readings):
        return [frame]
    fresh = [seq not in one.entry.skip for one in readings for seq in one.message.told.seq]
    return [frame.filter(pl.Series(fresh))]


def _head(entry: Entry, topic: Topic, told: Told) -> tuple[object, ...]:
    place = (topic.edge, entry.site, topic.stack, topic.module, entry.unit, told.kind)
    own = (told.stream, told.epoch, told.clk, told.driver)
    return (*place, *own, told.t0, told.bt0, entry.arrival_ts, entry.offset_ms)


def _of_records(table: str, found: list[_Record]) -> list[pl.DataFrame]:
    if not found:
        return []
    told = {name: kind for name, kind in TABLES[table].items() if name not in ("date", "ts")}
    rows = [_row(one.entry, one.topic, one.row) for one in found]
    return [pl.DataFrame(rows, {**_OF_MESSAGE, "dt": pl.Int64, **told})]


def _row(entry: Entry, topic: Topic, row: dict[str, Any]) -> dict[str, Any]:
    place = {"edge": topic.edge, "site": entry.site, "stack": topic.stack, "unit": entry.unit}
    times = {"t0": columns.clip(row["ts"]), "bt0": columns.clip(row["bt"]), "dt": 0}
    return row | place | times | {"arrival_ts": entry.arrival_ts, "offset_ms": entry.offset_ms}


def _finished(table: str, parts: list[pl.DataFrame]) -> pl.DataFrame:
    schema = TABLES[table]
    if not parts:
        return pl.DataFrame(schema=schema)
    frame = _stamped(pl.concat(parts, how="diagonal"))  # left in chunks: in one they would be there twice
    begun = pl.col("from_ts") if table == "gap" else pl.lit(None, pl.Int64)
    begun = pl.when(begun.is_between(EARLIEST, pl.col("ts"))).then(begun).otherwise("ts")
    frame = frame.with_columns(date=pl.from_epoch(begun, "ms").dt.date())
    absent = [pl.lit(None, kind).alias(name) for name, kind in schema.items() if name not in frame.columns]
    return frame.with_columns(absent).select(schema.keys())


def _stamped(frame: pl.DataFrame) -> pl.DataFrame:
    """Fix `ts` and `clk`: the edge's clock if it is good, else the server's anchor of its boot clock, else arrival."""
    own, anchored = pl.col("t0") + pl.col("dt"), pl.col("offset_ms") + pl.col("bt0") + pl.col("dt")
    trusted = pl.col("clk").is_in(["ntp", "srv"]) | pl.col("offset_ms").is_null()
    chosen = frame.with_columns(
        ts=pl.when(trusted).then(own).otherwise(anchored),
        clk=pl.when(trusted).then("clk").otherwise(pl.lit("srv")),
    )
    sane = pl.col("ts").is_between(EARLIEST, pl.col("arrival_ts") + LATEST_AHEAD)
    return chosen.with_columns(
        ts=pl.when(sane).then("ts").otherwise("arrival_ts"),
        clk=pl.when(sane).then("clk").otherwise(pl.lit("bad")),
    )
