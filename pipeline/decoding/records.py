"""Edge records (design A.2): what a device says of itself, its counters and log, gaps and the edge's own events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta

from cellherd.errors import BadPayload
from cellherd.wire import GAP_REASONS, unpack_record

_Whole: TypeAlias = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
_Small: TypeAlias = Annotated[int, Meta(ge=-(2**15), le=2**15 - 1)]


class _Info(msgspec.Struct):
    serial: str | int | None = None
    model: str | int | None = None
    firmware: str | int | None = None
    hardware: str | int | None = None
    n_cells: _Small | None = None
    nominal_mah: _Whole | None = None
    limits: dict[str, _Whole] | None = None


class _Counter(msgspec.Struct):
    name: str
    value: _Whole


class _Log(msgspec.Struct):
    code: str
    text: str = ""
    device_ts: _Whole | None = None
    hex: str = ""


class _Gap(msgspec.Struct):
    reason: Literal[GAP_REASONS]  # type: ignore[valid-type]  # the words stand in cellherd.wire
    slots: _Whole
    from_ts: _Whole | None = None
    to_ts: _Whole | None = None
    from_seq: _Whole | None = None
    to_seq: _Whole | None = None
    of_epoch: str | None = None


class _Edge(msgspec.Struct):
    code: str
    text: str = ""


_TABLES: Mapping[str, tuple[str, type[msgspec.Struct]]] = {
    "info": ("device_info", _Info),
    "counter": ("device_counter", _Counter),
    "log": ("device_log", _Log),
    "gap": ("gap", _Gap),
    "edge": ("edge_event", _Edge),
}
TABLES = tuple(table for table, _ in _TABLES.values())
_HEAD = frozenset(
    ("v", "stream", "epoch", "seq", "module", "kind", "boot", "bt", "ts", "clk", "sent_bt", "sent_ts", "event", "body")
)


def read(payload: bytes) -> tuple[str, dict[str, Any], int]:
    """The table a record belongs to, its head and body as one row, and how many of its keys are unknown to us.

    What a device says of itself beyond the known keys is kept in `other`. Raises BadPayload.
    """
    record = unpack_record(payload)
    event, body = record["event"], record["body"]
    table, shape = _TABLES[event]
    try:
        row = msgspec.structs.asdict(msgspec.convert(body, shape))
    except msgspec.ValidationError as error:
        raise BadPayload("schema", f"{event}: {error}") from None
    surplus = {key: value for key, value in body.items() if key not in row}
    if event == "info":
        row, surplus = _as_text(row) | {"other": _json(surplus)}, {}
    return table, record | row, len(record.keys() - _HEAD) + len(surplus)


def _as_text(row: dict[str, Any]) -> dict[str, Any]:
    names = ("serial", "model", "firmware", "hardware")
    texts = {name: None if row[name] is None else str(row[name]) for name in names}
    return row | texts | {"limits": _json(row["limits"])}


def _json(value: dict[str, Any] | None) -> str | None:
    return msgspec.json.encode(value).decode() if value else None
