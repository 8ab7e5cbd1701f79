"""ANT BMS before 2020 (frames AA 55 AA FF), UART 19200 8N1, one per port. Protocol: docs/devices/ant_old.md."""

from __future__ import annotations

import re

from cellherd.errors import BadFrame
from cellherd.reading import Measured
from collectors.drivers.ant_new import ABSENT, said
from collectors.fields import Field, Table, read
from collectors.kernel import Chunk, Conversation, Driver, Send

REQUEST = Send(bytes.fromhex("5a5a00000101"))
START = bytes.fromhex("aa55aaff")
SIZE, CHECKED = 140, slice(4, 138)
MOST_CELLS, CELL_COUNT = 32, 123
CODES = {"charge_mosfet": 103, "discharge_mosfet": 104, "balancer": 105}
RAW = {"vehicle": slice(106, 111), "log": slice(136, 138)}  # tyre length, pulses and relay of an electric bicycle

MAIN: Table = (
    Field("voltage_mv", 4, ">H", times=100),
    *(Field(f"cell_mv.{i}", 6 + 2 * i, ">H") for i in range(MOST_CELLS)),
    Field("current_ma", 70, ">i", times=-100),
    Field("soc_pm", 74, ">B", times=10),
    Field("full_mah", 75, ">I", over=1000),
    Field("info.nominal_mah", 75, ">I", over=1000),
    Field("remaining_mah", 79, ">I", over=1000),
    Field("counters.throughput_mah", 83, ">I"),
    Field("extra.run_time_s", 87, ">I"),
    *(Field(f"temp_dc.{i}", 91 + 2 * i, ">h", times=10, absent=ABSENT) for i in range(6)),
    Field("extra.balancer_status", 105, ">B"),
    Field("extra.power_w", 111, ">i", times=-1),
    Field("cell_max_at", 115, ">B", plus=-1, absent=0),
    Field("cell_max_mv", 116, ">H"),
    Field("cell_min_at", 118, ">B", plus=-1, absent=0),
    Field("cell_min_mv", 119, ">H"),
    Field("extra.cell_mean_mv", 121, ">H"),
    Field("info.n_cells", CELL_COUNT, ">B"),
    Field("extra.drain_source_mv", 124, ">h", times=100),
    Field("extra.discharge_driver_mv", 126, ">H", times=100),
    Field("extra.charge_driver_mv", 128, ">H", times=100),
    Field("extra.comparator", 130, ">H"),
    Field("balancing", 132, ">I"),
)


def checksum(frame: bytes) -> int:
    """Sum of the bytes behind the start, 16 bits."""
    return sum(frame[CHECKED]) & 0xFFFF


def extract(request: bytes, buffer: bytes) -> bytes | None:
    """The status frame inside the buffer; see kernel.Extract."""
    broken, at = None, buffer.find(START)
    while 0 <= at <= len(buffer) - SIZE:
        frame = buffer[at : at + SIZE]
        if checksum(frame) == int.from_bytes(frame[-2:], "big"):
            return frame
        broken = broken or BadFrame(f"checksum should be {checksum(frame):04x}", frame)
        at = buffer.find(START, at + 1)
    if broken and at < 0:
        raise broken
    return None


def decode(frame: Chunk, request: bytes | None = None) -> tuple[Measured, ...]:
    """The status frame, the only answer there is. Raises BadFrame."""
    if not isinstance(frame, bytes):
        raise BadFrame("ANT does not speak CAN here", frame.data)
    frame = frame.removeprefix(request or b"")
    if len(frame) != SIZE or not frame.startswith(START):
        raise BadFrame(f"not an ANT status frame: AA 55 AA FF and {SIZE} bytes in all", frame)
    if checksum(frame) != int.from_bytes(frame[-2:], "big"):
        raise BadFrame(f"checksum should be {checksum(frame):04x}", frame)
    cells = frame[CELL_COUNT]
    if not 0 < cells <= MOST_CELLS:
        raise BadFrame(f"{cells} cells where there are at most {MOST_CELLS}", frame)
    values = read(MAIN, frame)
    codes = {name: frame[at] for name, at in CODES.items()}
    state = Measured(
        charge_on=codes["charge_mosfet"] == 1,
        discharge_on=codes["discharge_mosfet"] == 1,
        faults=said(codes),
        raw={name: f"{code:02x}" for name, code in codes.items()} | {name: frame[at].hex() for name, at in RAW.items()},
        **values | {"cell_mv": values["cell_mv"][:cells]},
    )
    return (state,)


def poll(address: int) -> Conversation:
    """Everything is in one frame."""
    return decode((yield REQUEST))


DRIVER = Driver(
    name="ant_old",
    brand="ant",
    title="ANT before 2020",
    line="UART, 19200 8N1 (9600 on some), one BMS per port",
    links=("serial", "tcp"),
    decode=decode,
    allow=(re.compile(re.escape(REQUEST.data), re.DOTALL),),
    poll=poll,
    identify=poll,
    seldom=poll,
    extract=extract,
    baud=19200,
)
