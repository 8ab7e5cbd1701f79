"""Seplos BMS 3.0 (10E, SP and XZH boards), Modbus RTU on RS485 at 19200. Protocol: docs/devices/seplos_v3.md."""

from __future__ import annotations

from calendar import timegm
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from itertools import chain
from typing import Literal

from cellherd import faults
from cellherd.errors import BadFrame, Silent
from cellherd.reading import LogEntry, Measured, combine
from collectors.drivers.seplos_v3.maps import (
    EVENTS,
    HISTORY,
    INVERTER,
    LIMITS,
    PACK,
    SPREAD,
    STACK,
    STACK_WIDE,
    STACK_WORDS,
    TEXTS,
    UNIT,
)
from collectors.fields import Table, read
from collectors.kernel import Chunk, Conversation, Driver, Registers, Unsupported
from collectors.modbus_rtu import split

COILS: Literal[1] = 1
INPUTS: Literal[4] = 4
REFUSED = 0x80
CALENDAR = 7

PIA = Registers(INPUTS, 0x1000, 0x11)
PIB = Registers(INPUTS, 0x1100, 0x1A)
PIC = Registers(COILS, 0x1200, 0x90)
SPA = Registers(INPUTS, 0x1300, 0x35), Registers(INPUTS, 0x1335, 0x35)
VIA = Registers(INPUTS, 0x1700, 0x33)
PCT = Registers(INPUTS, 0x1800, 0x24)
EIA = Registers(INPUTS, 0x2000, 0x1A)
EIB = Registers(INPUTS, 0x2100, 0x16)
EIC = Registers(COILS, 0x2200, 0x50)
HIA = 0x7000  # "first" and "next" stand in the place of the count
PIC_CELLS, PIC_BALANCING, PIC_EVENTS, PIC_BYTES, EIC_BYTES = 6, slice(6, 8), 8, 18, 10
STATE, SWITCHES = 0, 7  # places among the event bytes


def decode(frame: Chunk, request: bytes | None = None) -> tuple[Measured, ...]:
    """The answer to a read of registers or coils; only the request tells which ones it carries.

    Raises BadFrame, Unsupported for a Modbus exception.
    """
    reply = split(frame, request, (COILS, INPUTS), shorter=True)  # some firmware leaves the last register out
    return (combine(Measured(module=reply.slave), measure(reply.function, reply.start, reply.data)),)


def measure(function: int, start: int, data: bytes) -> Measured:
    """What stands whole in the bytes behind `start`. Raises BadFrame outside the tables."""
    if (function, start) in BLOCKS:
        return BLOCKS[function, start](data)
    base = start & 0xFF00
    if function == INPUTS and base in TABLES:
        return Measured(**read(TABLES[base], data, shift=2 * (start - base)))
    raise BadFrame(f"function {function}, address {start:#06x} is in none of the tables that we read", data)


def unit(data: bytes) -> Measured:
    """PIB: cells and temperatures. Boards with fewer cells than columns leave the last ones at 0."""
    values = read(UNIT, data)
    cells = values.get("cell_mv", ())
    wired = max((i + 1 for i, mv in enumerate(cells) if mv), default=len(cells))
    return Measured(**values | {"cell_mv": cells[:wired]})


def events_of_pack(data: bytes) -> Measured:
    """PIC, a byte for eight coils: which cells and sensors, balancing, and the event bytes."""
    if len(data) != PIC_BYTES:
        raise BadFrame(f"{len(data)} bytes of pack events instead of {PIC_BYTES}", data)
    raw = {"cells": data[:PIC_CELLS].hex()} if any(data[:PIC_CELLS]) else {}
    balancing = int.from_bytes(data[PIC_BALANCING], "little")
    return combine(_events(data[PIC_EVENTS:]), Measured(balancing=balancing, raw=raw))


def events_of_stack(data: bytes) -> Measured:
    """EIC: the event bytes of all packs together."""
    if len(data) != EIC_BYTES:
        raise BadFrame(f"{len(data)} bytes of stack events instead of {EIC_BYTES}", data)
    return replace(_events(data), kind="bank")


def _events(data: bytes) -> Measured:
    words, switches = faults.brand("seplos"), data[SWITCHES]
    found = (words[name].of_mask(data[at]) for at, name in EVENTS.items())
    return Measured(
        charge_on=bool(switches & 2),
        discharge_on=bool(switches & 1),
        faults=tuple(dict.fromkeys(chain.from_iterable(found))),
        extra={"state": data[STATE], "limiting": switches >> 2 & 1, "heating": switches >> 3 & 1},
        raw={"events": data.hex()},
    )


def stack(data: bytes) -> Measured:
    """EIA: sums of the stack, whose first ten numbers have two registers each, the low one first."""
    wide = data[: 2 * STACK_WIDE]
    swapped = b"".join(wide[i + 2 : i + 4] + wide[i : i + 2] for i in range(0, len(wide) - 3, 4))
    whole = swapped + data[len(wide) :]
    raw = {name: whole[at].hex() for name, at in STACK_WORDS.items()}
    return Measured(kind="bank", raw=raw, **read(STACK, whole))


def spread(data: bytes) -> Measured:
    """EIB: the extremes over all packs."""
    return Measured(kind="bank", **read(SPREAD, data))


def about(data: bytes) -> Measured:
    """VIA: who the pack is."""
    return _texts(data, TEXTS)


def inverter(data: bytes) -> Measured:
    """PCT: which inverter the pack is set up for."""
    return _texts(data, INVERTER)


def _texts(data: bytes, places: Mapping[str, slice]) -> Measured:
    found = {name: data[at].split(b"\0")[0].decode("ascii", "replace").strip() for name, at in places.items()}
    return Measured(info={name: text for name, text in found.items() if text})


def history(data: bytes) -> Measured:
    """HIA: one entry of the pack's own log, with the time of its own clock."""
    if len(data) < HISTORY.stop:
        raise BadFrame("too few bytes for an entry of the log", data)
    calendar, events = data[4 : 4 + CALENDAR], data[HISTORY]
    try:
        moment = datetime(int.from_bytes(calendar[:2], "little"), *calendar[2:])
    except ValueError:
        moment = None
    entry = LogEntry(
        code=events.hex(),
        text=" ".join(sorted(_events(events).faults or ())),
        device_ts=None if moment is None else 1000 * timegm(moment.timetuple()),
        hex=data.hex(),
    )
    return Measured(log=(entry,), extra={"log_entries_left": int.from_bytes(data[2:4] + data[:2], "big")})


BLOCKS: dict[tuple[int, int], Callable[[bytes], Measured]] = {
    (INPUTS, PIB.start): unit,
    (COILS, PIC.start): events_of_pack,
    (COILS, EIC.start): events_of_stack,
    (INPUTS, EIA.start): stack,
    (INPUTS, EIB.start): spread,
    (INPUTS, VIA.start): about,
    (INPUTS, PCT.start): inverter,
    (INPUTS, HIA): history,
}
TABLES: dict[int, Table] = {PIA.start: PACK, SPA[0].start: LIMITS}


def poll(address: int) -> Conversation:
    """Values, cells and events of one pack; not every firmware tells its events."""
    parts = [Measured(module=address), measure(INPUTS, PIA.start, (yield PIA))]
    parts.append(measure(INPUTS, PIB.start, (yield PIB)))
    with suppress(Unsupported):
        parts.append(measure(PIC.function, PIC.start, (yield PIC)))
    return (combine(*parts),)


def identify(address: int) -> Conversation:
    """Model, serial, firmware, limits, and the inverter it is set up for."""
    parts = [Measured(module=address)]
    for request in (VIA, PCT, *SPA):
        with suppress(Silent, Unsupported):
            parts.append(measure(request.function, request.start, (yield request)))
    return (combine(*parts),)


def seldom(address: int) -> Conversation:
    """Lifetime discharge, and the stack as its master at address 0 sums it up."""
    pack = measure(PIA.function, PIA.start, (yield PIA))
    parts = []
    for request in (EIA, EIB, EIC) if address == 0 else ():
        with suppress(Silent, Unsupported):
            parts.append(measure(request.function, request.start, (yield request)))
    counted = Measured(module=address, counters=pack.counters)
    return (counted, combine(*parts)) if parts else (counted,)


DRIVER = Driver(
    name="seplos_v3",
    brand="seplos",
    title="Seplos BMS 3.0 (10E, SP and XZH boards)",
    line="RS485, 19200 8N1, Modbus RTU, addresses 0 to 15; the master speaks on the pair too",
    links=("modbus",),
    decode=decode,
    allow=(PIA, PIB, PIC, *SPA, VIA, PCT, EIA, EIB, EIC),
    poll=poll,
    identify=identify,
    seldom=seldom,
    baud=19200,
    gap_s=0.1,
    timeout_s=0.8,
)
