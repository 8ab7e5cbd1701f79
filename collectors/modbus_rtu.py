"""Modbus RTU: its checksum, which several makers also put behind frames of their own, and answers taken apart."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

from cellherd.errors import BadFrame
from collectors.kernel import Chunk, Unsupported

COILS, HOLDING, REFUSED = (1, 2), 3, 0x80


def _eight_bits(value: int) -> int:
    for _ in range(8):
        value = value >> 1 ^ (0xA001 if value & 1 else 0)
    return value


CRC_OF_BYTE = tuple(map(_eight_bits, range(256)))


def crc(body: bytes) -> int:
    """CRC-16/Modbus."""
    value = 0xFFFF
    for byte in body:
        value = value >> 8 ^ CRC_OF_BYTE[(value ^ byte) & 0xFF]
    return value


def frame_of(body: bytes) -> bytes:
    """The body with its CRC, low byte first."""
    return body + crc(body).to_bytes(2, "little")


@dataclass(frozen=True, slots=True)
class Reply:
    """What a slave says, and where it stands: the request names the place, the answer only the bytes."""

    slave: int
    function: int
    start: int
    data: bytes


def split(
    frame: Chunk, request: bytes | None, functions: Container[int] = (HOLDING,), *, shorter: bool = False
) -> Reply:
    """The answer to a read of registers or coils; `shorter` if one with fewer registers than asked for is taken too.

    Raises BadFrame, Unsupported for a Modbus exception.
    """
    if not isinstance(frame, bytes):
        raise BadFrame("not Modbus RTU but a CAN frame", frame.data)
    frame = frame.removeprefix(request or b"")  # the echo of an adapter
    if len(frame) < 5 or frame_of(frame[:-2]) != frame:
        raise BadFrame("too short or wrong CRC for Modbus RTU", frame)
    slave, function, size = frame[:3]
    if function & REFUSED:
        raise Unsupported(f"slave {slave} refuses with exception {size}", frame)
    if function not in functions or len(frame) != size + 5:
        raise BadFrame("not an answer to a read that we ask for, or not of its stated length", frame)
    if request is None:
        raise BadFrame("a Modbus answer does not name its registers: give the request too", frame)
    if len(request) not in (6, 8) or request[:2] != frame[:2]:
        raise BadFrame(f"no answer to the request {request.hex()}", frame)
    start, count = int.from_bytes(request[2:4], "big"), int.from_bytes(request[4:6], "big")
    asked = (count + 7) // 8 if function in COILS else 2 * count
    if size > asked or (size != asked and not shorter):
        raise BadFrame(f"{size} bytes where {asked} were asked for", frame)
    return Reply(slave, function, start, frame[3:-2])
