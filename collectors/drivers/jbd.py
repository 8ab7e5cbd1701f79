"""JBD / Overkill Solar / Xiaoxiang smart BMS, one per port, 9600 8N1. Protocol: docs/devices/jbd.md."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from struct import unpack, unpack_from

from cellherd import faults
from cellherd.errors import BadFrame, Silent
from cellherd.reading import Measured, combine
from collectors.fields import Field, Table, read
from collectors.kernel import Chunk, Conversation, Driver, Gatt, Send, Unsupported

STATUS, CELLS, MODEL, TRIPS = 0x03, 0x04, 0x05, 0xAA
OLD_ECHO = 0xA5  # units before 2018 repeat this in place of the register: docs/devices/jbd.md
START, STOP, OK, REFUSED = 0xDD, 0x77, 0x00, 0x80
KELVIN = -2731

MAIN: Table = (
    Field("voltage_mv", 0, ">H", times=10),
    Field("current_ma", 2, ">h", times=10),
    Field("remaining_mah", 4, ">H", times=10),
    Field("full_mah", 6, ">H", times=10),  # what its SOC counts against, until a tail says better
    Field("info.nominal_mah", 6, ">H", times=10),
    Field("cycles", 8, ">H"),
    Field("soc_pm", 19, ">B", times=10),
)
TAIL: Table = (  # behind the temperatures, firmware 2.3 and later
    Field("full_mah", 3, ">H", times=10),
    Field("remaining_mah", 5, ">H", times=10),
    Field("extra.balance_ma", 7, ">H"),
)
COARSE = {"current_ma", "remaining_mah", "full_mah", "info.nominal_mah"}  # counted in 100 mA when the tail says so
SENSORS_AT = 23
TRIP_COUNTERS = (
    "short_circuit", "charge_overcurrent", "discharge_overcurrent", "cell_overvoltage", "cell_undervoltage",
    "charge_overtemperature", "charge_undertemperature", "discharge_overtemperature", "discharge_undertemperature",
    "pack_overvoltage", "pack_undervoltage",
)  # fmt: skip


def checksum(body: bytes) -> int:
    """Two's complement of the sum, 16 bits."""
    return -sum(body) & 0xFFFF


def ask(register: int) -> Send:
    """A read request; the only kind there is here."""
    return Send(bytes((START, 0xA5, register, 0)) + checksum(bytes((register, 0))).to_bytes(2, "big") + bytes((STOP,)))


def extract(request: bytes, buffer: bytes) -> bytes | None:
    """The answer to `request` inside the buffer; see kernel.Extract."""
    answers = [frame for frame in _candidates(buffer) if frame[1] in (request[2], OLD_ECHO)]
    for frame in answers:
        if _sound(frame):
            return frame
    if answers:
        raise BadFrame(f"checksum should be {checksum(answers[0][2:-3]):04x}", answers[0])
    return None


def _candidates(buffer: bytes) -> Iterator[bytes]:
    """Everything with the shape of an answer, also where noise looks like the start of a longer one."""
    at = buffer.find(START)
    while at >= 0:
        end = at + 7 + buffer[at + 3] if len(buffer) > at + 3 else len(buffer) + 1
        if end <= len(buffer) and buffer[end - 1] == STOP and buffer[at + 2] in (OK, REFUSED):
            yield buffer[at:end]
        at = buffer.find(START, at + 1)


def _sound(frame: bytes) -> bool:
    return frame[-1] == STOP and int.from_bytes(frame[-3:-1], "big") == checksum(frame[2:-3])


def split(frame: bytes) -> tuple[int, bytes]:
    """Register and data of an answer. Raises BadFrame, Unsupported if the BMS refuses the register."""
    if len(frame) < 7 or frame[0] != START or len(frame) != 7 + frame[3]:
        raise BadFrame("not a JBD answer of its stated length", frame)
    if not _sound(frame):
        raise BadFrame(f"stop byte or checksum is wrong, which should be {checksum(frame[2:-3]):04x}", frame)
    if frame[2] != OK:
        raise Unsupported(f"the BMS answers with error {frame[2]:#04x}", frame)
    return frame[1], frame[4:-3]


def decode(frame: Chunk, request: bytes | None = None) -> tuple[Measured, ...]:
    """One answer. An old unit does not name the register: then the request, or the shape of the data, tells."""
    if not isinstance(frame, bytes):
        raise BadFrame("JBD does not speak CAN here", frame.data)
    register, data = split(frame.removeprefix(request or b""))  # without the echo of an adapter
    if register == OLD_ECHO:
        register = request[2] if request and len(request) == 7 else STATUS if len(data) % 2 else CELLS
    if register not in READERS:
        raise BadFrame(f"register {register:#04x} is not one that we read", frame)
    return (READERS[register](data, frame),)


@cache
def status_table(sensors: int, *, coarse: bool) -> Table:
    """The status with so many temperatures; what the tail says counts."""
    end = SENSORS_AT + 2 * sensors
    table = (
        *MAIN,
        *(Field(f"temp_dc.{i}", SENSORS_AT + 2 * i, ">H", plus=KELVIN, absent=0) for i in range(sensors)),
        *(replace(field, offset=end + field.offset) for field in TAIL),
    )
    return tuple(replace(field, times=100) if coarse and field.name in COARSE else field for field in table)


def read_status(data: bytes, frame: bytes) -> Measured:
    """Register 0x03."""
    ntcs = data[22] if len(data) > 22 else 0
    tail = data[SENSORS_AT + 2 * ntcs :]
    if len(data) < SENSORS_AT + 2 * ntcs:
        raise BadFrame(f"{len(data)} bytes of status are too few for {ntcs} temperatures", frame)
    values = read(status_table(ntcs, coarse=bool(tail and tail[0] & 0x80)), data)
    made, low, high, protection = unpack_from(">HHHH", data, 10)
    raw = {"protection": data[16:18], "mosfets": data[20:21], "control": tail[:1], "alarm_ext": tail[1:3]}
    about = values.pop("info") | {
        "firmware": f"{data[18] >> 4}.{data[18] & 15}",
        "n_cells": data[21],
        "manufactured": f"{2000 + (made >> 9)}-{made >> 5 & 15:02}-{made & 31:02}",
    }
    return Measured(
        charge_on=bool(data[20] & 1),
        discharge_on=bool(data[20] & 2),
        balancing=low | high << 16,
        faults=faults.brand("jbd")["protection"].of_mask(protection),
        raw={name: part.hex() for name, part in raw.items() if part},
        info=about,
        **values,
    )


def read_cells(data: bytes, frame: bytes) -> Measured:
    """Register 0x04."""
    if not data or len(data) % 2:
        raise BadFrame("cell voltages come in pairs of bytes", frame)
    return Measured(cell_mv=unpack(f">{len(data) // 2}H", data))


def read_model(data: bytes, frame: bytes) -> Measured:
    """Register 0x05."""
    return Measured(info={"model": data.decode("ascii", "replace").strip("\0 ")})


def read_trips(data: bytes, frame: bytes) -> Measured:
    """Register 0xAA: how often each protection tripped in the life of the BMS."""
    if len(data) < 2 * len(TRIP_COUNTERS):
        raise BadFrame("too few trip counters", frame)
    counts = {f"trips_{n}": int.from_bytes(data[2 * i : 2 * i + 2], "big") for i, n in enumerate(TRIP_COUNTERS)}
    rest = data[2 * len(TRIP_COUNTERS) :]  # a twelfth counter that nobody has explained
    return Measured(counters=counts, raw={"trips_rest": rest.hex()} if rest else {})


READERS: dict[int, Callable[[bytes, bytes], Measured]] = {
    STATUS: read_status,
    CELLS: read_cells,
    MODEL: read_model,
    TRIPS: read_trips,
}


def poll(address: int) -> Conversation:
    """Status and cells, every period."""
    status = decode((yield ask(STATUS)), ask(STATUS).data)
    cells = decode((yield ask(CELLS)), ask(CELLS).data)
    return (combine(*status, *cells),)


def identify(address: int) -> Conversation:
    """Model and firmware."""
    status = decode((yield ask(STATUS)), ask(STATUS).data)
    model = decode((yield ask(MODEL)), ask(MODEL).data)
    return (combine(*status, *model),)


def seldom(address: int) -> Conversation:
    """Trip counters; older firmware has none, and refuses or stays silent."""
    try:
        return decode((yield ask(TRIPS)), ask(TRIPS).data)
    except (Silent, Unsupported):
        return ()


DRIVER = Driver(
    name="jbd",
    brand="jbd",
    title="JBD / Overkill Solar / Xiaoxiang",
    line="UART or RS485, 9600 8N1, one BMS per port",
    links=("serial", "tcp", "ble"),
    decode=decode,
    allow=tuple(re.compile(re.escape(ask(register).data), re.DOTALL) for register in READERS),
    poll=poll,
    identify=identify,
    seldom=seldom,
    extract=extract,
    gatt=Gatt(service=0xFF00, notify=0xFF01, write=0xFF02),
    baud=9600,
)
