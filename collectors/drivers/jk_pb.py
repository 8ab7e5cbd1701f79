"""JK (JiKong) PB series on RS485, the frames of Bluetooth after a trigger. Protocol: docs/devices/jk_pb.md."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from cellherd.errors import BadFrame, Silent
from cellherd.reading import Measured, combine
from collectors.drivers.jk import frames
from collectors.kernel import Chunk, Conversation, Driver, Send, Unsupported
from collectors.modbus_rtu import frame_of

TRIGGER, REFUSED = 0x10, 0x90
ASK_DEVICE, ASK_SETTINGS, ASK_CELLS = 0x161C, 0x161E, 0x1620
ANSWERS = {ASK_DEVICE: frames.DEVICE, ASK_SETTINGS: frames.SETTINGS, ASK_CELLS: frames.CELL_INFO}
ADDRESSES = range(1, 16)  # 0 is a master and polls the others itself
REQUEST_BYTES, RECEIPT_BYTES = 11, 8
PADDING = 4
"""Most bytes between a frame and its receipt; captures have none or one."""


def ask(address: int, register: int) -> Send:
    """A Modbus write of 0 to a register that stores nothing: it makes the device send a frame."""
    return Send(frame_of(bytes((address, TRIGGER)) + register.to_bytes(2, "big") + bytes((0, 1, 2, 0, 0))))


def extract(request: bytes, buffer: bytes) -> bytes | None:
    """The frame and its receipt, which names the address; see kernel.Extract."""
    receipt, wanted = frame_of(request[:6]), ANSWERS[int.from_bytes(request[2:4], "big")]
    for at, frame in frames.sound(buffer):
        end = buffer.find(receipt, at + frames.SIZE, at + frames.SIZE + PADDING + RECEIPT_BYTES)
        if frame[4] == wanted and end >= 0:
            return buffer[at : end + RECEIPT_BYTES]
    for code in (1, 2, 3):
        if (refusal := frame_of(bytes((request[0], REFUSED, code)))) in buffer:
            raise Unsupported(f"unit {request[0]} refuses with exception {code}", refusal)
    frames.refuse_broken(buffer)
    return None


def decode(frame: Chunk, request: bytes | None = None) -> tuple[Measured, ...]:
    """A frame, alone or with the receipt behind it; that, or the request, tells which module speaks."""
    if not isinstance(frame, bytes):
        raise BadFrame("JK does not speak CAN here", frame.data)
    at, found = frames.every(frame)[0]
    module = _receipt(frame[at + frames.SIZE :])
    if module is None:
        module = _trigger(request or frame[:at])
    return (frames.read_frame(found, long=True, module=module),)


def _receipt(after: bytes) -> int | None:
    """The address in a receipt at the beginning of these bytes, padding allowed."""
    for start in range(PADDING + 1):
        words = after[start : start + RECEIPT_BYTES]
        if words[1:3] == b"\x10\x16" and words[4:6] == b"\0\1" and frame_of(words[:-2]) == words:
            return words[0]
    return None


def _trigger(before: bytes) -> int | None:
    """The address in a trigger at the end of these bytes."""
    words = before[-REQUEST_BYTES:]
    return words[0] if words[1:3] == b"\x10\x16" and frame_of(words[:-2]) == words else None


def poll(address: int) -> Conversation:
    """Cells, every period."""
    request = ask(address, ASK_CELLS)
    return decode((yield request), request.data)


def identify(address: int) -> Conversation:
    """Limits, model, firmware, serial; firmware from 15.36 on sometimes does not answer about itself."""
    parts: list[Measured] = []
    for register in (ASK_SETTINGS, ASK_DEVICE):
        request = ask(address, register)
        with suppress(Silent, Unsupported):
            parts += decode((yield request), request.data)
    return (combine(*parts),) if parts else ()


@dataclass(frozen=True, slots=True)
class Heard:
    """Bytes that are no whole frame yet, and what each module said of itself."""

    rest: bytes = b""
    known: Mapping[int, Measured] = field(default_factory=dict)


KEPT = REQUEST_BYTES + frames.SIZE + PADDING + RECEIPT_BYTES


def feed(state: Heard, chunk: Chunk) -> tuple[Heard, tuple[Measured, ...]]:
    """Beside a master that polls: a reading for each frame of cells. One whose module nobody names is passed over."""
    if not isinstance(chunk, bytes):
        return state, ()
    buffer, known, readings, done = state.rest + chunk, dict(state.known), [], 0
    for at, frame in frames.sound(buffer):
        end = at + frames.SIZE
        after = buffer[end : end + PADDING + RECEIPT_BYTES]
        module = _receipt(after)
        if module is None and len(after) < PADDING + RECEIPT_BYTES:
            break  # the receipt is still to come
        module = _trigger(buffer[done:at]) if module is None else module
        done = end
        if module is None or frame[4] not in ANSWERS.values():
            continue
        said = frames.read_frame(frame, long=True, module=module)
        if frame[4] == frames.CELL_INFO:
            readings.append(combine(known.get(module, Measured()), said))
        else:
            known[module] = combine(known.get(module, Measured()), said)
    return Heard(buffer[done:][-KEPT:], known), tuple(readings)


DRIVER = Driver(
    name="jk_pb",
    brand="jk",
    title="JK (JiKong) PB series, inverter BMS",
    line="RS485, 115200 8N1, several modules on one pair; beside a module at address 0 only listen",
    links=("serial", "tcp"),
    decode=decode,
    allow=tuple(re.compile(re.escape(ask(a, register).data), re.DOTALL) for a in ADDRESSES for register in ANSWERS),
    poll=poll,
    identify=identify,
    feed=feed,
    fresh=Heard,
    extract=extract,
    default_address=1,
    baud=115200,
    gap_s=0.12,
    timeout_s=0.6,
)
