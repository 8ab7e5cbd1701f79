"""Journal entries to tables: each reading and record a row, each message that cannot be read set aside with its reason.

A pure function of the entries, so that each store may decode them again and get the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import polars as pl

from cellherd import topics
from cellherd.clock import EARLIEST, LATEST_AHEAD
from cellherd.errors import BadPayload
from cellherd.topics import Topic
from cellherd.wire import MAX_OUT, inflate
from pipeline.decoding import columns, records
from pipeline.decoding.columns import Message, Packed
from pipeline.journal.entry import Dead, Entry
from pipeline.schema import PLACE, TABLES, Schema

_MESSAGES = 256
_ROWS = 768
"""Messages, or readings, taken apart together: more fall out of the processor's cache (tests/bench/stores.py)."""
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


def decode(entries: Sequence[Entry]) -> Decoded:
    """Decode the readings (`r`, `rz`) and records (`e`) among the entries; status and health have no table.

    Rows keep the order of the entries; seqs in an entry's `skip` are left out.
    """
    parts: dict[str, list[pl.DataFrame]] = {table: [] for table in ("reading", *records.TABLES)}
    dead: list[Dead] = []
    unknown = 0
    taken = _Taken()
    for batch in _batches(entries):
        dead += [one for one in batch if isinstance(one, Dead)]
        unknown += sum(one.unknown for one in batch if not isinstance(one, Dead))
        if readings := [one for one in batch if isinstance(one, _Readings)]:
            taken.add(readings)
        for table in records.TABLES:
            of_table = [one for one in batch if isinstance(one, _Record) and one.table == table]
            parts[table] += [_of_records(table, of_table)] if of_table else []
    parts["reading"] = taken.frames()
    return Decoded({table: _finished(table, found) for table, found in parts.items()}, dead, unknown)


def _batches(entries: Sequence[Entry]) -> Iterator[list[_Outcome]]:
    batch: list[_Outcome] = []
    rows = 0
    for entry in entries:
        if one := _read(entry):
            batch.append(one)
            rows += len(one.message.seq) if isinstance(one, _Readings) else 1
        if len(batch) >= _MESSAGES or rows >= _ROWS:
            yield batch
            batch, rows = [], 0
    yield batch


def _read(entry: Entry) -> _Outcome | None:
    try:
        topic = _topic(entry.topic)
        if topic.channel in ("r", "rz"):
            return _readings(entry, topic)
        return _record(entry, topic) if topic.channel == "e" else None
    except BadPayload as error:
        return Dead(entry, error.code, error.reason)


_topic = lru_cache(65536)(topics.parse)


def _readings(entry: Entry, topic: Topic) -> _Readings:
    payload = inflate(entry.payload) if topic.channel == "rz" else _bounded(entry.payload)
    message, unknown = columns.read(payload)
    _check_module(message.module, topic)
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


class _Taken:
    """The readings of a segment, batch by batch: their numbers packed, so that few objects of Python's are ever held.

    What is said once a message is spread over its readings at the end, for all together.
    """

    def __init__(self) -> None:
        self._heads: list[tuple[object, ...]] = []
        self._packed: list[Packed] = []
        self._counts: list[int] = []
        self._doubled: list[int] = []
        self._rows = 0

    def add(self, readings: list[_Readings]) -> None:
        """A batch, not an empty one."""
        self._heads += [_head(one.entry, one.topic, one.message) for one in readings]
        self._packed.append(columns.packed([one.message for one in readings]))
        for one in readings:
            seqs = one.message.seq
            if one.entry.skip:
                self._doubled += [self._rows + at for at, seq in enumerate(seqs) if seq in one.entry.skip]
            self._counts.append(len(seqs))
            self._rows += len(seqs)

    def frames(self) -> list[pl.DataFrame]:
        """All readings but the doubled ones in one frame, or none."""
        if not self._rows:
            return []
        named = zip(_OF_MESSAGE.items(), zip(*self._heads, strict=True), strict=True)
        heads = pl.DataFrame([pl.Series(name, values, kind) for (name, kind), values in named])
        if self._rows > len(self._counts):
            heads = heads[np.repeat(np.arange(len(heads)), self._counts)]
        frame = heads.hstack(columns.table(self._packed))
        return [frame.filter(~pl.int_range(pl.len()).is_in(self._doubled)) if self._doubled else frame]


def _head(entry: Entry, topic: Topic, message: Message) -> tuple[object, ...]:
    place = (topic.edge, entry.site, topic.stack, topic.module, entry.unit, message.kind)
    told = (message.stream, message.epoch, message.clk, message.driver)
    return (*place, *told, message.t0, message.bt0, entry.arrival_ts, entry.offset_ms)


def _of_records(table: str, found: list[_Record]) -> pl.DataFrame:
    told = {name: kind for name, kind in TABLES[table].items() if name not in ("date", "ts")}
    return pl.DataFrame([_row(one.entry, one.topic, one.row) for one in found], {**_OF_MESSAGE, "dt": pl.Int64, **told})


def _row(entry: Entry, topic: Topic, row: dict[str, Any]) -> dict[str, Any]:
    place = {"edge": topic.edge, "site": entry.site, "stack": topic.stack, "unit": entry.unit}
    times = {"t0": columns.clip(row["ts"]), "bt0": columns.clip(row["bt"]), "dt": 0}
    return row | place | times | {"arrival_ts": entry.arrival_ts, "offset_ms": entry.offset_ms}


def _finished(table: str, parts: list[pl.DataFrame]) -> pl.DataFrame:
    schema = TABLES[table]
    if not parts:
        return pl.DataFrame(schema=schema)
    frame = _stamped(pl.concat(parts, how="diagonal", rechunk=True))
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
