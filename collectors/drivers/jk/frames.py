"""The 300-byte frame of JK devices (55 AA EB 90), which Bluetooth and the triggered RS485 share. Low byte first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from struct import unpack_from

from cellherd import faults
from cellherd.errors import BadFrame
from cellherd.reading import LogEntry, Measured
from collectors.drivers.jk import says
from collectors.drivers.jk.maps import (
    BOOTS,
    CELLS,
    HEADER,
    LIMITS,
    PRESENT,
    RUNTIME,
    SHORT_CELLS,
    in_frame,
    in_short_frame,
)
from collectors.fields import Table, read
from collectors.sums import byte_sum

HEAD = bytes.fromhex("55aaeb90")
SIZE = 300
SETTINGS, CELL_INFO, DEVICE, LOG = 1, 2, 3, 5
LOG_AT, LOG_ENTRY, LOG_MOST = 11, 5, 50
CLOCK_BEGINS_MS = 1_577_836_800_000
"""1 January 2020 UTC: the clock of a JK counts seconds from there, or from its first power-on until it was set."""
SUM_OFF = 20
"""A layout is wrong if the cells' sum differs from the pack voltage by more than one part in this many."""

Layout = tuple[int, Table]
"""Places for cells, and the whole table."""
LONG: Layout = (CELLS, in_frame(RUNTIME))
SHORT: Layout = (SHORT_CELLS, in_short_frame(RUNTIME))
TELLING = {  # what tells the layouts apart: pack voltage and mask of cells
    n: tuple(next(field for field in table if field.name == name) for name in ("voltage_mv", PRESENT.name))
    for n, table in (LONG, SHORT)
}
BITS = tuple(1 << i for i in range(CELLS))
LIMITS_IN_FRAME, BOOTS_IN_FRAME = in_frame(LIMITS), in_frame((BOOTS,))


def checksum(body: bytes) -> int:
    """Sum of all bytes before it, 8 bits."""
    return byte_sum(body) & 0xFF


def sound(buffer: bytes) -> Iterator[tuple[int, bytes]]:
    """Every whole frame with its place in the buffer; noise, echoes and cut frames are passed over."""
    at = buffer.find(HEAD)
    while at >= 0:
        frame = buffer[at : at + SIZE]
        whole = len(frame) == SIZE and frame[-1] == checksum(frame[:-1])
        if whole:
            yield at, frame
        at = buffer.find(HEAD, at + (SIZE if whole else 1))


def refuse_broken(buffer: bytes) -> None:
    """Raise BadFrame if a frame stands in the buffer whose checksum is wrong, and no other one began inside it."""
    at = buffer.rfind(HEAD)
    frame = buffer[at : at + SIZE] if at >= 0 else b""
    if len(frame) == SIZE and frame[-1] != checksum(frame[:-1]):
        raise BadFrame(f"checksum should be {checksum(frame[:-1]):02x}", frame)


def every(buffer: bytes) -> list[tuple[int, bytes]]:
    """All whole frames and their places, one at least. Raises BadFrame that says what is wrong with the bytes."""
    if found := list(sound(buffer)):
        return found
    refuse_broken(buffer)
    raise BadFrame(f"no frame of {SIZE} bytes behind 55 aa eb 90", buffer)


def read_frame(frame: bytes, *, long: bool = False, module: int | None = None) -> Measured:
    """What a sound frame says; `long` if it can only have 32 places for cells. Raises BadFrame for an unknown type."""
    if frame[4] not in READERS:
        raise BadFrame(f"frame type {frame[4]:#04x} is not one that we read", frame)
    said = cell_info(frame, LONG) if long and frame[4] == CELL_INFO else READERS[frame[4]](frame)
    return said if module is None else replace(said, module=module)


def cell_info(frame: bytes, layout: Layout) -> Measured:
    """Type 2."""
    return says.runtime(frame, layout[1])


def layout_of(frame: bytes) -> Layout:
    """Firmware from 11 on has 32 places for cells, older one 24; only the contents tell.

    In the right layout the mask of present cells agrees with the cells that have a voltage, and their sum with the
    pack's. Raises BadFrame if both disagree in both layouts: JK04 devices use the same frame for other things.
    """
    long = _misfit(frame, LONG)
    if long[0] == 0 and long[1] * SUM_OFF < long[2]:
        return LONG
    short = _misfit(frame, SHORT)
    wrong_bits, off, voltage = min(long, short)
    if wrong_bits and off * SUM_OFF > voltage:
        raise BadFrame("cell mask and pack voltage fit neither JK02_32S nor JK02_24S; JK04 devices are not read", frame)
    return LONG if long <= short else SHORT


def _misfit(frame: bytes, layout: Layout) -> tuple[int, int, int]:
    """Cells that mask and voltages disagree about; difference between pack and sum of cells, mV; pack, mV."""
    places, _ = layout
    cells = unpack_from(f"<{places}H", frame, HEADER)
    voltage, mask = (field.value(frame, field.offset) or 0 for field in TELLING[places])
    with_voltage = sum([bit for bit, mv in zip(BITS, cells, strict=False) if mv])
    return (mask ^ with_voltage).bit_count(), abs(voltage - sum(cells)), abs(voltage)


def read_settings(frame: bytes) -> Measured:
    """Type 1."""
    return says.settings(frame, LIMITS_IN_FRAME)


def read_device(frame: bytes) -> Measured:
    """Type 3. The passcodes in it are passed over."""
    return Measured(info=says.texts(frame[HEADER:-1]), **read(BOOTS_IN_FRAME, frame))


def read_log(frame: bytes) -> Measured:
    """Type 5: what the BMS remembers of trips, releases and switching, oldest first."""
    count = int.from_bytes(frame[6:10], "little")
    entries = [frame[at : at + LOG_ENTRY] for at in range(LOG_AT, LOG_AT + LOG_ENTRY * min(count, LOG_MOST), LOG_ENTRY)]
    return Measured(log=tuple(_entry(raw) for raw in entries if raw[4]), counters={"log_entries": count})


def _entry(raw: bytes) -> LogEntry:
    seconds, code = int.from_bytes(raw[:4], "little"), str(raw[4])
    known = faults.brand("jk")["log"].values.get(code)
    text = known.text if known else ""
    return LogEntry(code=code, text=text, device_ts=CLOCK_BEGINS_MS + 1000 * seconds, hex=raw.hex())


READERS: dict[int, Callable[[bytes], Measured]] = {
    SETTINGS: read_settings,
    CELL_INFO: lambda frame: cell_info(frame, layout_of(frame)),
    DEVICE: read_device,
    LOG: read_log,
}
