"""Anker SOLIX stations: the frames of their cloud, relayed by a bridge. Docs: docs/devices/anker.md."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from operator import xor
from typing import Any

from cellherd import faults
from cellherd.errors import BadFrame
from cellherd.reading import Measured
from collectors.kernel import Chunk, Driver
from collectors.telegrams import number, objects, parts

TOPICS = ("anker/{unit}/#", "dt/anker_power/+/{unit}/param_info")
HEAD, HEADER = b"\xff\x09", 9
FIRST_ID = 0xA0
"""Fields have ids from here on; what stands before the first one belongs to the header."""
MOST_PACKS = 16
WIDEST = 4
"""Bytes of a number; a longer field is something else."""
TEXT_TYPES = (0x00,)


@dataclass(frozen=True, slots=True)
class Place:
    """A number of a frame: field id, offset behind the type byte, bytes, signed, factor to our unit."""

    name: str
    id: int
    times: float = 1
    at: int = 0
    size: int = 0
    """0: all that the field has."""


C1000 = (
    Place("0.soc_pm", 0xC1, 10),
    Place("0.soh_pm", 0xC3, 10),
    Place("0.temp_max_dc", 0xBD, 10),
    Place("0.power_out_w", 0xB0),
    Place("0.discharge_left_min", 0xA4, 6),
    Place("1.soc_pm", 0xC2, 10),
    Place("1.soh_pm", 0xC4, 10),
    Place("1.temp_max_dc", 0xBE, 10),
)
MODELS: Mapping[tuple[str, str], tuple[Place, ...]] = {
    ("", "0405"): C1000,
    ("A1780", "0405"): (*C1000, Place("0.power_in_w", 0xAF)),
    ("", "0421"): (
        Place("0.temp_max_dc", 0xA5, 10, 0, 1),
        Place("0.soc_pm", 0xA5, 10, 2, 1),
        Place("0.power_out_w", 0xA5, 1, 6, 2),
        Place("0.power_in_w", 0xA5, 1, 8, 2),
    ),
    ("A1722", "0405"): (Place("0.soc_pm", 0xBB, 10), Place("0.temp_max_dc", 0xB9, 10), Place("0.power_out_w", 0xAE)),
    ("A1728", "0405"): (Place("0.soc_pm", 0xB7, 10),),
    ("A1790", "0405"): (Place("0.soc_pm", 0xAD, 10), Place("0.temp_max_dc", 0xBE, 10), Place("0.power_out_w", 0xB2)),
    ("A17C1", "0405"): (
        Place("0.soc_pm", 0xA3, 10),
        Place("0.temp_max_dc", 0xAA, 10),
        Place("0.error_code", 0xA5),
    ),
}
"""(model, message type) -> places; "" is any model without a line of its own."""
PACKS_ID = {"0405": 0xC5}
EXTRA = ("discharge_left_min", "error_code")


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame taken apart: message type, fields by id with their type byte, whether its checksum fits."""

    kind: str
    fields: Mapping[int, bytes]
    sound: bool


def frame_of(data: bytes) -> Frame:
    """ff 09, length, header, message type, fields, XOR of all before it. Raises BadFrame."""
    if not data.startswith(HEAD) or len(data) < HEADER + 1 or int.from_bytes(data[2:4], "little") != len(data):
        raise BadFrame("not a frame of an Anker station", data[:512])
    at = HEADER if data[HEADER] >= FIRST_ID else HEADER + 1
    fields: dict[int, bytes] = {}
    while at + 2 <= len(data) - 1:
        id_, size = data[at], data[at + 1]
        if at + 2 + size > len(data) - 1:
            raise BadFrame(f"field {id_:02x} reaches beyond the frame", data[:512])
        fields[id_] = data[at + 2 : at + 2 + size]
        at += 2 + size
    return Frame(data[7:9].hex(), fields, reduce(xor, data[:-1]) == data[-1])


def decode(frame: Chunk, request: bytes | None = None) -> tuple[Measured, ...]:
    """A frame as bytes or in base64 inside JSON, or the API's list of Solarbanks. Raises BadFrame."""
    if isinstance(frame, bytes) and frame.startswith(HEAD):
        return _of_frame(frame, "")
    topic, payload = parts(frame)
    told = [each for tree in objects(payload) for each in _of_tree(tree, topic)]
    if not told:
        raise BadFrame("nothing in it that an Anker says of its battery", payload[:512])
    return tuple(told)


def _of_tree(tree: Mapping[str, Any], topic: str) -> Iterator[Measured]:
    inner = tree.get("payload", tree)
    if isinstance(inner, dict) and isinstance(inner.get("data"), str):
        steps = topic.split("/")
        model = inner.get("pn") or (steps[2] if len(steps) > 3 and steps[0] == "dt" else "")
        try:
            data = base64.b64decode(inner["data"], validate=True)
        except (binascii.Error, ValueError):
            raise BadFrame("not base64") from None
        yield from _of_frame(data, str(model))
        return
    yield from _solarbanks(tree)


def _of_frame(data: bytes, model: str) -> tuple[Measured, ...]:
    frame = frame_of(data)
    places = MODELS.get((model, frame.kind)) or MODELS.get(("", frame.kind), ())
    packs: dict[int, dict[str, int]] = {0: {}}
    for place in places:
        value = _value(place, frame)
        if value is not None:
            packs.setdefault(int(place.name[0]), {})[place.name[2:]] = value
    count = _whole(frame.fields.get(PACKS_ID.get(frame.kind, 0), b""))
    if not count:
        packs = {0: packs[0]}
    extra = {"checksum_ok": int(frame.sound), **({} if count is None else {"expansion_packs": count})}
    return tuple(_measured(at, said, extra if at == 0 else {}) for at, said in sorted(packs.items()))


def _value(place: Place, frame: Frame) -> int | None:
    field = frame.fields.get(place.id, b"")
    if len(field) < 2 or field[0] in TEXT_TYPES:
        return None
    body = field[1:]
    part = body[place.at : place.at + place.size] if place.size else body
    if not 0 < len(part) <= WIDEST or len(part) < place.size:
        return None
    unsigned = place.name.endswith(("soc_pm", "soh_pm"))
    return round(int.from_bytes(part, "little", signed=not unsigned) * place.times)


def _whole(field: bytes) -> int | None:
    return int.from_bytes(field[1:], "little") if 2 <= len(field) <= 5 else None


def _measured(at: int, said: Mapping[str, Any], extra: Mapping[str, int]) -> Measured:
    code = said.get("error_code")
    told = None if code is None else faults.brand("anker")["telemetry"].of_value("error_code") if code else ()
    numbers = {name: value for name, value in said.items() if name not in EXTRA}
    more = {name: said[name] for name in EXTRA if name in said}
    raw = {"error_code": f"{code & 0xFFFFFFFF:x}"} if code else {}
    return Measured(module=at, kind="station", faults=told, raw=raw, extra={**extra, **more}, **numbers)


def _solarbanks(tree: Mapping[str, Any]) -> Iterator[Measured]:
    """The API's scene info: one entry a Solarbank, numbers as text."""
    inner: Any = tree.get("data", tree)
    banks = inner.get("solarbank_info", inner) if isinstance(inner, dict) else {}
    listed = banks.get("solarbank_list", ()) if isinstance(banks, dict) else ()
    for at, bank in enumerate(listed[:MOST_PACKS] if isinstance(listed, list) else ()):
        soc = number(bank.get("battery_power")) if isinstance(bank, dict) else None
        if soc is None or not 0 <= soc <= 100:
            continue
        watts = {"power_in_w": "photovoltaic_power", "power_out_w": "output_power"}
        found = {name: number(bank.get(path)) for name, path in watts.items()}
        powers = {name: round(value) for name, value in found.items() if value is not None and abs(value) < 10**6}
        yield _measured(at, {"soc_pm": round(10 * soc), **powers}, {})


def feed(state: None, chunk: Chunk) -> tuple[None, tuple[Measured, ...]]:
    """Each message is whole."""
    try:
        found = decode(chunk)
    except BadFrame:
        return state, ()
    return state, tuple(each for each in found if each.soc_pm is not None)


DRIVER = Driver(
    name="anker",
    brand="anker",
    title="Anker SOLIX stations (C1000, F2000, C300, F3800, Solarbank)",
    line="a bridge that relays the cloud's messages to a broker",
    links=("mqtt",),
    decode=decode,
    feed=feed,
    topics=TOPICS,
    silence_s=600.0,
    ascii=True,
    spans_lines=True,
)
