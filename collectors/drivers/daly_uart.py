"""Daly smart BMS over UART or RS485 with A5 frames, 9600 8N1. Protocol: docs/devices/daly_uart.md."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from typing import Any

from cellherd import faults
from cellherd.errors import BadFrame, Silent
from cellherd.reading import CELLS, TEMPS, Measured, combine
from collectors.fields import Field, Table, read
from collectors.kernel import Chunk, Conversation, Driver, Send

START, LENGTH, SIZE = 0xA5, 8, 13
HOST = 0x3F
"""Board n is asked as host 0x3F + n, and answers as n."""
BOARDS = range(1, 17)
RATED, MAKE, CODE = 0x50, 0x53, 0x57
CELL_LIMITS, PACK_LIMITS, CURRENT_LIMITS = 0x59, 0x5A, 0x5B
SUMS, CELL_EXTREMES, TEMP_EXTREMES, MOS, COUNTS = 0x90, 0x91, 0x92, 0x93, 0x94
CELL_PARTS, TEMP_PARTS, BALANCE, FAILURE = 0x95, 0x96, 0x97, 0x98
MEASURING = range(0x90, 0x99)
COMMANDS = (RATED, MAKE, CODE, CELL_LIMITS, PACK_LIMITS, CURRENT_LIMITS, *MEASURING)

ZERO_MA = -3_000_000
ZERO_DC = -400
TABLES: dict[int, Table] = {  # command -> what stands in its eight bytes
    RATED: (Field("info.nominal_mah", 0, ">I", absent=0), Field("info.cell_reference_mv", 4, ">I", absent=0)),
    CELL_LIMITS: (
        Field("limits.cell_high_mv", 0, ">H"),  # level 1 warns, level 2 cuts
        Field("limits.cell_max_mv", 2, ">H"),
        Field("limits.cell_low_mv", 4, ">H"),
        Field("limits.cell_min_mv", 6, ">H"),
    ),
    PACK_LIMITS: (
        Field("limits.voltage_high_mv", 0, ">H", times=100),
        Field("limits.voltage_max_mv", 2, ">H", times=100),
        Field("limits.voltage_low_mv", 4, ">H", times=100),
        Field("limits.voltage_min_mv", 6, ">H", times=100),
    ),
    CURRENT_LIMITS: (
        Field("limits.charge_high_ma", 0, ">H", times=100, plus=ZERO_MA),
        Field("limits.charge_ma", 2, ">H", times=100, plus=ZERO_MA),
        Field("limits.discharge_high_ma", 4, ">H", times=100, plus=ZERO_MA),
        Field("limits.discharge_ma", 6, ">H", times=100, plus=ZERO_MA),
    ),
    SUMS: (
        Field("voltage_mv", 0, ">H", times=100),
        Field("extra.gathered_mv", 2, ">H", times=100, absent=0),
        Field("current_ma", 4, ">H", times=100, plus=ZERO_MA, absent=0),
        Field("soc_pm", 6, ">H"),
    ),
    CELL_EXTREMES: (
        Field("cell_max_mv", 0, ">H"),
        Field("cell_max_at", 2, ">B", plus=-1, absent=0),
        Field("cell_min_mv", 3, ">H"),
        Field("cell_min_at", 5, ">B", plus=-1, absent=0),
    ),
    TEMP_EXTREMES: (
        Field("temp_max_dc", 0, ">B", times=10, plus=ZERO_DC, absent=0),
        Field("extra.temp_max_at", 1, ">B", plus=-1, absent=0),
        Field("temp_min_dc", 2, ">B", times=10, plus=ZERO_DC, absent=0),
        Field("extra.temp_min_at", 3, ">B", plus=-1, absent=0),
    ),
    MOS: (
        Field("extra.state", 0, ">B"),  # 0 idle, 1 charging, 2 discharging
        Field("charge_on", 1, ">B"),
        Field("discharge_on", 2, ">B"),
        Field("extra.heartbeat", 3, ">B"),
        Field("remaining_mah", 4, ">I"),
    ),
    COUNTS: (
        Field("info.n_cells", 0, ">B"),
        Field("extra.temp_sensors", 1, ">B"),
        Field("extra.charger", 2, ">B"),
        Field("extra.load", 3, ">B"),
        Field("cycles", 5, ">H"),
    ),
}
RAW = {MAKE: ("make", 0, 8), COUNTS: ("inputs_outputs", 4, 5), BALANCE: ("balance", 0, 8), FAILURE: ("failure", 0, 8)}
"""Command -> name, first and last byte of what travels on as it came."""
CELLS_A_PART, TEMPS_A_PART, CODE_PARTS = 3, 7, 5
NO_SENSOR = (0, 0xFF)
NO_PART = 0xFF
WAYS = {1: 1, 2: -1}
SURE_MA = 500

Payload = tuple[int, bytes]
"""Command and its eight bytes: the same on UART and on CAN."""


def measure(payloads: Sequence[Payload], module: int) -> Measured:
    """One reading from what a module said, in any order."""
    whole = combine(Measured(module=module), *(_said(command, data) for command, data in payloads))
    lists = {
        "cell_mv": _cells(payloads, whole.info.get("n_cells")),
        "temp_dc": _temps(payloads, whole.extra.get("temp_sensors")),
    }
    whole = replace(whole, **{name: values for name, values in lists.items() if values})  # type: ignore[arg-type]
    return _with_sign(_named(whole, payloads))


def _said(command: int, data: bytes) -> Measured:
    values: dict[str, Any] = read(TABLES.get(command, ()), data)
    values |= {name: bool(values[name]) for name in ("charge_on", "discharge_on") if name in values}
    if command == CURRENT_LIMITS:  # sizes: which way they count differs as it does for the current
        values["limits"] = {name: abs(value) for name, value in values["limits"].items()}
    if command in RAW:
        name, first, last = RAW[command]
        values["raw"] = {name: data[first:last].hex()}
    if command == FAILURE:
        values["faults"] = faults.brand("daly")["failure"].of_mask(int.from_bytes(data[:7], "little"))
    if command == COUNTS and data[7]:
        values["raw"]["counts_rest"] = data[7:].hex()
    if command == MAKE and 1 <= data[3] <= 12 and 1 <= data[4] <= 31:
        values["info"] = {"manufactured": f"{2000 + data[2]}-{data[3]:02}-{data[4]:02}"}
    return Measured(**values)


def _parts(payloads: Iterable[Payload], command: int) -> dict[int, bytes]:
    """Parts of a long answer by place. They count from 1; the maker's document has them count from 0."""
    parts = {data[0]: data[1:] for said, data in payloads if said == command and data[0] != NO_PART}
    first = 0 if 0 in parts else 1
    return {number - first: part for number, part in parts.items()}


def _cells(payloads: Iterable[Payload], count: Any) -> tuple[int | None, ...]:
    parts = _parts(payloads, CELL_PARTS)
    places = {
        CELLS_A_PART * n + i: int.from_bytes(part[2 * i : 2 * i + 2], "big")
        for n, part in parts.items()
        for i in range(CELLS_A_PART)
    }
    return _listed({at: mv if count or mv else None for at, mv in places.items()}, count, CELLS)


def _temps(payloads: Iterable[Payload], count: Any) -> tuple[int | None, ...]:
    parts = _parts(payloads, TEMP_PARTS)
    said = {TEMPS_A_PART * n + i: raw for n, part in parts.items() for i, raw in enumerate(part)}
    return _listed({at: None if t in NO_SENSOR else 10 * t + ZERO_DC for at, t in said.items()}, count, TEMPS)


def _listed(places: dict[int, int | None], count: Any, most: int) -> tuple[int | None, ...]:
    """The values in order: as many as the module counts, else up to the last one that says something."""
    said = [at for at, value in places.items() if value is not None and at < most]
    end = min(count, most) if count and places else max(said, default=-1) + 1
    return tuple(places.get(at) for at in range(end))


def _with_sign(measured: Measured) -> Measured:
    """Firmwares differ in which way the current counts; the state says which it is."""
    current, way = measured.current_ma, WAYS.get(int(measured.extra.get("state", 0)))
    if current is None or way is None or abs(current) <= SURE_MA or current * way > 0:
        return measured
    return replace(measured, current_ma=-current, extra={**measured.extra, "current_turned": 1})


def _named(measured: Measured, payloads: Iterable[Payload]) -> Measured:
    """The battery code, which owners use as a serial, is a text in five parts."""
    parts = _parts(payloads, CODE)
    text = b"".join(parts[n] for n in sorted(parts)).decode("ascii", "replace").replace("\0", " ")
    code = " ".join(text.split())
    return combine(measured, Measured(info={"serial": code})) if code else measured


def ask(address: int, command: int, parts: int = 1) -> Send:
    """A read request to one board; long answers come in several frames."""
    body = bytes((START, HOST + address & 0xFF, command, LENGTH)) + bytes(LENGTH)
    return Send(body + bytes((sum(body) & 0xFF,)), parts)


def extract(request: bytes, buffer: bytes) -> bytes | None:
    """The first frame of the answer to `request` inside the buffer; see kernel.Extract."""
    board = request[1] - HOST if request[1] - HOST in BOARDS else 1
    head, broken = bytes((START, board, request[2], LENGTH)), b""
    at = buffer.find(head)
    while 0 <= at <= len(buffer) - SIZE:
        frame = buffer[at : at + SIZE]
        if _sound(frame):
            return frame
        broken, at = broken or frame, buffer.find(head, at + 1)
    if broken:
        raise BadFrame(f"checksum should be {sum(broken[:-1]) & 0xFF:02x}", broken)
    return None


def _sound(frame: bytes) -> bool:
    return len(frame) == SIZE and sum(frame[:-1]) & 0xFF == frame[-1]


def _frames(data: bytes) -> Iterator[bytes]:
    """The frames of one or several answers glued together; noise (often FF) may stand before each."""
    at = data.find(START)
    while at >= 0:
        frame = data[at : at + SIZE]
        if len(frame) < SIZE or frame[3] != LENGTH:
            raise BadFrame("not an A5 frame of 13 bytes", data)
        if not _sound(frame):
            raise BadFrame(f"checksum should be {sum(frame[:-1]) & 0xFF:02x}", data)
        yield frame
        at = data.find(START, at + SIZE)


def decode(frame: Chunk, request: bytes | None = None) -> tuple[Measured, ...]:
    """One or several answer frames: one reading for each board. Raises BadFrame."""
    if not isinstance(frame, bytes):
        raise BadFrame("a CAN frame: use daly_can", frame.data)
    answers = [each for each in _frames(frame.removeprefix(request or b"")) if each[1] in BOARDS]
    if not answers:
        raise BadFrame("no answer of a board in it", frame)
    for each in answers:
        if each[2] not in COMMANDS or (request and request[2:3] != each[2:3]):
            raise BadFrame(f"command {each[2]:#04x} is not one that we read, or not what was asked", frame)
    boards = dict.fromkeys(each[1] for each in answers)
    return tuple(measure([(each[2], each[4:12]) for each in answers if each[1] == board], board) for board in boards)


def poll(address: int) -> Conversation:
    """Everything that changes. A board that does not know a command stays silent; cells come last, in many frames."""
    counts = yield ask(address, COUNTS)
    sums = yield ask(address, SUMS)
    singles = ((command, 1) for command in (MOS, CELL_EXTREMES, TEMP_EXTREMES, BALANCE, FAILURE))
    cells, temps = min(counts[4], CELLS), min(counts[5], TEMPS)
    lists = ((TEMP_PARTS, -(-temps // TEMPS_A_PART)), (CELL_PARTS, -(-cells // CELLS_A_PART)))
    answers = counts + sums
    for command, parts in chain(singles, lists):
        with suppress(Silent):
            answers += (yield ask(address, command, parts)) if parts else b""
    return decode(answers)


def identify(address: int) -> Conversation:
    """Capacity, production date, battery code and the limits of cells, pack and current."""
    answers = b""
    for command in (RATED, MAKE, CELL_LIMITS, PACK_LIMITS, CURRENT_LIMITS, CODE):
        with suppress(Silent):
            answers += yield ask(address, command, CODE_PARTS if command == CODE else 1)
    return decode(answers) if answers else ()


DRIVER = Driver(
    name="daly_uart",
    brand="daly",
    title="Daly smart BMS (A5 protocol)",
    line="UART or RS485, 9600 8N1; boards in parallel are 1, 2, ...",
    links=("serial", "tcp"),
    decode=decode,
    allow=(re.compile(b"|".join(re.escape(ask(n, c).data) for n in BOARDS for c in COMMANDS), re.DOTALL),),
    poll=poll,
    identify=identify,
    extract=extract,
    default_address=1,
    baud=9600,
    gap_s=0.05,
    timeout_s=0.6,
)
