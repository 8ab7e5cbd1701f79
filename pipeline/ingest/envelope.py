"""The outside of a message: whose it is and which numbers it carries. Cheap, and read before the journal.

What stands inside is read later, from the journal, so that a mistake of ours there loses nothing.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Annotated, NamedTuple

import msgspec

from cellherd import topics, wire
from cellherd.errors import BadPayload
from cellherd.topics import Topic

BootTime = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Time = Annotated[int, msgspec.Meta(ge=-(2**53), le=2**53)]
Seq = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
_keys = re.compile(rb'"(?:stream|epoch|seq)"').findall
_HEX = re.compile(r"[0-9a-f]{32}:[0-9a-f]{16}")
_EPOCH = re.compile(r"[0-9a-f]{16}")
_BOOT = re.compile(r"[0-9a-f]{8}")


class _Head(msgspec.Struct):
    v: int
    stream: str
    epoch: str
    module: str
    boot: str
    clk: str
    sent_bt: BootTime


class _Readings(_Head):
    seq: Annotated[list[Seq], msgspec.Meta(min_length=1)]


class _Record(_Head):
    seq: Seq
    event: str
    body: msgspec.Raw


class _Numbers(msgspec.Struct):
    """As much of a bad message as a receipt needs."""

    stream: str
    epoch: str
    seq: list[Seq] | Seq


class _Serial(msgspec.Struct):
    serial: str | int | None = None


class _Gone(msgspec.Struct):
    """Of a gap: numbers that the edge has no more."""

    from_seq: Seq
    to_seq: Seq
    of_epoch: str


class _When(msgspec.Struct):
    ts: Time
    bt: Time


class Envelope(NamedTuple):
    """Whose message it is. `seqs` are distinct and in order.

    `info` records only: `serial` ("" = none), and `when` it was said, as edge clock UTC ms and boot clock ms.
    `gap` records only: `gone`, an epoch and its first and last number that the edge has no more.
    """

    stream: str
    epoch: str
    seqs: list[int]
    boot: str
    clk: str
    sent_bt: int
    serial: str | None = None
    when: tuple[int, int] | None = None
    gone: tuple[str, int, int] | None = None


_readings = msgspec.json.Decoder(_Readings).decode
_record = msgspec.json.Decoder(_Record).decode
_numbers = msgspec.json.Decoder(_Numbers).decode
_serial = msgspec.json.Decoder(_Serial).decode
_gone = msgspec.json.Decoder(_Gone).decode
_when = msgspec.json.Decoder(_When).decode
parse_topic = lru_cache(maxsize=100_000)(topics.parse)


def open_envelope(topic: Topic, payload: bytes) -> Envelope:
    """Read the envelope of readings or of a record. Raises BadPayload: too_big, schema."""
    text = inflated(topic, payload)
    try:
        if topic.channel == "e":
            return _opened_record(topic, _record(_unambiguous(text)), text)
        head = _readings(_unambiguous(text))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadPayload("schema", str(error)) from None
    _check(topic, head)
    return Envelope(head.stream, head.epoch, _distinct(head.seq), head.boot, head.clk, head.sent_bt)


def numbers(topic: Topic, payload: bytes) -> tuple[str, str, list[int]] | None:
    """Stream, epoch and numbers of an otherwise bad message, so that its edge can be told; None if unreadable."""
    try:
        found = _numbers(inflated(topic, payload))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, BadPayload):
        return None
    if not _HEX.fullmatch(f"{found.stream}:{found.epoch}"):
        return None
    return found.stream, found.epoch, found.seq if isinstance(found.seq, list) else [found.seq]


def inflated(topic: Topic, payload: bytes) -> bytes:
    """The JSON text of a message. Raises BadPayload("too_big") above 64 KiB."""
    if len(payload) > wire.MAX_OUT:
        raise BadPayload("too_big", f"{len(payload)} bytes, at most {wire.MAX_OUT} are allowed")
    return wire.inflate(payload) if topic.channel == "rz" else payload


def _unambiguous(text: bytes) -> bytes:
    """Refuse keys that stand twice: one reader would take the first, another the last."""
    keys = _keys(text)  # one look through the text; three counts took three times as long
    if b"\\" in text or len(keys) != len({*keys}):
        wire.parse_json(text)
    return text


def _opened_record(topic: Topic, head: _Record, text: bytes) -> Envelope:
    _check(topic, head)
    if head.event not in wire.EVENTS:
        raise BadPayload("schema", f"event {head.event[:40]!r} is unknown")
    envelope = Envelope(head.stream, head.epoch, [head.seq], head.boot, head.clk, head.sent_bt)
    if head.event == "gap":
        return envelope._replace(gone=_no_more(head.body))
    if head.event == "info":
        return envelope._replace(serial=str(_serial(head.body).serial or ""), when=_said_at(text))
    return envelope


def _no_more(body: msgspec.Raw) -> tuple[str, int, int] | None:
    """What a gap tells of numbers, None where it tells of polls only, or of nothing that makes sense."""
    try:
        found = _gone(body)
    except msgspec.DecodeError:
        return None
    sound = _EPOCH.fullmatch(found.of_epoch) and found.from_seq <= found.to_seq
    return (found.of_epoch, found.from_seq, found.to_seq) if sound else None


def _said_at(text: bytes) -> tuple[int, int] | None:
    """The two clocks of a record, None where they are no times: then its arrival has to do."""
    try:
        found = _when(text)
    except msgspec.DecodeError:
        return None
    return found.ts, found.bt


def _check(topic: Topic, head: _Head) -> None:
    if head.v != wire.VERSION:
        raise BadPayload("schema", f"version {head.v} instead of {wire.VERSION}")
    _check_ids(head.stream, head.epoch, head.boot)
    if head.module != topic.module:
        raise BadPayload("schema", f"module {head.module[:63]!r} under the topic of {topic.module!r}")
    if head.clk not in wire.CLOCKS:
        raise BadPayload("schema", f"clk {head.clk[:40]!r} is unknown")


@lru_cache(65536)  # what it raises for is not kept, and the rest is short
def _check_ids(stream: str, epoch: str, boot: str) -> None:
    if not _HEX.fullmatch(f"{stream}:{epoch}") or not _BOOT.fullmatch(boot):
        raise BadPayload("schema", "stream, epoch and boot are not 32, 16 and 8 hex digits")


def _distinct(seqs: list[int]) -> list[int]:
    if len(seqs) == 1:
        return seqs
    ordered = sorted(set(seqs))
    if len(ordered) != len(seqs):
        raise BadPayload("schema", "a seq stands twice")
    return ordered
