"""The bytes on MQTT: readings as columns of integers, records one by one (design A.1 and A.2).

Columns compress well, `mosquitto_sub` can read them, and a Pi needs nothing but the standard library.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from cellherd.errors import BadPayload
from cellherd.reading import KINDS, LENGTHS, LISTS, SCALARS, Row
from cellherd.topics import is_id

VERSION = 1
DEFLATE_ABOVE = 512
"""Bytes above which a reading message is deflated."""
MAX_OUT = 64 * 1024
MAX_RATIO = 20
"""Bounds of a deflated message: what a bomb may grow to."""
EVENTS = ("info", "counter", "log", "gap", "edge")
GAP_REASONS = (
    "port_down", "timeout", "crc", "sleeping", "spool_cap", "corrupt_row", "rejected", "decimated", "edge_off",
)  # fmt: skip
CLOCKS = ("ntp", "srv", "rtc", "est", "bad")
INT64 = 2**63
_BOUND = {q.name: 2 ** (q.bits - 1) for q in (*SCALARS, *LISTS)}
_STRINGS = ("stream", "epoch", "module", "kind", "driver", "boot", "clk")


@dataclass(frozen=True, slots=True)
class Source:
    """Whose readings these are: identity of the outbox and of the module, and the boot that `bt` counts from."""

    stream: str
    epoch: str
    module: str
    kind: str
    driver: str
    boot: str
    clk: str


@dataclass(frozen=True, slots=True)
class Line:
    """One reading under its source: its number, its times in ms (UTC and since boot) and what was said."""

    seq: int
    ts: int
    bt: int
    row: Row


def pack(source: Source, lines: Sequence[Line], *, sent_ts: int, sent_bt: int) -> bytes:
    """Write readings of one module as one message; all must be of the same source and boot."""
    first = lines[0]
    body: dict[str, object] = {"v": VERSION}
    body |= {name: getattr(source, name) for name in _STRINGS}
    body |= {"t0": first.ts, "bt0": first.bt, "sent_ts": sent_ts, "sent_bt": sent_bt}
    body |= {"seq": [line.seq for line in lines], "dt": [line.ts - first.ts for line in lines]}
    rows = [line.row for line in lines]
    said = {name for row in rows for name in row}
    body |= {q.name: [row.get(q.name) for row in rows] for q in SCALARS if q.name in said}
    body |= {q.name: _turn([_as_list(row, q.name) for row in rows]) for q in LISTS if q.name in said}
    body |= {name: [row.get(name) for row in rows] for name in ("faults", "raw") if name in said}
    if "extra" in said:
        body["extra"] = _columns([_as_mapping(row) for row in rows])
    return json.dumps(body, separators=(",", ":")).encode()


def _as_list(row: Row, name: str) -> list[object]:
    value = row.get(name)
    return value if isinstance(value, list) else []


def _as_mapping(row: Row) -> Mapping[str, object]:
    value = row.get("extra")
    return value if isinstance(value, Mapping) else {}


def _turn(rows: list[list[object]]) -> list[list[object]]:
    width = max(map(len, rows))
    return [[row[i] if i < len(row) else None for row in rows] for i in range(width)]


def _columns(rows: list[Mapping[str, object]]) -> dict[str, list[object]]:
    return {name: [row.get(name) for row in rows] for name in sorted({n for row in rows for n in row})}


def deflate(payload: bytes) -> bytes:
    """Raw deflate, for `rz` topics and history over thin links."""
    squeeze = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    return squeeze.compress(payload) + squeeze.flush()


def inflate(payload: bytes) -> bytes:
    """Undo `deflate`, within bounds.

    Raises BadPayload("too_big") for what grows beyond 64 KiB or twentyfold, BadPayload("schema") for rubbish.
    """
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        out = stream.decompress(payload, MAX_OUT + 1)
    except zlib.error as error:
        raise BadPayload("schema", f"not raw deflate: {error}") from None
    if len(out) > MAX_OUT or len(out) > MAX_RATIO * max(len(payload), 1):
        raise BadPayload("too_big", f"{len(payload)} bytes inflate to more than {MAX_OUT} bytes or {MAX_RATIO} times")
    if not stream.eof or stream.unused_data:
        raise BadPayload("schema", "the deflated stream is cut or followed by other bytes")
    return out


def unpack(payload: bytes) -> tuple[Source, list[Line]]:
    """Read a reading message (inflated), trusting nothing.

    Raises BadPayload with what is wrong: not JSON, a wrong type, a list of another length, a number out of range.
    """
    body = parse_json(payload)
    if body.get("v") != VERSION:
        raise BadPayload("schema", f"version {body.get('v')!r} instead of {VERSION}")
    source = Source(**{name: _text(body, name) for name in _STRINGS})
    check_source(source)
    seqs = _ints(body, "seq", None, INT64)
    if not seqs or min(seqs) < 1 or len(set(seqs)) != len(seqs):
        raise BadPayload("schema", "seq must be a list of different numbers from 1")
    offsets, t0, bt0 = _ints(body, "dt", len(seqs), INT64), _int(body, "t0"), _int(body, "bt0")
    rows = _rows(body, len(seqs))
    return source, [Line(s, t0 + dt, bt0 + dt, row) for s, dt, row in zip(seqs, offsets, rows, strict=True)]


def parse_json(payload: bytes) -> dict[str, Any]:
    """One JSON object; NaN, infinities, doubled keys, half characters and anything that is not UTF-8 are refused."""
    try:
        body = json.loads(payload.decode(), parse_constant=_no_constant, object_pairs_hook=_no_doubles)
        if b"\\" in payload:  # an escaped half of a surrogate pair could not be stored
            json.dumps(body, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise BadPayload("schema", f"not JSON: {error}") from None
    if not isinstance(body, dict):
        raise BadPayload("schema", "not a JSON object")
    return body


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _no_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def check_source(source: Source) -> None:
    """Refuse what is no identity: hex ids, module id, kind, clock quality. Raises BadPayload."""
    for name, digits in (("stream", 32), ("epoch", 16), ("boot", 8)):
        text = getattr(source, name)
        if len(text) != digits or not set(text) <= set("0123456789abcdef"):
            raise BadPayload("schema", f"{name} {text[:40]!r} is not {digits} hex digits")
    if not is_id(source.module):
        raise BadPayload("schema", f"module {source.module[:80]!r} is not an id")
    if source.kind not in KINDS or source.clk not in CLOCKS:
        raise BadPayload("schema", f"kind {source.kind[:40]!r} or clk {source.clk[:40]!r} is unknown")


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str):
        raise BadPayload("schema", f"{name} is not text")
    return value


def _int(body: Mapping[str, Any], name: str) -> int:
    value = body.get(name)
    if type(value) is not int:
        raise BadPayload("schema", f"{name} is not a whole number")
    if not -INT64 <= value < INT64:
        raise BadPayload("range", f"{name} does not fit 64 bits")
    return value


def _ints(body: Mapping[str, Any], name: str, length: int | None, bound: int) -> list[int]:
    column = _column(name, body.get(name), length, bound)
    if None in column:
        raise BadPayload("schema", f"{name} has a hole")
    return column  # type: ignore[return-value]


def _column(name: str, value: object, length: int | None, bound: int) -> list[int | None]:
    if not isinstance(value, list) or (length is not None and len(value) != length):
        raise BadPayload("schema", f"{name} is not a list of {length or 'some'} numbers")
    for item in value:
        if item is not None and type(item) is not int:
            raise BadPayload("schema", f"{name} holds {str(item)[:40]!r}, not a whole number")
        if item is not None and not -bound <= item < bound:
            raise BadPayload("range", f"{name} holds {item}, out of range")
    return value


def _rows(body: Mapping[str, Any], length: int) -> list[Row]:
    rows: list[Row] = [{} for _ in range(length)]
    for quantity in SCALARS:
        if quantity.name in body:
            _spread(
                rows,
                quantity.name,
                _column(quantity.name, body[quantity.name], length, _BOUND[quantity.name]),
            )
    for quantity in LISTS:
        if quantity.name in body:
            _spread_list(rows, quantity.name, body[quantity.name])
    for name, check in (("faults", _is_faults), ("raw", _is_raw)):
        if name in body:
            _spread(rows, name, _checked(name, body[name], length, check))
    if "extra" in body:
        _spread_extra(rows, body["extra"])
    return rows


def _spread(rows: list[Row], name: str, column: Sequence[object]) -> None:
    for row, value in zip(rows, column, strict=True):
        if value is not None:
            row[name] = value


def _spread_list(rows: list[Row], name: str, columns: object) -> None:
    if not isinstance(columns, list) or len(columns) > LENGTHS[name]:
        raise BadPayload("schema", f"{name} is not a list of at most {LENGTHS[name]} lists")
    turned = [_column(name, column, len(rows), _BOUND[name]) for column in columns]
    for i, row in enumerate(rows):
        if any(column[i] is not None for column in turned):
            row[name] = [column[i] for column in turned]


def _spread_extra(rows: list[Row], extra: object) -> None:
    if not isinstance(extra, dict):
        raise BadPayload("schema", "extra is not an object")
    for name, column in extra.items():
        values = _checked(f"extra.{name[:40]}", column, len(rows), _is_number)
        for row, value in zip(rows, values, strict=True):
            if value is not None:
                row.setdefault("extra", {})[name] = value  # type: ignore[index]


def _checked(name: str, column: object, length: int, check: Any) -> list[object]:
    if not isinstance(column, list) or len(column) != length:
        raise BadPayload("schema", f"{name} is not a list of {length}")
    for item in column:
        if item is not None and not check(item):
            raise BadPayload("schema", f"{name} holds {str(item)[:40]!r}")
    return column


def _is_faults(item: object) -> bool:
    return isinstance(item, list) and all(isinstance(fault, str) and is_id(fault) for fault in item)


def _is_raw(item: object) -> bool:
    return isinstance(item, dict) and all(isinstance(value, str) for value in item.values())


def _is_number(item: object) -> bool:
    finite = type(item) is float and abs(item) < 1e300
    return finite or (type(item) is int and -INT64 <= item < INT64)


def pack_record(head: Mapping[str, object], event: str, body: Mapping[str, object]) -> bytes:
    """Write one edge record (A.2).

    `head` holds stream, epoch, seq, module, kind, boot, bt, ts, clk, sent_bt and sent_ts.
    """
    return json.dumps({"v": VERSION, **head, "event": event, "body": body}, separators=(",", ":")).encode()


def unpack_record(payload: bytes) -> dict[str, Any]:
    """Read one edge record, trusting nothing. Raises BadPayload."""
    body = parse_json(payload)
    if body.get("v") != VERSION or body.get("event") not in EVENTS:
        raise BadPayload("schema", f"version {body.get('v')!r} or event {str(body.get('event'))[:40]!r} is unknown")
    texts = {name: _text(body, name) for name in _STRINGS if name != "driver"}
    check_source(Source(**texts, driver=""))
    if _int(body, "seq") < 1:
        raise BadPayload("schema", "seq counts from 1")
    for name in ("ts", "bt"):
        _int(body, name)
    if not isinstance(body.get("body"), dict):
        raise BadPayload("schema", "body is not an object")
    return body
