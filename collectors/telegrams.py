"""Messages with a topic and JSON in them, as one run of bytes each: `topic payload`, or the payload alone.

So they are frames like all others: captured, replayed, decoded on the command line and thrown at by the fuzzers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cellherd.errors import BadFrame
from cellherd.reading import LENGTHS
from collectors.fields import put
from collectors.kernel import Chunk

MOST = 256 * 1024
"""Longest message that is looked at; the longest real one, a station's whole quota, has about 20 KiB."""
BEGINS = (b"{", b"[", b'"')


def message(topic: str, payload: bytes) -> bytes:
    """A message as one run of bytes."""
    return topic.encode() + b" " + payload


def parts(frame: Chunk) -> tuple[str, bytes]:
    """Topic, "" where there is none, and payload. Raises BadFrame."""
    if not isinstance(frame, bytes):
        raise BadFrame("not a message but a CAN frame", frame.data)
    frame = frame.strip()
    if frame.startswith(BEGINS):
        return "", frame
    topic, _, payload = frame.partition(b" ")
    return topic.decode("utf-8", "replace"), payload.strip()


def document(payload: bytes) -> Any:
    """The JSON value. Raises BadFrame for anything else, and for one that nests without end."""
    if len(payload) > MOST:
        raise BadFrame(f"{len(payload)} bytes of JSON are more than any device sends", payload[:512])
    try:
        return json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise BadFrame(f"not JSON ({error})", payload[:512]) from None


def objects(payload: bytes) -> Iterator[dict[str, Any]]:
    """JSON objects, one or several behind one another. Raises BadFrame for anything else, and for none."""
    if len(payload) > MOST:
        raise BadFrame(f"{len(payload)} bytes of JSON are more than any device sends", payload[:512])
    text, at, reader = payload.decode("utf-8", "replace"), 0, json.JSONDecoder()
    while rest := text[at:].lstrip():
        at = len(text) - len(rest)
        try:
            found, at = reader.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            raise BadFrame(f"not JSON ({error})", payload[:512]) from None
        if not isinstance(found, dict):
            raise BadFrame("not a JSON object", payload[:512])
        yield found
    if not at:
        raise BadFrame("no JSON in it", payload)


def flat(tree: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Every value by its path with dots; lists stay lists."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def number(value: object) -> float | int | None:
    """A number of 63 bits and a sign, also one that came as text; None for all else: no device counts further."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return value if -(2**63) <= value < 2**63 else None  # which no NaN is, and no infinity


@dataclass(frozen=True, slots=True)
class Key:
    """One value of a message: `name` = value * times, as in collectors.fields.

    `absent` are values that mean "not available", `least` and `most` bound what is believed, in our unit. `paths` are
    tried in order. A list becomes a list field only whole: with one entry missing it says nothing.
    """

    name: str
    paths: tuple[str, ...]
    times: float = 1
    absent: tuple[float, ...] = ()
    least: float = -(2**31)
    most: float = 2**31 - 1

    def value(self, found: Mapping[str, Any]) -> int | tuple[int, ...] | None:
        """The value in our unit, None where the message does not say it, or nothing that can be believed."""
        for path in self.paths:
            raw = found.get(path)
            if isinstance(raw, list) and self.name in LENGTHS:
                entries = [self.one(each) for each in raw]
                told = tuple(each for each in entries if each is not None)
                value: int | tuple[int, ...] | None = told if len(told) == len(entries) and told else None
            else:
                value = self.one(raw)
            if value is not None:
                return value
        return None

    def one(self, raw: object) -> int | None:
        """A single number in our unit."""
        value = number(raw)
        if value is None or value in self.absent:
            return None
        scaled = round(value * self.times)
        return scaled if self.least <= scaled <= self.most else None


def read(keys: tuple[Key, ...], found: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments for Measured from every key that the message says."""
    said: dict[str, Any] = {}
    for key in keys:
        value = key.value(found)
        if value is not None:
            put(said, key.name, value)
    return said
