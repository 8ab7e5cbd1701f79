"""JBD UP16S and its series, RS485 or UART, 9600 8N1, several on a bus. Protocol: docs/devices/jbd_up16s.md."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress

from cellherd import faults
from cellherd.errors import BadFrame, Silent
from cellherd.reading import Measured, combine
from collectors.fields import Field, Table, read
from collectors.kernel import Chunk, Conversation, Driver, Send
from collectors.modbus_rtu import frame_of

READ = 0x78
STATUS, LIMITS, PRODUCT, TOTALS = (0x1000, 0x10A0), (0x1800, 0x1900), (0x1C00, 0x1CA0), (0x2000, 0x2050)
HEAD, CRC = 8, 2  # address, function, start, end, length
ZERO_A, ZERO_C = 300_000, 500
MOST_CELLS, MOST_SENSORS = 32, 8

MAIN: Table = (
    Field("voltage_mv", 0, ">H", times=10),
    Field("current_ma", 4, ">I", times=10, plus=-10 * ZERO_A),
    Field("soc_pm", 8, ">H", over=10),  # a master knows whole percents of the packs behind it only
    Field("remaining_mah", 10, ">H", times=10),
    Field("full_mah", 12, ">H", times=10),
    Field("info.nominal_mah", 14, ">H", times=10),
    Field("mos_temp_dc", 16, ">H", plus=-ZERO_C),
    Field("extra.ambient_temp_dc", 18, ">H", plus=-ZERO_C),
    Field("extra.operation_status", 20, ">H"),  # 0 idle, 1 charging, 2 discharging
    Field("soh_pm", 22, ">H", times=10),
    Field("cycles", 36, ">H"),
    Field("cell_max_at", 38, ">H", plus=-1, absent=0),
    Field("cell_max_mv", 40, ">H"),
    Field("cell_min_at", 42, ">H", plus=-1, absent=0),
    Field("cell_min_mv", 44, ">H"),
    Field("extra.cell_mean_mv", 46, ">H"),
    Field("temp_max_dc", 50, ">H", plus=-ZERO_C),
    Field("temp_min_dc", 54, ">H", plus=-ZERO_C),
    Field("extra.temp_mean_dc", 56, ">H", plus=-ZERO_C),
    Field("extra.charge_limit_mv", 58, ">H", times=100),
    Field("extra.charge_limit_ma", 60, ">H", times=100),
    Field("extra.discharge_limit_mv", 62, ">H", times=100),
    Field("extra.discharge_limit_ma", 64, ">H", times=100),
)
FAULTS, ALARMS, MOSFETS, CELLS_AT = slice(24, 28), slice(28, 32), slice(32, 34), 66
RAW = {"up16s_fault": FAULTS, "up16s_alarm": ALARMS, "mosfets": MOSFETS, "unknown": slice(2, 4), "link": slice(34, 36)}
BALANCING, FIRMWARE, PACK, TAIL_BYTES = slice(2, 4), slice(4, 6), slice(6, 36), 36  # behind the temperatures

LIMIT_TABLE: Table = (  # trip and release of each in turn; names by the values of a capture
    Field("limits.cell_high_mv", 0, ">H"),
    Field("limits.cell_high_release_mv", 2, ">H"),
    Field("limits.cell_max_mv", 6, ">H"),
    Field("limits.cell_max_release_mv", 8, ">H"),
    Field("limits.cell_low_mv", 12, ">H"),
    Field("limits.cell_low_release_mv", 14, ">H"),
    Field("limits.cell_min_mv", 18, ">H"),
    Field("limits.cell_min_release_mv", 20, ">H"),
    Field("limits.voltage_high_mv", 24, ">H", times=10),
    Field("limits.voltage_high_release_mv", 26, ">H", times=10),
    Field("limits.voltage_max_mv", 30, ">H", times=10),
    Field("limits.voltage_max_release_mv", 32, ">H", times=10),
    Field("limits.voltage_low_mv", 36, ">H", times=10),
    Field("limits.voltage_low_release_mv", 38, ">H", times=10),
    Field("limits.voltage_min_mv", 42, ">H", times=10),
    Field("limits.voltage_min_release_mv", 44, ">H", times=10),
)
LIMIT_BYTES = 48
TOTAL_TABLE: Table = (
    Field("counters.charge_mah", 16, ">I", times=100),
    Field("counters.discharge_mah", 20, ">I", times=100),
)
TOTAL_BYTES = 24
TEXTS = {"serial": slice(16, 46), "pack_serial": slice(52, 82), "model": slice(88, 118)}
DATES = {"manufactured": 46, "pack_manufactured": 82}
PRODUCT_BYTES = 118


def ask(address: int, block: tuple[int, int]) -> Send:
    """A request for one block; the only kind there is here."""
    start, end = block
    return Send(frame_of(bytes((address, READ)) + start.to_bytes(2, "big") + end.to_bytes(2, "big") + bytes(2)))


def extract(request: bytes, buffer: bytes) -> bytes | None:
    """The answer to `request` inside the buffer, where the master's own questions pass too; see kernel.Extract."""
    broken, at = None, buffer.find(request[:6])
    while at >= 0:
        size = int.from_bytes(buffer[at + 6 : at + HEAD], "big")
        frame = buffer[at : at + HEAD + size + CRC]
        if size and len(frame) == HEAD + size + CRC:  # a question has no data
            if frame_of(frame[:-CRC]) == frame:
                return frame
            broken = broken or BadFrame("wrong CRC", frame)
        at = buffer.find(request[:6], at + 1)
    if broken:
        raise broken
    return None


def decode(frame: Chunk, request: bytes | None = None) -> tuple[Measured, ...]:
    """One answer; it names its pack and block. Raises BadFrame."""
    if not isinstance(frame, bytes):
        raise BadFrame("JBD UP does not speak CAN here", frame.data)
    frame = frame.removeprefix(request or b"")  # the echo of an adapter
    if len(frame) < HEAD + CRC or len(frame) != HEAD + int.from_bytes(frame[6:HEAD], "big") + CRC:
        raise BadFrame("not a JBD UP answer of its stated length", frame)
    if frame_of(frame[:-CRC]) != frame:
        raise BadFrame("wrong CRC", frame)
    block = int.from_bytes(frame[2:4], "big"), int.from_bytes(frame[4:6], "big")
    if frame[1] != READ or block not in READERS:
        raise BadFrame(f"function {frame[1]:#04x}, block {block[0]:#06x} is not one that we read", frame)
    return (combine(Measured(module=frame[0]), READERS[block](frame[HEAD:-CRC])),)


def status(data: bytes) -> Measured:
    """Block 0x1000: everything that changes."""
    cells = _counted(data, CELLS_AT, MOST_CELLS)
    behind = CELLS_AT + 2 + 2 * len(cells)
    temps = _counted(data, behind, MOST_SENSORS)
    tail = data[behind + 2 + 2 * len(temps) :]
    if not cells or len(tail) < TAIL_BYTES:
        raise BadFrame(f"{len(data)} bytes of status are too few for {len(cells)} cells", data)
    words = faults.brand("jbd")
    masks = {name: int.from_bytes(data[RAW[name]], "big") for name in ("up16s_fault", "up16s_alarm")}
    found = [fault for name, mask in masks.items() for fault in words[name].of_mask(mask)]
    mosfets = int.from_bytes(data[MOSFETS], "big")
    extra = {"precharging": mosfets >> 2 & 1, "heating": mosfets >> 3 & 1, "fan": mosfets >> 4 & 1}
    raw = {name: data[at].hex() for name, at in RAW.items()} | {"rest": tail[:2].hex() + tail[TAIL_BYTES:].hex()}
    state = Measured(
        cell_mv=cells,
        temp_dc=tuple(raw_temp - ZERO_C for raw_temp in temps),
        discharge_on=bool(mosfets & 1),
        charge_on=bool(mosfets & 2),
        balancing=int.from_bytes(tail[BALANCING], "big"),
        faults=tuple(dict.fromkeys(found)),
        extra=extra,
        raw=raw,
        info={"n_cells": len(cells), "firmware": _version(tail[FIRMWARE]), "pack_serial": _text(tail[PACK])},
    )
    return combine(Measured(**read(MAIN, data)), state)


def _counted(data: bytes, at: int, most: int) -> tuple[int, ...]:
    count = int.from_bytes(data[at : at + 2], "big")
    if count > most or at + 2 + 2 * count > len(data):
        raise BadFrame(f"{count} values at {at} do not fit into {len(data)} bytes", data)
    return tuple(int.from_bytes(data[i : i + 2], "big") for i in range(at + 2, at + 2 + 2 * count, 2))


def _version(data: bytes) -> str:
    """Major and minor; of a pack behind it a master passes on the minor alone."""
    return f"{data[0]}.{data[1]}" if data[0] else str(data[1])


def _text(data: bytes) -> str:
    return data.split(b"\0")[0].decode("ascii", "replace").strip()


def limits(data: bytes) -> Measured:
    """Block 0x1800: voltages at which the pack warns and cuts. Its currents and temperatures are not told apart yet."""
    if len(data) < LIMIT_BYTES:
        raise BadFrame("too few limits", data)
    return Measured(raw={"limits": data.hex()}, **read(LIMIT_TABLE, data))


def product(data: bytes) -> Measured:
    """Block 0x1C00: numbers, model and dates; the pack's own number is the same on many packs."""
    if len(data) < PRODUCT_BYTES:
        raise BadFrame("too few bytes of product information", data)
    texts = {name: _text(data[at]) for name, at in TEXTS.items()}
    for name, at in DATES.items():
        year, month, day = (int.from_bytes(data[i : i + 2], "big") for i in range(at, at + 6, 2))
        texts[name] = f"{year}-{month:02}-{day:02}" if year else ""
    return Measured(info={name: text for name, text in texts.items() if text})


def totals(data: bytes) -> Measured:
    """Block 0x2000: charge that went in and out in the life of the pack."""
    if len(data) < TOTAL_BYTES:
        raise BadFrame("too few totals", data)
    return Measured(**read(TOTAL_TABLE, data))


READERS: dict[tuple[int, int], Callable[[bytes], Measured]] = {
    STATUS: status,
    LIMITS: limits,
    PRODUCT: product,
    TOTALS: totals,
}


def poll(address: int) -> Conversation:
    """Status of one pack; the master answers for those behind it."""
    request = ask(address, STATUS)
    return decode((yield request), request.data)


def identify(address: int) -> Conversation:
    """Numbers, dates and limits; only the pack whose port this is answers these."""
    parts = [*(yield from poll(address))]
    for block in (PRODUCT, LIMITS):
        request = ask(address, block)
        with suppress(Silent):
            parts += decode((yield request), request.data)
    return (combine(*parts),)


def seldom(address: int) -> Conversation:
    """Lifetime totals, of the pack whose port this is."""
    request = ask(address, TOTALS)
    try:
        return decode((yield request), request.data)
    except Silent:
        return ()


DRIVER = Driver(
    name="jbd_up16s",
    brand="jbd",
    title="JBD UP series (UP16S010, UP16S015, UP16S020)",
    line="RS485 or UART, 9600 8N1; several packs on one bus, the master has address 1",
    links=("serial", "tcp"),
    decode=decode,
    allow=tuple(
        re.compile(b"|".join(re.escape(ask(address, block).data) for address in range(1, 17)), re.DOTALL)
        for block in READERS
    ),
    poll=poll,
    identify=identify,
    seldom=seldom,
    extract=extract,
    default_address=1,
    baud=9600,
    gap_s=0.2,
    timeout_s=1.5,
)
