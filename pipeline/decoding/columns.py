"""Reading messages taken apart at the speed of C: typed by msgspec, turned into columns for many messages at once.

msgspec checks the syntax of a message and the types of what is said once in it; its numbers stay text until those of
many messages are read together (`numbers` beside this). One bad message cannot touch its neighbours. What is not
written as `cellherd.wire.pack` writes it (a key unknown or doubled, white space, anything refused, a number that does
not fit) goes to `cellherd.wire.unpack`, which decides and gives the reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain, repeat
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias, cast

import msgspec
import polars as pl
from msgspec import Meta

from cellherd.errors import BadPayload
from cellherd.reading import LISTS, SCALARS
from cellherd.topics import is_id
from cellherd.wire import Line, Source, check_source, parse_json, unpack
from pipeline.decoding import numbers
from pipeline.decoding.numbers import Block, Numbers
from pipeline.schema import READING

_FAR = 2**61  # of times: a sum of two still fits 64 bits
_Time: TypeAlias = Annotated[int, Meta(ge=-_FAR, le=_FAR)]
_Number: TypeAlias = (
    Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | Annotated[float, Meta(gt=-1e300, lt=1e300)] | None
)


class Told(msgspec.Struct):
    """One reading message: n readings of one module as columns of length n. None: the device does not say."""

    v: Literal[1]
    stream: str
    epoch: str
    module: str
    kind: str
    driver: str
    boot: str
    clk: str
    t0: _Time
    bt0: _Time
    seq: Annotated[list[Annotated[int, Meta(ge=1, le=2**63 - 1)]], Meta(min_length=1)]
    dt: list[_Time]
    sent_ts: int = None  # type: ignore[assignment]  # None: absent; a JSON null is not taken for it
    sent_bt: int = None  # type: ignore[assignment]  # as above
    faults: list[tuple[str, ...] | None] = None  # type: ignore[assignment]  # as above
    raw: list[dict[str, str] | None] = None  # type: ignore[assignment]  # as above
    extra: dict[str, list[_Number]] = None  # type: ignore[assignment]  # as above


_COLUMNS = tuple((q.name, msgspec.Raw, None) for q in (*SCALARS, *LISTS))
_Full = cast("type[Told]", msgspec.defstruct("_Full", _COLUMNS, bases=(Told,), gc=False))
_KNOWN = frozenset(_Full.__struct_fields__)
_FIRST = _Full.__struct_fields__.index(SCALARS[0].name)
_decode = msgspec.json.Decoder(_Full).decode
_ENCODE = msgspec.json.Encoder().encode


class Message(NamedTuple):
    """What a message tells, its numbers as text; `sure` where a strict reader has seen that they fit."""

    told: Told
    numbers: Numbers
    sure: bool = False


def read(payload: bytes) -> tuple[Message, int]:
    """One message (inflated), and how many of its keys are unknown to us. Raises BadPayload."""
    message = quick(payload)
    return (message, 0) if message is not None else slow(payload)


def quick(payload: bytes) -> Message | None:
    """The message if it is written as `wire.pack` writes it, else None: then `slow` has to say what it is."""
    try:
        told = _decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    values, n = msgspec.structs.astuple(told), len(told.seq)
    found = numbers.numbers(n, values[_FIRST:])
    if found is None or b" " in payload or b"\n" in payload or b"\t" in payload or b"\r" in payload:
        return None
    raw, extra = told.raw or (), told.extra or {}
    keys = _FIRST - values[:_FIRST].count(None) + found.keys + sum(map(len, filter(None, raw))) + len(extra)
    if keys != payload.count(b":") and keys != payload.count(b'":'):  # a text may hold a colon; the first is quicker
        return None
    lists: Iterable[Any] = (told.dt, told.faults, told.raw, *extra.values())
    lengths = {len(column) for column in lists if column is not None}
    good = lengths == {n} and len({*told.seq}) == n and all(map(_is_faults, filter(None, told.faults or ())))
    return Message(told, found) if good and _is_source(told) else None


@lru_cache(1024)  # few, since a hostile edge may make each of them 64 KiB long
def _is_faults(faults: tuple[str, ...]) -> bool:
    return all(map(is_id, faults))


def _is_source(told: Told) -> bool:
    try:
        _check(told.stream, told.epoch, told.module, told.kind, "", told.boot, told.clk)
    except BadPayload:
        return False
    return True


@lru_cache(65536)  # what it raises for is not kept, and the rest is short
def _check(*texts: str) -> None:
    check_source(Source(*texts))


def slow(payload: bytes) -> tuple[Message, int]:
    """The same from `wire.unpack`, and the number of unknown keys. Raises BadPayload with the reason."""
    source, lines = unpack(payload)
    unknown = len(parse_json(payload).keys() - _KNOWN)
    rows: list[dict[str, Any]] = [line.row for line in lines]
    said = {name for row in rows for name in row}
    values: dict[str, Any] = {name: getattr(source, name) for name in Source.__dataclass_fields__}
    values |= _times(lines)
    values |= {q.name: _text([row.get(q.name) for row in rows]) for q in SCALARS if q.name in said}
    values |= {q.name: _text(_turned([row.get(q.name) for row in rows])) for q in LISTS if q.name in said}
    faults = [row.get("faults") for row in rows]
    values["faults"] = [None if ids is None else tuple(ids) for ids in faults]
    values["raw"] = [row.get("raw") for row in rows]
    names = dict.fromkeys(name for row in rows for name in row.get("extra", ()))
    values["extra"] = {name: [row.get("extra", {}).get(name) for row in rows] for name in names}
    told = _Full(v=1, **values)
    found = numbers.numbers(len(rows), msgspec.structs.astuple(told)[_FIRST:])
    if found is None:  # the strict reader took what we cannot: a dead letter, and the segment goes on
        raise BadPayload("schema", "its columns cannot be read together")
    return Message(told, found, sure=True), unknown


def _times(lines: list[Line]) -> dict[str, Any]:
    ahead = lines[0].bt - lines[0].ts
    times = [clip(line.ts) for line in lines]
    return {"t0": 0, "bt0": clip(ahead), "seq": [line.seq for line in lines], "dt": times}


def clip(time: int) -> int:
    """A time in ms, or the far end of all times: so that sums of times still fit 64 bits."""
    return max(-_FAR, min(_FAR, time))


def _text(column: list[Any]) -> msgspec.Raw:
    return msgspec.Raw(_ENCODE(column))


def _turned(rows: list[Any]) -> list[list[int | None]]:
    return [list(column) for column in zip(*_padded(rows), strict=True)]


def _padded(rows: list[Any]) -> Iterator[list[int | None]]:
    width = max(len(row) for row in rows if row)
    return (row or [None] * width for row in rows)


def table(messages: Sequence[Message], blocks: Sequence[Block]) -> pl.DataFrame:
    """All readings of the messages, one below the other: seq, dt and every column that any of them speaks of."""
    told = [message.told for message in messages]
    counts = [len(one.seq) for one in told]
    texts: dict[str, list[Any]] = {
        "faults": [one.faults and map(_fault_text, one.faults) for one in told],
        "raw": [one.raw and map(_json, one.raw) for one in told],
        "extra": [one.extra and _extra_texts(one.extra) for one in told],
    }
    return pl.DataFrame([
        pl.Series("seq", list(chain.from_iterable(one.seq for one in told)), pl.Int64),
        pl.Series("dt", list(chain.from_iterable(one.dt for one in told)), pl.Int64),
        *numbers.columns(blocks, counts),
        *(_strings(name, parts, counts) for name, parts in texts.items() if any(parts)),
    ])  # fmt: skip


def _strings(name: str, parts: Sequence[Any], counts: Sequence[int]) -> pl.Series:
    whole = (part or repeat(None, count) for part, count in zip(parts, counts, strict=True))
    return pl.Series(name, list(chain.from_iterable(whole)), READING[name])


@lru_cache(1024)
def _fault_text(faults: tuple[str, ...] | None) -> str | None:
    return None if faults is None else " ".join(sorted({*faults}))


def _json(value: dict[str, Any] | None) -> str | None:
    return None if value is None else _ENCODE(value).decode()


def _extra_texts(extra: dict[str, list[Any]]) -> list[str | None]:
    rows = zip(*extra.values(), strict=True)
    said = ({name: x for name, x in zip(extra, row, strict=True) if x is not None} for row in rows)
    return [_json(row or None) for row in said]
