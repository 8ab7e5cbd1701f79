"""JK (JiKong) BD6A, B1A and B2A series on the UART of the GPS port, 115200 8N1. Protocol: docs/devices/jk_nw.md."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from cellherd import faults
from cellherd.errors import BadFrame
from cellherd.reading import CELLS, Measured, combine
from collectors.fields import Field, read
from collectors.kernel import Chunk, Conversation, Driver, Send

HEAD = b"NW"
READ_ALL, FROM_PC, REPLY = 6, 3, 1
INFO_AT, TAIL = 11, 9  # the tail: record number, 68, two bytes that nobody uses, checksum

CELL_LIST, CURRENT, ALARM, STATUS, PASSWORD, CHEMISTRY, PROTOCOL = 0x79, 0x84, 0x8B, 0x8C, 0xB2, 0xAF, 0xC0
NUMBERS: Mapping[int, Field] = {
    0x83: Field("voltage_mv", 0, ">H", times=10),
    0x85: Field("soc_pm", 0, ">B", times=10),
    0x86: Field("info.n_temps", 0, ">B"),
    0x87: Field("cycles", 0, ">H"),
    0x89: Field("counters.throughput_mah", 0, ">I", times=1000),
    0x8A: Field("info.n_cells", 0, ">H"),
    0x8E: Field("limits.voltage_max_mv", 0, ">H", times=10),
    0x8F: Field("limits.voltage_min_mv", 0, ">H", times=10),
    0x90: Field("limits.cell_max_mv", 0, ">H"),
    0x91: Field("limits.cell_max_release_mv", 0, ">H"),
    0x92: Field("limits.cell_max_delay_s", 0, ">H"),
    0x93: Field("limits.cell_min_mv", 0, ">H"),
    0x94: Field("limits.cell_min_release_mv", 0, ">H"),
    0x95: Field("limits.cell_min_delay_s", 0, ">H"),
    0x96: Field("limits.cell_spread_max_mv", 0, ">H"),
    0x97: Field("limits.discharge_ma", 0, ">H", times=1000),
    0x98: Field("limits.discharge_delay_s", 0, ">H"),
    0x99: Field("limits.charge_ma", 0, ">H", times=1000),
    0x9A: Field("limits.charge_delay_s", 0, ">H"),
    0x9B: Field("limits.balance_start_mv", 0, ">H"),
    0x9C: Field("limits.balance_trigger_mv", 0, ">H"),
    0x9D: Field("limits.balance_enabled", 0, ">B"),
    0x9E: Field("limits.mos_temp_max_dc", 0, ">H", times=10),
    0x9F: Field("limits.mos_temp_max_release_dc", 0, ">H", times=10),
    0xA0: Field("limits.box_temp_max_dc", 0, ">H", times=10),
    0xA1: Field("limits.box_temp_max_release_dc", 0, ">H", times=10),
    0xA2: Field("limits.temp_spread_max_dc", 0, ">H", times=10),
    0xA3: Field("limits.charge_temp_max_dc", 0, ">H", times=10),
    0xA4: Field("limits.discharge_temp_max_dc", 0, ">H", times=10),
    0xA5: Field("limits.charge_temp_min_dc", 0, ">h", times=10),
    0xA6: Field("limits.charge_temp_min_release_dc", 0, ">h", times=10),
    0xA7: Field("limits.discharge_temp_min_dc", 0, ">h", times=10),
    0xA8: Field("limits.discharge_temp_min_release_dc", 0, ">h", times=10),
    0xA9: Field("limits.cells_set", 0, ">B"),
    0xAA: Field("info.nominal_mah", 0, ">I", times=1000),
    0xAB: Field("limits.charge_enabled", 0, ">B"),
    0xAC: Field("limits.discharge_enabled", 0, ">B"),
    0xAD: Field("limits.current_calibration_ma", 0, ">H"),
    0xAE: Field("info.bus_address", 0, ">B"),
    0xB0: Field("limits.sleep_s", 0, ">H"),
    0xB1: Field("limits.low_soc_pm", 0, ">B", times=10),
    0xB3: Field("limits.dedicated_charger", 0, ">B"),
    0xB6: Field("extra.run_time_s", 0, ">I", times=60),
    0xB8: Field("extra.calibrating", 0, ">B"),
    0xB9: Field("full_mah", 0, ">I", times=1000, absent=0),  # told from firmware 10.10 on
    PROTOCOL: Field("info.protocol", 0, ">B"),
}
TEMPERATURES = {0x80: "mos_temp_dc", 0x81: "temp_dc.0", 0x82: "temp_dc.1"}  # MOSFETs, box, battery
TEXTS = {0xB4: "user_id", 0xB5: "manufactured", 0xB7: "firmware", 0xBA: "maker_id"}
"""The last is no serial number: two devices of different size and firmware had the same one."""
CHEMISTRIES = ("LFP", "NMC", "LTO")
LENGTHS: Mapping[int, int] = {
    **{number: field.end for number, field in NUMBERS.items()},
    **dict.fromkeys((*TEMPERATURES, CURRENT, ALARM, STATUS), 2),
    CHEMISTRY: 1,
    PASSWORD: 10,
    0xB4: 8,
    0xB5: 4,
    0xB7: 15,
    0xBA: 24,
}


def checksum(body: bytes) -> bytes:
    """Sum of all bytes before it, 16 bits."""
    return (sum(body) & 0xFFFF).to_bytes(2, "big")


def frame_of(command: int, source: int, way: int, info: bytes) -> bytes:
    """A whole frame; `way` 0 is a request, 1 a reply."""
    size = INFO_AT + len(info) + TAIL - len(HEAD)
    body = HEAD + size.to_bytes(2, "big") + bytes((0, 0, 0, 0, command, source, way)) + info
    body += bytes((0, 0, 0, 0, 0x68, 0, 0))
    return body + checksum(body)


ASK = Send(frame_of(READ_ALL, FROM_PC, 0, b"\0"))
"""Read everything, of terminal 0: the only request there is here."""


def extract(request: bytes, buffer: bytes) -> bytes | None:
    """The reply inside the buffer; see kernel.Extract."""
    found = list(_candidates(buffer))
    for frame in found:
        if frame[-2:] == checksum(frame[:-2]):
            return frame
    if found:
        raise BadFrame(f"checksum should be {checksum(found[0][:-2]).hex()}", found[0])
    return None


def _candidates(buffer: bytes) -> Iterator[bytes]:
    """Everything with the shape of a reply, also where noise looks like the start of a longer one."""
    at = buffer.find(HEAD)
    while at >= 0:
        end = at + len(HEAD) + int.from_bytes(buffer[at + 2 : at + 4], "big")
        if at + INFO_AT + TAIL <= end <= len(buffer) and buffer[at + 10] == REPLY:
            yield buffer[at:end]
        at = buffer.find(HEAD, at + 1)


def decode(frame: Chunk, request: bytes | None = None) -> tuple[Measured, ...]:
    """One reply to a read. Raises BadFrame."""
    if not isinstance(frame, bytes):
        raise BadFrame("JK does not speak CAN here", frame.data)
    frame = frame.removeprefix(request or b"")  # the echo of an adapter
    if frame[:2] != HEAD or len(frame) < INFO_AT + TAIL:
        raise BadFrame("not a whole JK frame, which begins with 4e 57", frame)
    stated = int.from_bytes(frame[2:4], "big") + len(HEAD)
    if len(frame) != stated:
        raise BadFrame(f"{len(frame)} bytes of a frame that states {stated}", frame)
    if frame[-2:] != checksum(frame[:-2]):
        raise BadFrame(f"checksum should be {checksum(frame[:-2]).hex()}", frame)
    if frame[10] == 0:
        raise BadFrame("a request, not a reply", frame)
    return (measure(frame[INFO_AT:-TAIL]),)


def measure(info: bytes) -> Measured:
    """What a reply's list of ids and values says; what follows an id that nobody knows travels on as raw."""
    parts = dict(_parts(info))
    values: dict[str, Any] = {}
    for number, data in parts.items():
        if number in NUMBERS:
            for name, value in read((NUMBERS[number],), data).items():
                values[name] = {**values.get(name, {}), **value} if isinstance(value, dict) else value
    texts = {name: _text(parts[number]) for number, name in TEXTS.items() if number in parts}
    if CHEMISTRY in parts:
        code = parts[CHEMISTRY][0]
        texts["chemistry"] = CHEMISTRIES[code] if code < len(CHEMISTRIES) else str(code)
    values["info"] = values.get("info", {}) | {name: text for name, text in texts.items() if text}
    return combine(Measured(**values), _cells(parts), _current(parts), _temperatures(parts), _words(parts))


UNKNOWN = -1


def _parts(info: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(info):
        number, start = info[at], at + 1
        if number == CELL_LIST and start < len(info):
            size, start = info[start], start + 1
        elif number in LENGTHS:
            size = LENGTHS[number]
        else:
            yield UNKNOWN, info[at:]
            return
        at = start + size
        if at > len(info):
            raise BadFrame(f"value of id {number:#04x} is cut off", info)
        yield number, info[start:at]


def _text(data: bytes) -> str:
    return data.split(b"\0")[0].decode("ascii", "replace").strip(" _")


def _cells(parts: Mapping[int, bytes]) -> Measured:
    data = parts.get(CELL_LIST, b"")
    told = {data[at]: int.from_bytes(data[at + 1 : at + 3], "big") for at in range(0, len(data), 3)}
    if len(data) % 3 or not all(1 <= place <= CELLS for place in told):
        raise BadFrame("the list of cells is not a list of places and voltages", data)
    return Measured(cell_mv=tuple(told.get(place) for place in range(1, max(told, default=0) + 1)))


def _current(parts: Mapping[int, bytes]) -> Measured:
    """Two ways to count, and a newer device says which; unsure if the answer holds what we cannot read."""
    if CURRENT not in parts or (UNKNOWN in parts and PROTOCOL not in parts):
        return Measured()
    raw = int.from_bytes(parts[CURRENT], "big")
    if parts.get(PROTOCOL, b"\0") == b"\0":
        return Measured(current_ma=10 * (10_000 - raw))
    size = 10 * (raw & 0x7FFF)
    return Measured(current_ma=size if raw & 0x8000 else -size)


def _temperatures(parts: Mapping[int, bytes]) -> Measured:
    """0 to 100 is degC; 101 and more are degrees below zero."""
    told = {name: int.from_bytes(parts[number], "big") for number, name in TEMPERATURES.items() if number in parts}
    dc = {name: 10 * (raw if raw <= 100 else 100 - raw) for name, raw in told.items()}
    box, battery = dc.get("temp_dc.0"), dc.get("temp_dc.1")
    temps = () if box is battery is None else (box, battery)
    return Measured(mos_temp_dc=dc.get("mos_temp_dc"), temp_dc=temps)


def _words(parts: Mapping[int, bytes]) -> Measured:
    names = {ALARM: "alarm", STATUS: "status", UNKNOWN: "rest"}
    raw = {name: parts[number].hex() for number, name in names.items() if number in parts}
    told = Measured(raw=raw)
    if ALARM in parts:
        told = replace(told, faults=faults.brand("jk")["uart_alarm"].of_mask(int.from_bytes(parts[ALARM], "big")))
    if STATUS not in parts:
        return told
    on = [bool(parts[STATUS][1] >> bit & 1) for bit in range(3)]
    return replace(told, charge_on=on[0], discharge_on=on[1], extra={"balance_state": int(on[2])})


def poll(address: int) -> Conversation:
    """Everything, every period: there is no smaller question."""
    return decode((yield ASK), ASK.data)


DRIVER = Driver(
    name="jk_nw",
    brand="jk",
    title="JK (JiKong) BD6A, B1A, B2A series, firmware 6 to 11",
    line="UART-TTL of the GPS port or JK's RS485 adapter on it, 115200 8N1, one BMS per port",
    links=("serial", "tcp"),
    decode=decode,
    allow=(re.compile(re.escape(ASK.data), re.DOTALL),),
    poll=poll,
    extract=extract,
    baud=115200,
    gap_s=0.1,
    timeout_s=1.0,
)
