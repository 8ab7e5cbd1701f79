"""PACE BMS, protocol 2.5, as in many rack batteries: ASCII on RS232 or RS485. Protocol: docs/devices/pace.md."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from itertools import chain
from typing import Any

from cellherd import faults
from cellherd.errors import BadFrame, Silent
from cellherd.reading import Measured, combine
from collectors.drivers.pylontech_rs485 import frames
from collectors.drivers.pylontech_rs485.answers import ELEMENT_STATES, KELVIN, Cursor, modules
from collectors.drivers.pylontech_rs485.frames import GROUP, Frame, find
from collectors.fields import Field, Table, read
from collectors.kernel import Chunk, Conversation, Driver, Send, Unsupported

VERSION = 0x25
ANALOG, STATUS, HARDWARE, SERIAL = 0x42, 0x44, 0xC1, 0xC2
MOST_CELLS, MOST_SENSORS = 32, 8
HARDWARE_BYTES, SERIAL_BYTES, NUMBER_BYTES = 20, 40, 20

VALUES: Table = (  # behind cells and temperatures
    Field("current_ma", 0, ">h", times=10),
    Field("voltage_mv", 2, ">H"),
    Field("remaining_mah", 4, ">H", times=10),
    Field("full_mah", 7, ">H", times=10),  # after a byte that names the variant
    Field("cycles", 9, ">H"),
    Field("info.nominal_mah", 11, ">H", times=10),
)
VALUES_BYTES = 13
STATES = (
    "protection_1", "protection_2", "system", "config", "fault", "balancing", "balancing_low", "warning_1", "warning_2",
)  # fmt: skip
NAMED = ("protection_1", "protection_2", "system", "fault", "warning_1", "warning_2")  # words of the catalogue
CELL_BITS = 0x03  # of protection_1 and warning_1: those that speak of cells


def ask(address: int, command: int, info: bytes = b"") -> Send:
    """A request to the module at `address`; `info` FF means all that hang behind it."""
    return Send(frames.write(address, command, info, VERSION))


def decode(frame: Chunk, request: bytes | None = None) -> tuple[Measured, ...]:
    """One answer; it does not name its command, so the request tells, or else the payload's shape.

    Raises BadFrame, Unsupported for return code 04.
    """
    if not isinstance(frame, bytes):
        raise BadFrame("PACE is no CAN here", frame.data)
    return frames.said(frame, request, (STATUS, ANALOG, *TEXTS), _read)


def _read(command: int, answer: Frame, group: bool | None) -> tuple[Measured, ...]:
    if command in MODULES:
        return modules(answer, group, MODULES[command])
    if command in TEXTS:
        return (Measured(module=answer.address, info=TEXTS[command](answer.info)),)
    raise BadFrame(f"{command:02X} is not a command that we read", answer.info)


def extract(request: bytes, buffer: bytes) -> bytes | None:
    """The answer to `request` inside the buffer; see kernel.Extract."""
    return find(request, buffer, _read)


def analog(cursor: Cursor) -> dict[str, Any]:
    """0x42: cells, temperatures, current, charge. Of six temperatures the fifth is at the MOSFETs, the last outside.

    The state of charge is remaining by full charge, as the maker's own tool shows it; the answer carries none.
    """
    cells = tuple(cursor.number(2) for _ in range(cursor.counted(MOST_CELLS)))
    raw_temps = [cursor.number(2) for _ in range(cursor.counted(MOST_SENSORS))]
    temps = tuple(raw + KELVIN if raw else None for raw in raw_temps)
    if not cells or not temps:
        raise BadFrame("no cells or no sensors", cursor.data)
    values = read(VALUES, cursor.take(VALUES_BYTES))
    full = values["full_mah"]
    return values | {
        "cell_mv": cells,
        "temp_dc": temps,
        "mos_temp_dc": temps[4] if len(temps) == 6 else None,
        "soc_pm": round(1000 * values["remaining_mah"] / full) if full else None,
        "info": values["info"] | {"n_cells": len(cells)},
    }


def status(cursor: Cursor) -> dict[str, Any]:
    """0x44: which cell or sensor is outside its limits, protections, warnings, MOSFETs, balancing."""
    cells, temps = (cursor.take(cursor.counted(most)) for most in (MOST_CELLS, MOST_SENSORS))
    sums = cursor.take(3)
    if not cells or not ELEMENT_STATES.issuperset(cells + temps + sums):
        raise BadFrame("a cell, sensor or current is in no state that is known", cursor.data)
    states = dict(zip(STATES, cursor.take(len(STATES)), strict=True))
    raw = {"states": bytes(states.values()).hex(), "sums": sums.hex()}
    raw |= {name: part.hex() for name, part in (("cells", cells), ("temps", temps)) if any(part)}
    return {
        "charge_on": bool(states["system"] & 2),
        "discharge_on": bool(states["system"] & 4),
        "balancing": states["balancing"] << 8 | states["balancing_low"],
        "faults": _faults(cells, temps, states),
        "raw": raw,
    }


def _faults(cells: bytes, temps: bytes, states: dict[str, int]) -> tuple[str, ...]:
    """The status bits tell; where they are silent, the states of cells and sensors do."""
    words = faults.brand("pace")
    found = [words[name].of_mask(states[name]) for name in NAMED]
    told = {"cell": (states["protection_1"] | states["warning_1"]) & CELL_BITS}
    told["sensor"] = states["protection_2"] & 0x7F | states["warning_2"] & 0x7F
    for name, parts in (("cell", cells), ("sensor", temps)):
        found += [words[name].of_value(str(state)) for state in parts if state and not told[name]]
    return tuple(dict.fromkeys(chain.from_iterable(found)))


def hardware(info: bytes) -> dict[str, str | int]:
    """0xC1: model and version in one text."""
    if len(info) != HARDWARE_BYTES:
        raise BadFrame(f"{len(info)} bytes are no answer to C1", info)
    return {"model": _text(info)}


def serial(info: bytes) -> dict[str, str | int]:
    """0xC2: number of the BMS, and on some of the pack."""
    if len(info) != SERIAL_BYTES:
        raise BadFrame(f"{len(info)} bytes are no answer to C2", info)
    numbers = {"serial": _text(info[:NUMBER_BYTES]), "pack_serial": _text(info[NUMBER_BYTES:])}
    return {name: number for name, number in numbers.items() if number}


def _text(data: bytes) -> str:
    return data.split(b"\0")[0].decode("ascii", "replace").strip(" \xff\ufffd")


MODULES: dict[int, Callable[[Cursor], dict[str, Any]]] = {ANALOG: analog, STATUS: status}
TEXTS: dict[int, Callable[[bytes], dict[str, str | int]]] = {HARDWARE: hardware, SERIAL: serial}


def poll(address: int) -> Conversation:
    """The module at `address` and all that hang behind it; where that does not work, the module alone."""
    try:
        return (yield from _poll(address, GROUP))
    except (BadFrame, Silent):
        return (yield from _poll(address, bytes((address,))))


def _poll(address: int, whom: bytes) -> Conversation:
    said: dict[int | None, list[Measured]] = {}
    for command in (ANALOG, STATUS):
        request = ask(address, command, whom)
        for part in decode((yield request), request.data):
            said.setdefault(part.module, []).append(part)
    return tuple(combine(*parts) for parts in said.values())


def identify(address: int) -> Conversation:
    """Model and serial of the module that answers; cells and nominal charge of all."""
    found = {part.module: [part] for part in (yield from poll(address))}
    for command in TEXTS:
        request = ask(address, command)
        with suppress(Silent, Unsupported):
            found.setdefault(address, []).extend(decode((yield request), request.data))
    return tuple(combine(*parts) for parts in found.values())


ADDRESS = rb"0[0-9A-F]"
DRIVER = Driver(
    name="pace",
    brand="pace",
    title="PACE BMS, protocol 2.5 (Greenrich, Hubble, Jakiper, SOK and others)",
    line="RS232 of the first module, or RS485; 9600 8N1",
    links=("serial", "tcp"),
    decode=decode,
    allow=(re.compile(rb"~25%b46(?:4[24]E002(?:FF|%b)|C[12]0000)[0-9A-F]{4}\r" % (ADDRESS, ADDRESS)),),
    poll=poll,
    identify=identify,
    extract=extract,
    default_address=1,
    baud=9600,
    timeout_s=3.0,  # sixteen modules at 9600 take 2 s
    ascii=True,
    whole_bus=True,
)
