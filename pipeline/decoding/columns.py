"""Reading messages taken apart at the speed of C: typed by msgspec, turned into columns for many messages at once.

msgspec checks every value's type and range while it parses, so nothing has to be inferred afterwards and one bad
message cannot touch its neighbours. What is not written as `cellherd.wire.pack` writes it (a key unknown or doubled,
white space, anything refused) goes to `cellherd.wire.unpack`, which decides and gives the reason.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import chain, repeat, zip_longest
from operator import attrgetter
from typing import Annotated, Any, Literal, TypeAlias, cast

import msgspec
import numpy as np
import polars as pl
from msgspec import Meta

from cellherd.errors import BadPayload
from cellherd.reading import LENGTHS, LISTS, SCALARS
from cellherd.topics import is_id
from cellherd.wire import Line, Source, check_source, parse_json, unpack
from pipeline.schema import CELL_COLUMNS, READING, TEMP_COLUMNS

_FAR = 2**61  # of times: a sum of two still fits 64 bits
_Time: TypeAlias = Annotated[int, Meta(ge=-_FAR, le=_FAR)]
_Number: TypeAlias = (
    Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | Annotated[float, Meta(gt=-1e300, lt=1e300)] | None
)


_KINDS = {**READING, "dt": pl.Int64}
_LETTERS: dict[Any, str] = {pl.Int8: "b", pl.Int16: "h", pl.Int32: "i", pl.Int64: "q"}  # of struct, and of NumPy too
_CODES = {name: _LETTERS[kind] for name, kind in _KINDS.items() if kind in _LETTERS}
Packed: TypeAlias = dict[str, "bytes | pl.Series"]
"""Columns of one height: integers as they lie in memory, or a series where a value is missing or is a text."""


class Message(msgspec.Struct):
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
    sent_ts: msgspec.Raw = None  # type: ignore[assignment]  # None: absent; a JSON null is not taken for it
    sent_bt: msgspec.Raw = None  # type: ignore[assignment]  # as above
    faults: list[tuple[str, ...] | None] = None  # type: ignore[assignment]  # as above
    raw: list[dict[str, str] | None] = None  # type: ignore[assignment]  # as above
    extra: dict[str, list[_Number]] = None  # type: ignore[assignment]  # as above


def _column(bits: int, n: int) -> Any:
    value: Any = Annotated[int, Meta(ge=-(2 ** (bits - 1)), le=2 ** (bits - 1) - 1)] | None
    return tuple.__class_getitem__((value,) * n) if n else list[value]


def _shape(n: int) -> type[Message]:
    """Every column of a message: tuples of n values, or lists of any length where n is 0."""
    scalars = [(q.name, _column(q.bits, n), None) for q in SCALARS]
    lists = [
        (q.name, Annotated[list[_column(q.bits, n)], Meta(max_length=LENGTHS[q.name])], None)  # type: ignore[misc]
        for q in LISTS
    ]
    return cast("type[Message]", msgspec.defstruct("_Full", [*scalars, *lists], bases=(Message,), gc=False))


_Full = _shape(0)
_KNOWN = frozenset(_Full.__struct_fields__)
_FIRST_SCALAR = _Full.__struct_fields__.index(SCALARS[0].name)
_FIRST_LIST = _FIRST_SCALAR + len(SCALARS)
_ANY = msgspec.json.Decoder(_Full).decode
_LONGEST = 64
"""Readings in a message up to which its columns are tuples: an outbox packs 60 at most."""
_SHORT = 6
"""Readings in a message below which a call for each costs more than it saves (tests/bench/stores.py)."""
_ENCODE = msgspec.json.Encoder().encode


def read(payload: bytes) -> tuple[Message, int]:
    """One message (inflated), and how many of its keys are unknown to us. Raises BadPayload."""
    message = quick(payload)
    return (message, 0) if message is not None else slow(payload)


def quick(payload: bytes) -> Message | None:
    """The message if it is written as `wire.pack` writes it, else None: then `slow` has to say what it is."""
    begin = payload.find(b'"seq":[')
    n = payload.count(b",", begin, payload.find(b"]", begin)) + 1
    try:
        message = (_decoder(n) if n <= _LONGEST else _ANY)(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    values = msgspec.structs.astuple(message)
    raw, extra, faults = message.raw or (), message.extra or {}, message.faults or ()
    columns: Iterable[Any] = (message.seq, message.dt, message.faults, message.raw, *extra.values())
    if n > _LONGEST:
        cells, temps = values[_FIRST_LIST:]
        columns = chain(columns, values[_FIRST_SCALAR:_FIRST_LIST], cells or (), temps or ())
    lengths = {len(column) for column in columns if column is not None}
    keys = len(values) - values.count(None) + sum(map(len, filter(None, raw))) + len(extra)
    if keys != payload.count(b":") and keys != payload.count(b'":'):  # a text may hold a colon; the first is quicker
        return None
    as_packed = not (b" " in payload or b"\n" in payload or b"\t" in payload or b"\r" in payload)
    good = as_packed and lengths == {n} and len({*message.seq}) == n and all(map(_is_faults, filter(None, faults)))
    return message if good and _is_source(message) else None


@lru_cache(_LONGEST)  # made when the first message of this length comes: it takes 4 ms
def _decoder(n: int) -> Callable[[bytes], Message]:
    """Of messages of n readings. A tuple takes half the room of a list, and its length needs no check."""
    return msgspec.json.Decoder(_shape(n)).decode


@lru_cache(1024)  # few, since a hostile edge may make each of them 64 KiB long
def _is_faults(faults: tuple[str, ...]) -> bool:
    return all(map(is_id, faults))


def _is_source(message: Message) -> bool:
    try:
        _check(message.stream, message.epoch, message.module, message.kind, "", message.boot, message.clk)
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
    values |= {q.name: [row.get(q.name) for row in rows] for q in SCALARS if q.name in said}
    values |= {q.name: _turned([row.get(q.name) for row in rows]) for q in LISTS if q.name in said}
    faults = [row.get("faults") for row in rows]
    values["faults"] = [None if ids is None else tuple(ids) for ids in faults]
    values["raw"] = [row.get("raw") for row in rows]
    names = dict.fromkeys(name for row in rows for name in row.get("extra", ()))
    values["extra"] = {name: [row.get("extra", {}).get(name) for row in rows] for name in names}
    return _Full(v=1, **values), unknown


def _times(lines: list[Line]) -> dict[str, Any]:
    ahead = lines[0].bt - lines[0].ts
    times = [clip(line.ts) for line in lines]
    return {"t0": 0, "bt0": clip(ahead), "seq": [line.seq for line in lines], "dt": times}


def clip(time: int) -> int:
    """A time in ms, or the far end of all times: so that sums of times still fit 64 bits."""
    return max(-_FAR, min(_FAR, time))


def _turned(rows: list[Any]) -> list[list[int | None]]:
    return [list(column) for column in zip(*_padded(rows), strict=True)]


def _padded(rows: list[Any]) -> Iterator[list[int | None]]:
    width = max(len(row) for row in rows if row)
    return (row or [None] * width for row in rows)


def packed(messages: Sequence[Message]) -> Packed:
    """All readings of the messages, one below the other: seq, dt and every column that any of them speaks of."""
    counts = [len(message.seq) for message in messages]
    found = {
        "seq": _piece("seq", [m.seq for m in messages], counts),
        "dt": _piece("dt", [m.dt for m in messages], counts),
    }
    for name in (q.name for q in SCALARS):
        found[name] = _piece(name, list(map(attrgetter(name), messages)), counts)
    for name, places in (("cell_mv", CELL_COLUMNS), ("temp_dc", TEMP_COLUMNS)):
        lists = (columns or () for columns in map(attrgetter(name), messages))
        for place, parts in zip(places, zip_longest(*lists), strict=False):
            found[place] = _piece(place, parts, counts)
    found["faults"] = _piece("faults", [m.faults and [*map(_fault_text, m.faults)] for m in messages], counts)
    found["raw"] = _piece("raw", [m.raw and [*map(_json, m.raw)] for m in messages], counts)
    found["extra"] = _piece("extra", [m.extra and _extra_texts(m.extra) for m in messages], counts)
    return {name: piece for name, piece in found.items() if piece is not None}


def _piece(name: str, parts: Sequence[Any], counts: list[int]) -> bytes | pl.Series | None:
    if not any(parts):
        return None
    whole = all(parts)
    if whole and (code := _CODES.get(name)):
        with suppress(struct.error):  # a None among them
            return _in_memory(parts, counts, code)
    values = list(chain.from_iterable(parts if whole else _filled(parts, counts)))
    return pl.Series(name, values, _KINDS[name])


def _in_memory(parts: Sequence[Any], counts: list[int], code: str) -> bytes:
    """Integers as they lie in memory: long parts one by one, which stays in the cache, short ones all at once."""
    rows = sum(counts)
    if rows < _SHORT * len(counts):
        return _packer(rows, code)(*chain.from_iterable(parts))
    return b"".join([_packer(len(part), code)(*part) for part in parts])


@lru_cache(1024)
def _packer(n: int, code: str) -> Callable[..., bytes]:
    return struct.Struct(f"{n}{code}").pack


def table(batches: Sequence[Packed]) -> pl.DataFrame:
    """Packed batches of messages, one below the other."""
    names = dict.fromkeys(chain.from_iterable(batches))
    heights = [_height(batch) for batch in batches]
    return pl.DataFrame([_joined(name, [batch.get(name) for batch in batches], heights) for name in names])


def _height(batch: Packed) -> int:
    return len(batch["seq"]) // struct.calcsize(_CODES["seq"])


def _joined(name: str, pieces: list[bytes | pl.Series | None], heights: list[int]) -> pl.Series:
    whole = [piece for piece in pieces if isinstance(piece, bytes)]
    if len(whole) == len(pieces):
        return _series(name, b"".join(whole), 0)
    return pl.concat([_series(name, *one) for one in zip(pieces, heights, strict=True)], rechunk=True)


def _series(name: str, piece: bytes | pl.Series | None, height: int) -> pl.Series:
    if piece is None:
        return pl.Series(name, [None], _KINDS[name]).new_from_index(0, height)
    return pl.Series(name, np.frombuffer(piece, _CODES[name])) if isinstance(piece, bytes) else piece


def _filled(parts: Iterable[Any], counts: list[int]) -> Iterator[Iterable[Any]]:
    return (part or repeat(None, count) for part, count in zip(parts, counts, strict=True))


@lru_cache(1024)
def _fault_text(faults: tuple[str, ...] | None) -> str | None:
    return None if faults is None else " ".join(sorted({*faults}))


def _json(value: dict[str, Any] | None) -> str | None:
    return None if value is None else _ENCODE(value).decode()


def _extra_texts(extra: dict[str, list[Any]]) -> list[str | None]:
    rows = zip(*extra.values(), strict=True)
    said = ({name: x for name, x in zip(extra, row, strict=True) if x is not None} for row in rows)
    return [_json(row or None) for row in said]
