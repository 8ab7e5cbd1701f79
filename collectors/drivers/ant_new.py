"""ANT BMS from 2020 on (frames 7E A1), UART 19200 8N1, one per port. Protocol: docs/devices/ant_new.md."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from functools import cache

from cellherd import faults
from cellherd.errors import BadFrame, Silent
from cellherd.reading import Measured, combine
from collectors.fields import Field, Table, read
from collectors.kernel import Chunk, Conversation, Driver, Gatt, Send
from collectors.modbus_rtu import crc

START, END = b"\x7e\xa1", b"\xaa\x55"
READ_STATUS, READ_SETTING, STATUS, SETTING = 0x01, 0x02, 0x11, 0x12
HEAD, TAIL_BYTES, SPARE = 6, 4, 8  # bytes before the data; CRC and end; what old firmware leaves before the end
WHOLE, INFO = (0x0000, 0xBE), (0x026C, 0x20)
CELLS_AT, MOST_CELLS, MOST_TEMPS = 34, 32, 8
LEAST = 112 + TAIL_BYTES  # of a status frame without cells and sensors
ABSENT = -40

MASKS: Table = (
    Field("raw.protection", 10, "<Q"),
    Field("raw.warning", 18, "<Q"),
    Field("raw.balance", 26, "<Q"),
)
TAIL: Table = (  # offsets of a frame without cells and sensors; each of them moves it by two bytes
    Field("mos_temp_dc", 34, "<h", times=10, absent=ABSENT),
    Field("extra.balancer_temp_dc", 36, "<h", times=10, absent=ABSENT),
    Field("voltage_mv", 38, "<H", times=10),
    Field("current_ma", 40, "<h", times=-100),
    Field("soc_pm", 42, "<H", times=10),
    Field("soh_pm", 44, "<H", times=10),
    Field("extra.balancer_status", 48, "<B"),
    Field("full_mah", 50, "<I", over=1000),
    Field("info.nominal_mah", 50, "<I", over=1000),
    Field("remaining_mah", 54, "<I", over=1000),
    Field("counters.throughput_mah", 58, "<I"),
    Field("extra.power_w", 62, "<i", times=-1),
    Field("extra.run_time_s", 66, "<I"),
    Field("balancing", 70, "<I"),
    Field("cell_max_mv", 74, "<H"),
    Field("cell_max_at", 76, "<H", plus=-1, absent=0),
    Field("cell_min_mv", 78, "<H"),
    Field("cell_min_at", 80, "<H", plus=-1, absent=0),
    Field("extra.cell_spread_mv", 82, "<H"),
    Field("extra.cell_mean_mv", 84, "<H"),
    Field("extra.drain_source_mv", 86, "<h", times=100),
    Field("extra.discharge_driver_mv", 88, "<H", times=100),
    Field("extra.charge_driver_mv", 90, "<H", times=100),
    Field("extra.comparator", 92, "<H"),
    Field("counters.discharge_mah", 96, "<I"),
    Field("counters.charge_mah", 100, "<I"),
    Field("counters.discharge_s", 104, "<I"),
    Field("counters.charge_s", 108, "<I"),
)
# Which of the first two is which is disputed: docs/devices/ant_new.md.
DISCHARGE_MOS, CHARGE_MOS, BALANCER, CHEMISTRY = 46, 47, 48, 94
CHEMISTRIES = {0xFAF1: "ternary", 0xFAF2: "LFP", 0xFAF3: "LTO", 0xFAF4: "custom"}
LIMITS: dict[int, Field] = {
    0x0000: Field("limits.cell_max_mv", 0, "<H"),
    0x0002: Field("limits.cell_max_release_mv", 0, "<H"),
    0x000C: Field("limits.cell_min_mv", 0, "<H"),
    0x000E: Field("limits.cell_min_release_mv", 0, "<H"),
    0x0068: Field("limits.charge_ma", 0, "<H", times=100),
    0x006C: Field("limits.discharge_ma", 0, "<H", times=100),
}


def frame_of(function: int, address: int, size: int, data: bytes = b"") -> bytes:
    """A request, or an answer as a BMS would write it."""
    body = bytes((START[1], function)) + address.to_bytes(2, "little") + bytes((size,)) + data
    return START[:1] + body + crc(body).to_bytes(2, "little") + END


def ask(address: int, size: int) -> Send:
    """A request to read the status (address 0, 0xBE) or a setting."""
    return Send(frame_of(READ_STATUS if (address, size) == WHOLE else READ_SETTING, address, size))


def extract(request: bytes, buffer: bytes) -> bytes | None:
    """The answer to `request` inside the buffer; see kernel.Extract."""
    head = START + bytes((request[2] | 0x10,)) + request[3:5]
    broken, at = None, buffer.find(head)
    while at >= 0:
        for end in _ends(buffer[at:]):
            if _sound(buffer[at : at + end]):
                return buffer[at : at + end]
            broken = broken or BadFrame("wrong CRC", buffer[at : at + end])
        at = buffer.find(head, at + 1)
    if broken:
        raise broken
    return None


def _ends(frame: bytes) -> Iterator[int]:
    """Where a frame may end. The data may hold AA 55, so the length counts; a setting may drag old bytes behind it."""
    if len(frame) < HEAD:
        return
    end = HEAD + frame[5] + TAIL_BYTES
    for spare in range(SPARE + 1 if frame[2] == SETTING else 1):
        if frame[end + spare - len(END) : end + spare] == END:
            yield end + spare


def _sound(frame: bytes) -> bool:
    return crc(frame[1 : HEAD + frame[5]]).to_bytes(2, "little") == frame[HEAD + frame[5] : HEAD + frame[5] + 2]


def decode(frame: Chunk, request: bytes | None = None) -> tuple[Measured, ...]:
    """One answer; it names what it carries. Raises BadFrame."""
    if not isinstance(frame, bytes):
        raise BadFrame("ANT does not speak CAN here", frame.data)
    frame = frame.removeprefix(request or b"")
    if frame[:2] != START or len(frame) not in _ends(frame):
        raise BadFrame("not an ANT frame: 7E A1, its stated length, AA 55", frame)
    if not _sound(frame):
        raise BadFrame(f"CRC should be {crc(frame[1 : HEAD + frame[5]]):04x}, low byte first", frame)
    if frame[2] == STATUS:
        return (read_status(frame),)
    if frame[2] == SETTING:
        return (read_setting(int.from_bytes(frame[3:5], "little"), frame[HEAD : HEAD + frame[5]], frame),)
    raise BadFrame(f"function {frame[2]:#04x} is not one that we read", frame)


@cache
def columns(cells: int, temps: int) -> Table:
    """Cells, and behind them sensors."""
    sensors = CELLS_AT + 2 * cells
    return (
        *(Field(f"cell_mv.{i}", CELLS_AT + 2 * i, "<H") for i in range(cells)),
        *(Field(f"temp_dc.{i}", sensors + 2 * i, "<h", times=10, absent=ABSENT) for i in range(temps)),
    )


def read_status(frame: bytes) -> Measured:
    """Function 0x11, the whole frame, since the maker's offsets count from its start."""
    temps, cells = frame[8:10]
    moved = 2 * (cells + temps)
    if not cells or cells > MOST_CELLS or temps > MOST_TEMPS or len(frame) < moved + LEAST:
        raise BadFrame(f"{len(frame)} bytes do not hold {cells} cells and {temps} sensors", frame)
    body = frame[:-TAIL_BYTES]
    values = read(TAIL, body, shift=-moved) | read(columns(cells, temps), body)
    charge, discharge, balancer = (body[at + moved] for at in (CHARGE_MOS, DISCHARGE_MOS, BALANCER))
    chemistry = int.from_bytes(body[CHEMISTRY + moved : CHEMISTRY + 2 + moved], "little")
    codes = {"charge_mosfet": charge, "discharge_mosfet": discharge}
    raw = {field.name.partition(".")[2]: body[field.offset : field.end][::-1].hex() for field in MASKS}
    raw |= {name: f"{code:02x}" for name, code in codes.items()} | {"state": body[6:8].hex()}
    about = {"n_cells": cells, "chemistry": CHEMISTRIES.get(chemistry, f"{chemistry:04x}")}
    return Measured(
        charge_on=charge == 1,
        discharge_on=discharge == 1,
        faults=said(codes | {"balancer": balancer}),
        raw=raw,
        **values | {"info": values["info"] | about},
    )


def said(codes: dict[str, int]) -> tuple[str, ...]:
    """Faults of the status codes of MOSFETs and balancer."""
    words = faults.brand("ant")
    return tuple(dict.fromkeys(fault for name, code in codes.items() for fault in words[name].of_value(str(code))))


def read_setting(address: int, data: bytes, frame: bytes) -> Measured:
    """Function 0x12: model and version, or one limit."""
    if address == INFO[0] and len(data) == INFO[1]:
        texts = (part.split(b"\0")[0].decode("ascii", "replace") for part in (data[:16], data[16:]))
        return Measured(info=dict(zip(("model", "firmware"), texts, strict=True)))
    if address not in LIMITS or len(data) != 2:
        raise BadFrame(f"setting {address:#06x} is not one that we read", frame)
    return Measured(**read((LIMITS[address],), data))


def poll(address: int) -> Conversation:
    """Everything is in one frame."""
    return decode((yield ask(*WHOLE)))


def identify(address: int) -> Conversation:
    """Model, version and limits; what a firmware does not answer is left out."""
    parts = [*decode((yield ask(*WHOLE)))]
    for setting in (INFO, *((at, 2) for at in LIMITS)):
        with suppress(Silent):
            parts += decode((yield ask(*setting)))
    return (combine(*parts),)


DRIVER = Driver(
    name="ant_new",
    brand="ant",
    title="ANT from 2020 on (16ZM, 24BH, 22PH and others)",
    line="UART, 19200 8N1, one BMS per port",
    links=("serial", "tcp", "ble"),
    decode=decode,
    allow=tuple(
        re.compile(re.escape(ask(*setting).data), re.DOTALL) for setting in (WHOLE, INFO, *((at, 2) for at in LIMITS))
    ),
    poll=poll,
    identify=identify,
    seldom=poll,
    extract=extract,
    gatt=Gatt(service=0xFFE0, notify=0xFFE1, write=0xFFE1),
    baud=19200,
)
