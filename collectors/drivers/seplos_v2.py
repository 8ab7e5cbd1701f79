"""Seplos EMU10xx and EMU11xx, protocol 2.0: ASCII on RS485, addresses 0 to 15. Protocol: docs/devices/seplos_v2.md."""

from __future__ import annotations

import re
from binascii import crc_hqx
from collections.abc import Callable
from contextlib import suppress
from itertools import chain

from cellherd import faults
from cellherd.errors import BadFrame, Silent
from cellherd.reading import Measured, combine
from collectors.drivers.pylontech_rs485.answers import ELEMENT_STATES, KELVIN, Cursor, maker
from collectors.drivers.pylontech_rs485.frames import Frame, ask, find, said
from collectors.fields import Field, Table, read
from collectors.kernel import Chunk, Conversation, Driver, Unsupported

TELEMETRY, ALARMS, MAKER, BLUETOOTH = 0x42, 0x44, 0x51, 0x61
MOST_CELLS, MOST_SENSORS = 32, 8
MAKER_BYTES, EVENT_BYTES = 32, 14
BINARY, BINARY_END = (0x10, 0x14), 0x0D  # version byte of the frames on Bluetooth: of requests, of answers

VALUES: Table = (  # behind cells and temperatures
    Field("current_ma", 0, ">h", times=10),
    Field("voltage_mv", 2, ">H", times=10),
    Field("remaining_mah", 4, ">H", times=10),
    Field("full_mah", 7, ">H", times=10),  # after the count of what follows
    Field("soc_pm", 9, ">H"),
    Field("info.nominal_mah", 11, ">H", times=10),
    Field("cycles", 13, ">H"),
    Field("soh_pm", 15, ">H"),
    Field("extra.port_mv", 17, ">H", times=10),
)
VALUES_BYTES = 19
EVENTS = {  # byte behind the count of alarm bytes -> the catalogue's word
    0: "v2_hardware",
    1: "v2_voltage",
    2: "v2_temperature",
    3: "v2_environment",
    4: "v2_current",
    5: "v2_state",
    12: "v2_charging",
    13: "v2_board",
}
SWITCHES, BALANCING, STATE, DROPPED = 6, slice(7, 9), 9, slice(10, 12)
CELL_BITS = 0x0F  # of v2_voltage: those that speak of cells


def crc(body: bytes) -> int:
    """CRC-16/XMODEM, of the frames on Bluetooth."""
    return crc_hqx(body, 0)


def extract(request: bytes, buffer: bytes) -> bytes | None:
    """The answer to `request` inside the buffer; see kernel.Extract."""
    return find(request, buffer, _read)


def decode(frame: Chunk, request: bytes | None = None) -> tuple[Measured, ...]:
    """One answer, in ASCII or as on Bluetooth. It does not name its command: the request tells, or its shape.

    Raises BadFrame, Unsupported for return code 04.
    """
    if not isinstance(frame, bytes):
        raise BadFrame("Seplos V2 is no CAN", frame.data)
    on_bluetooth = request is not None and request[1:2] == bytes(BINARY[:1])
    if request is None or on_bluetooth:
        frame = frame.removeprefix(request or b"")
        if frame[1:2] == bytes(BINARY[1:]):
            return _read(BLUETOOTH, _split_binary(frame))
    return said(frame, None if on_bluetooth else request, READERS, _read)


def _split_binary(frame: bytes) -> Frame:
    size = int.from_bytes(frame[5:7], "big")
    if len(frame) != size + 10 or frame[0] != ord("~") or frame[-1] != BINARY_END:
        raise BadFrame("not a Bluetooth frame of its stated length", frame)
    if crc(frame[1:-3]).to_bytes(2, "big") != frame[-3:-1]:
        raise BadFrame(f"CRC should be {crc(frame[1:-3]):04x}", frame)
    if frame[3] != BLUETOOTH or frame[4]:
        raise BadFrame(f"command {frame[3]:02x} answers {frame[4]:02x}: only 61, all of one module, is read", frame)
    return Frame(frame[1], frame[2], frame[4], frame[7:-3])


def _read(command: int, answer: Frame, group: bool | None = None) -> tuple[Measured, ...]:
    if command not in READERS:
        raise BadFrame(f"{command:02X} is not a command that we read", answer.info)
    return (combine(Measured(module=answer.address), READERS[command](answer.info)),)


def telemetry(info: bytes) -> Measured:
    """0x42: cells, temperatures, current, charge. The fifth temperature is the surroundings, the sixth the MOSFETs."""
    cursor = Cursor(info, 1)
    group = cursor.number(1)
    cells = tuple(cursor.number(2) for _ in range(cursor.counted(MOST_CELLS)))
    raw_temps = [cursor.number(2) for _ in range(cursor.counted(MOST_SENSORS))]
    temps = tuple(raw + KELVIN if raw else None for raw in raw_temps)
    values, rest = cursor.take(VALUES_BYTES), info[cursor.at :]
    if not cells or not 6 <= values[6] <= 10 or len(rest) < 2 * (values[6] - 6):
        raise BadFrame("no cells, or not the values that belong behind them", info)
    return combine(
        Measured(**read(VALUES, values)),
        Measured(
            cell_mv=cells,
            temp_dc=temps,
            mos_temp_dc=temps[5] if len(temps) == 6 else None,
            extra={"group": group},
            raw={"rest": rest.hex()} if any(rest) else {},
            info={"n_cells": len(cells)},
        ),
    )


def alarms(info: bytes) -> Measured:
    """0x44: a byte for each cell and sensor says which one, and the event bytes say what and how bad."""
    cursor = Cursor(info, 2)
    cells, temps = (cursor.take(cursor.counted(most)) for most in (MOST_CELLS, MOST_SENSORS))
    sums = cursor.take(2)
    events = cursor.take(cursor.counted(len(info)))
    if not cells or not ELEMENT_STATES.issuperset(cells + temps + sums) or len(events) < EVENT_BYTES:
        raise BadFrame("a cell, sensor or current is in no state that is known, or events are missing", info)
    if cursor.at != len(info):
        raise BadFrame(f"{len(info) - cursor.at} bytes are left behind the events", info)
    switches = events[SWITCHES]
    raw = {"events": events.hex(), "sums": sums.hex()}
    raw |= {name: states.hex() for name, states in (("cells", cells), ("temps", temps)) if any(states)}
    return Measured(
        charge_on=bool(switches & 2),
        discharge_on=bool(switches & 1),
        balancing=int.from_bytes(events[BALANCING], "little"),
        faults=_faults(cells, temps, events),
        extra={"limiting": switches >> 2 & 1, "heating": switches >> 3 & 1, "state": events[STATE]},
        raw=raw,
    )


def _faults(cells: bytes, temps: bytes, events: bytes) -> tuple[str, ...]:
    """The events tell; where they are silent, the states of cells and sensors do."""
    words = faults.brand("seplos")
    found = [words[name].of_mask(events[at]) for at, name in EVENTS.items()]
    told = {"v2_cell": events[1] & CELL_BITS, "v2_sensor": events[2] | events[3]}
    for name, states in (("v2_cell", cells), ("v2_sensor", temps)):
        found += [words[name].of_value(str(state)) for state in states if state and not told[name]]
    if any(events[DROPPED]):
        found.append(words["v2_dropped"].of_value("cell"))
    return tuple(dict.fromkeys(chain.from_iterable(found)))


def about(info: bytes) -> Measured:
    """0x51: model, software, maker."""
    if len(info) != MAKER_BYTES:
        raise BadFrame(f"{len(info)} bytes are no answer to 51", info)
    return Measured(**maker(info))


READERS: dict[int, Callable[[bytes], Measured]] = {
    ALARMS: alarms,
    TELEMETRY: telemetry,
    MAKER: about,
    BLUETOOTH: telemetry,
}


def poll(address: int) -> Conversation:
    """Telemetry and alarms of one module; the group must equal the address on RS485."""
    parts: list[Measured] = []
    for command in (TELEMETRY, ALARMS):
        request = ask(address, command, bytes((address,)))
        parts += decode((yield request), request.data)
    return (combine(*parts),)


def identify(address: int) -> Conversation:
    """Model and software, where the firmware tells them; nominal charge and cell count."""
    parts = [*(yield from poll(address))]
    request = ask(address, MAKER)
    with suppress(Silent, Unsupported):
        parts += decode((yield request), request.data)
    return (combine(*parts),)


DRIVER = Driver(
    name="seplos_v2",
    brand="seplos",
    title="Seplos EMU10xx and EMU11xx, protocol 2.0",
    line="RS485, 9600 8N1 (19200 on many: `?baud=19200`), addresses 0 to 15 by DIP switch, 120 ohm at both ends",
    links=("serial", "tcp"),
    decode=decode,
    allow=(re.compile(rb"~200([0-9A-F])46(?:4[24]E0020\1|510000)[0-9A-F]{4}\r"),),
    poll=poll,
    identify=identify,
    extract=extract,
    baud=9600,
    timeout_s=0.8,  # the answer begins within 0.5 s
    ascii=True,
)
