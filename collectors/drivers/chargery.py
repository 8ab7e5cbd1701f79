"""Chargery BMS8T, BMS16T and BMS24T, which send unasked at 115200 8N1 and never listen.

Protocol: docs/devices/chargery.md.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from cellherd import faults
from cellherd.errors import BadFrame
from cellherd.reading import CELLS, Measured, combine
from collectors.fields import Field, Table, read
from collectors.kernel import Chunk, Driver

START = b"\x24\x24"
STATUS, VOLTAGES, RESISTANCES = 0x57, 0x56, 0x58
OPEN_SENSOR = -223
"""What the BMS measures where no sensor is plugged in, 0.1 degC."""
WIRED_MV = 1000
"""A channel below this behind the last one above it has no cell: it shows noise, seldom above 30 mV."""
WAYS = {0: -1, 1: 1, 2: -1}
"""Mode -> sign of the current: discharging, charging, storage."""

STATUS_TABLE: Table = (
    Field("limits.cell_max_mv", 0, ">H"),
    Field("extra.mode", 2, ">B"),
    Field("current_ma", 3, ">H", times=100),
    Field("temp_dc.0", 5, ">h", absent=OPEN_SENSOR),
    Field("temp_dc.1", 7, ">h", absent=OPEN_SENSOR),
    Field("soc_pm", 9, ">B", times=10),
    Field("limits.cell_min_mv", 10, ">H"),  # from V1.26 on
)
PATHS = {"charge": 12, "discharge": 13}  # from V1.26 on: 1 = its relay is open
MEASURED_AT: Table = (Field("extra.resistance_mode", 0, ">B"), Field("extra.resistance_at_ma", 1, "<H", times=100))


@dataclass(frozen=True, slots=True)
class Heard:
    """Bytes that are no whole frame yet, and the frames since the last reading."""

    rest: bytes = b""
    said: Mapping[int, Measured] = field(default_factory=dict)


def decode(frame: Chunk, request: bytes | None = None) -> tuple[Measured, ...]:  # nobody asks here
    """One reading a frame, of one frame or of a stretch of the stream. Raises BadFrame if no sound frame is in it."""
    if not isinstance(frame, bytes):
        raise BadFrame("Chargery does not speak CAN", frame.data)
    found = [_said(each) for each, _ in _frames(frame)]
    if not found:
        raise BadFrame("no frame of a Chargery with its length and checksum in it", frame)
    return tuple(found)


def _frames(data: bytes) -> Iterator[tuple[bytes, int]]:
    """Every sound frame and its end; a 24 24 inside a frame, or in noise, is told by its length and sum."""
    at = data.find(START)
    while at >= 0:
        frame = data[at : at + data[at + 3]] if len(data) > at + 3 else b""
        if _sound(frame):
            yield frame, at + len(frame)
            at += len(frame) - 1
        at = data.find(START, at + 1)


def _sound(frame: bytes) -> bool:
    return len(frame) > 4 and len(frame) == frame[3] and sum(frame[:-1]) & 0xFF == frame[-1] and _shaped(frame)


def _shaped(frame: bytes) -> bool:
    size = len(frame)
    if frame[2] == STATUS:
        return size >= 15
    if frame[2] == VOLTAGES:
        return size >= (15 if size % 2 else 8)
    return frame[2] == RESISTANCES and size >= 8 and size % 2 == 0


def _said(frame: bytes) -> Measured:
    return READERS[frame[2]](frame[4:-1])


def read_status(data: bytes) -> Measured:
    """0x57. The current has no sign; the mode gives it."""
    values: dict[str, Any] = read(STATUS_TABLE, data)
    values["current_ma"] *= WAYS.get(data[2], 1)
    raw = {"mode": data[2:3]} if data[2] not in WAYS else {}
    raw |= {f"{path}_status": data[at : at + 1] for path, at in PATHS.items() if len(data) > at}
    raw |= {"status_rest": data[14:]} if len(data) > 14 else {}
    words = faults.brand("chargery")
    cut = {path: data[at] for path, at in PATHS.items() if len(data) > at}
    found = [fault for path, code in cut.items() for fault in words[f"{path}_status"].of_value(str(code))]
    values |= {f"{path}_on": False for path, code in cut.items() if code == 1}  # 0 does not say that the path is open
    return Measured(
        faults=tuple(dict.fromkeys(found)) if cut else None,
        raw={name: part.hex() for name, part in raw.items()},
        **values,
    )


def read_voltages(data: bytes) -> Measured:
    """0x56. An odd frame ends with energy and charge (V1.24 on), an even one with the SOC (V1.22)."""
    ends_with_soc = len(data) % 2 == 1
    cut = len(data) - (1 if ends_with_soc else 8)
    end: dict[str, Any] = {"soc_pm": 10 * data[-1]} if ends_with_soc else _stored(data[cut:])
    channels = tuple(int.from_bytes(data[i : i + 2], "big") for i in range(0, cut, 2))[:CELLS]
    wired = max((i + 1 for i, mv in enumerate(channels) if mv >= WIRED_MV), default=0)
    cells = channels[:wired]
    if cells:
        low, high = min(cells), max(cells)
        end |= {"cell_mv": cells, "voltage_mv": sum(cells), "cell_min_mv": low, "cell_max_mv": high}
        end |= {"cell_min_at": cells.index(low), "cell_max_at": cells.index(high)}
    raw = {"unwired_mv": data[2 * wired : cut].hex()} if any(channels[wired:]) else {}
    return Measured(raw=raw, **end)


def _stored(data: bytes) -> dict[str, Any]:
    milliwatthours, mah = struct.unpack("<II", data)
    return {"remaining_mah": mah, "extra": {"remaining_wh": milliwatthours / 1000}}


def read_resistances(data: bytes) -> Measured:
    """0x58: each cell's resistance as the BMS measured it when the current turned, in 0.1 mOhm."""
    values = read(MEASURED_AT, data)
    values["extra"]["resistance_at_ma"] *= WAYS.get(data[0], 1)
    cells = (int.from_bytes(data[i : i + 2], "little") for i in range(3, len(data), 2))
    values["extra"] |= {f"resistance_{i:02}_uohm": 100 * raw for i, raw in enumerate(cells)}
    return Measured(**values)


READERS = {STATUS: read_status, VOLTAGES: read_voltages, RESISTANCES: read_resistances}


def feed(state: Heard, chunk: Chunk) -> tuple[Heard, tuple[Measured, ...]]:
    """One reading each time the voltages come (every 2 s), together with the status that came before them."""
    if not isinstance(chunk, bytes):
        return state, ()
    data, end, told, said = state.rest + chunk, 0, [], dict(state.said)
    for frame, end in _frames(data):  # noqa: B007 - the end of the last frame is where the rest begins
        said[frame[2]] = _said(frame)
        if frame[2] == VOLTAGES and STATUS in said:
            told.append(combine(*said.values()))
            said = {}
    return Heard(data[end:][-0xFF:], said), tuple(told)


DRIVER = Driver(
    name="chargery",
    brand="chargery",
    title="Chargery BMS8T, BMS16T, BMS24T",
    line="COM3, real RS232 levels, 115200 8N1; isolate it: its ground is not the battery's negative",
    links=("serial", "tcp"),
    decode=decode,
    feed=feed,
    fresh=Heard,
    baud=115200,
)
