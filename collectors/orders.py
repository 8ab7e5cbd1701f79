"""What the server tells an edge: receipts, and requests to send something again (design A.3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cellherd import topics, wire
from cellherd.errors import BadPayload


@dataclass(frozen=True, slots=True)
class Receipt:
    """The server has all numbers up to `upto` and those of `also` on its disk; it will never take those of `bad`."""

    stream: str
    epoch: str
    upto: int
    also: tuple[tuple[int, int], ...] = ()
    bad: Mapping[int, str] | None = None
    srv_ts: int | None = None
    """The server's time, ms UTC."""

    def settles(self, seq: int) -> bool:
        """Whether this number need not be sent any more."""
        return seq <= self.upto or seq in (self.bad or ()) or any(first <= seq <= last for first, last in self.also)


@dataclass(frozen=True, slots=True)
class Replay:
    """The server wants the numbers from first to last again."""

    stream: str
    epoch: str
    first: int
    last: int


def parse(edge: str, topic: str, payload: bytes) -> Receipt | Replay:
    """Read one message from the server, trusting nothing. Raises BadPayload."""
    body = wire.parse_json(payload)
    if body.get("v") != wire.VERSION:
        raise BadPayload("schema", f"version {body.get('v')!r} instead of {wire.VERSION}")
    try:
        if topic == topics.receipt(edge):
            return _receipt(body)
        if topic == topics.replay(edge):
            return Replay(_text(body["stream"]), _text(body["epoch"]), _int(body["from"]), _int(body["to"]))
    except (KeyError, TypeError, ValueError) as error:
        raise BadPayload("schema", f"{topic}: {error}") from None
    raise BadPayload("schema", f"{topic} is not for us")


def _receipt(body: Mapping[str, Any]) -> Receipt:
    also = tuple((_int(first), _int(last)) for first, last in body.get("also", ()))
    bad = {_int(seq): _text(code) for seq, code in body.get("bad", ())}
    return Receipt(
        _text(body["stream"]), _text(body["epoch"]), _int(body["upto"]), also, bad, _time(body.get("srv_ts"))
    )


def _time(value: object) -> int | None:
    return None if value is None else _int(value)


def _int(value: object) -> int:
    if type(value) is not int or not -wire.INT64 <= value < wire.INT64:
        raise ValueError(f"{str(value)[:40]!r} is no whole number of 64 bits")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{str(value)[:40]!r} is no text")
    return value
