"""GivEnergy battery packs through their inverter's network adapter, TCP 8899. Protocol: docs/devices/givenergy.md."""

from __future__ import annotations

import re
from collections.abc import Iterator

from cellherd.errors import BadFrame, Silent
from cellherd.reading import Measured
from collectors.fields import Table, read
from collectors.kernel import Chunk, Conversation, Driver, Send
from collectors.modbus_rtu import crc
from collectors.registers import at

HEAD = b"YY\x00\x01"
HEARTBEAT, TRANSPARENT = 1, 2
ANYONE = b"AB1234G567"
"""The adapter answers whatever serial a request names."""
READ_INPUT = 4
BASE, COUNT = 60, 60
FIRST = 0x32
PACKS = range(FIRST, FIRST + 5)
LEAST, MOST = 28, 400
DATA = 42
"""Where the registers begin: head, length, unit, function, adapter, padding, pack, function, inverter, base, count."""

TABLE: Table = (
    *(at(f"cell_mv.{i}", 60 + i, absent=0) for i in range(16)),
    *(at(f"temp_dc.{i}", 76 + i, ">h") for i in range(4)),
    at("extra.cell_sum_mv", 80),
    at("mos_temp_dc", 81, ">h"),
    at("voltage_mv", 82, ">I"),
    at("full_mah", 84, ">I", times=10),
    at("info.nominal_mah", 86, ">I", times=10),
    at("remaining_mah", 88, ">I", times=10),
    at("current_ma", 95, ">h", times=10),
    at("cycles", 96),
    at("info.n_cells", 97),
    at("extra.bms_firmware", 98),
    at("soc_pm", 100, times=10),
    at("temp_max_dc", 103, ">h"),
    at("temp_min_dc", 104, ">h"),
    at("counters.discharged_wh", 105, times=100),
    at("counters.charged_wh", 106, times=100),
)
STATUS, WARNING, SERIAL = slice(60, 68), slice(68, 70), slice(100, 110)
"""Registers 90-93, 94 and 110-114, in bytes from register 60 on."""
OVER = 1.1
"""A pack that says it holds more than this times its design capacity has sent another block's bytes."""
STEP = 50
"""Sum of the cells against the sum that the BMS tells, mV."""


def ask(pack: int) -> Send:
    """Read registers 60 to 119 of a pack."""
    body = bytes((pack, READ_INPUT)) + BASE.to_bytes(2, "big") + COUNT.to_bytes(2, "big")
    pdu = bytes((1, TRANSPARENT)) + ANYONE + (len(body) + 2).to_bytes(8, "big") + body + crc(body).to_bytes(2, "little")
    return Send(HEAD + len(pdu).to_bytes(2, "big") + pdu)


def frames(buffer: bytes) -> Iterator[bytes]:
    """Every whole frame in the buffer; noise between them is passed over."""
    at_ = buffer.find(HEAD)
    while 0 <= at_ <= len(buffer) - 8:
        size = 6 + int.from_bytes(buffer[at_ + 4 : at_ + 6], "big")
        if 8 <= size <= MOST and at_ + size <= len(buffer):
            yield buffer[at_ : at_ + size]
        at_ = buffer.find(HEAD, at_ + (size if 8 <= size <= MOST and at_ + size <= len(buffer) else 1))


def beat(buffer: bytes) -> Send | None:
    """The adapter hangs up unless its heartbeat is given back to it."""
    return next((Send(frame) for frame in frames(buffer) if frame[7] == HEARTBEAT and len(frame) == 19), None)


def extract(request: bytes, buffer: bytes) -> bytes | None:
    """The answer of the pack that was asked; see kernel.Extract. Raises BadFrame for one with a wrong checksum."""
    pack = request[26]
    for frame in frames(buffer):
        if frame == request or frame[7] != TRANSPARENT or len(frame) <= DATA or frame[26] != pack:
            continue
        if frame[27] == READ_INPUT and frame[38:42] == request[28:32]:
            _checked(frame)
            return frame
    return None


def _checked(frame: bytes) -> None:
    if crc(frame[26:-2]).to_bytes(2, "little") != frame[-2:]:
        raise BadFrame("the checksum is wrong", frame)


def decode(frame: Chunk, request: bytes | None = None) -> tuple[Measured, ...]:
    """One pack's block of registers 60 to 119. A slot without a pack has `n_cells` 0 and nothing else.

    Raises BadFrame, also for a block with a sound checksum that is made of two blocks.
    """
    if not isinstance(frame, bytes):
        raise BadFrame("not GivEnergy but a CAN frame", frame.data)
    frame = frame.removeprefix(request or b"")
    if len(frame) != DATA + 2 * COUNT + 2 or not frame.startswith(HEAD) or frame[7] != TRANSPARENT:
        raise BadFrame("not a block of sixty registers of GivEnergy", frame)
    _checked(frame)
    if frame[27] != READ_INPUT or int.from_bytes(frame[38:40], "big") != BASE or frame[26] not in PACKS:
        raise BadFrame("not the registers of a battery pack", frame)
    return (_pack(frame[26], frame[DATA:-2]),)


def _pack(pack: int, data: bytes) -> Measured:
    values = read(TABLE, data, shift=2 * BASE)
    info = values["info"]
    if not info["n_cells"]:
        return Measured(module=pack, info={"n_cells": 0})
    serial = data[SERIAL].rstrip(b"\0 ").decode("ascii", "replace")
    info |= {"serial": serial} if serial else {}
    if values["remaining_mah"] > OVER * info["nominal_mah"]:
        raise BadFrame("holds more than it was made for: two blocks in one", data)
    cells = values["cell_mv"] = values["cell_mv"][: info["n_cells"]]
    if abs(sum(mv or 0 for mv in cells) - values["extra"]["cell_sum_mv"]) > STEP:
        raise BadFrame("the cells do not add up to their sum: two blocks in one", data)
    warning = int.from_bytes(data[WARNING], "big")
    told = ("alarm_unspecified",) if warning else ()
    raw = {"status": data[STATUS].hex(), "warning": f"{warning:04x}"}
    return Measured(module=pack, faults=told, raw=raw, **values)


def poll(address: int) -> Conversation:
    """One pack. Raises Silent for a slot without one."""
    request = ask(address)
    found = decode((yield request), request.data)
    if not found[0].info.get("n_cells"):
        raise Silent(f"no pack answers in slot {address - FIRST + 1} (address {address})")
    return found


DRIVER = Driver(
    name="givenergy",
    brand="givenergy",
    title="GivEnergy low-voltage packs behind their inverter or all-in-one",
    line="the inverter's network adapter, TCP 8899; packs have addresses 50 to 54",
    links=("tcp",),
    decode=decode,
    allow=(
        re.compile(b"|".join(re.escape(ask(pack).data) for pack in PACKS)),
        re.compile(re.escape(HEAD) + rb"\x00\x0d\x01\x01.{11}", re.DOTALL),
    ),
    poll=poll,
    extract=extract,
    beat=beat,
    default_address=FIRST,
    gap_s=0.5,
    timeout_s=3.0,
)
