"""What an emulated device finds on its wire: whole requests, and how its answers are dressed.

The device side of Modbus is written here by hand, so that tests hold the collector against a second opinion.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from collectors.emulators.device import Emulator
from collectors.emulators.wires import Serve
from collectors.kernel import Answer, Registers, Request, Send, Unsupported
from collectors.modbus_rtu import frame_of

Reply = Callable[[Request, int], Answer | None]
"""reply(request, address): the answer, None for silence. Raises Unsupported."""
READ_BYTES = 6
"""Unit, function, start, count."""
ILLEGAL_ADDRESS = 2
FUNCTIONS: dict[int, Literal[1, 3, 4]] = {1: 1, 3: 3, 4: 4}


def plain(acts: Emulator, reply: Reply) -> Serve:
    """The device's own frames."""

    def serve(buffer: bytes) -> tuple[bytes, bytes, bytes]:
        request, rest = acts.cut(buffer)
        if request is None:
            return b"", b"", rest
        return request, reply(Send(request), 0) or b"", rest

    return serve


def rtu(reply: Reply) -> Serve:
    """Modbus RTU: a read request with a sound CRC; what stands before it is noise."""

    def serve(buffer: bytes) -> tuple[bytes, bytes, bytes]:
        for at in range(len(buffer) - READ_BYTES - 1):
            request = buffer[at : at + READ_BYTES + 2]
            if frame_of(request[:READ_BYTES]) == request:
                pdu = _pdu(request[:READ_BYTES], reply)
                return request, frame_of(pdu) if pdu else b"", buffer[at + len(request) :]
        return b"", b"", buffer[-READ_BYTES - 1 :]

    return serve


def tcp(reply: Reply) -> Serve:
    """Modbus TCP: requests follow one another without gaps."""

    def serve(buffer: bytes) -> tuple[bytes, bytes, bytes]:
        end = 6 + READ_BYTES
        if len(buffer) < end:
            return b"", b"", buffer
        pdu = _pdu(buffer[6:end], reply)
        answer = buffer[:4] + len(pdu).to_bytes(2, "big") + pdu if pdu else b""
        return buffer[:end], answer, buffer[end:]

    return serve


def _pdu(request: bytes, reply: Reply) -> bytes:
    unit, function = request[:2]
    start, count = int.from_bytes(request[2:4], "big"), int.from_bytes(request[4:6], "big")
    if function not in FUNCTIONS:
        return bytes((unit, function | 0x80, 1))
    try:
        data = reply(Registers(FUNCTIONS[function], start, count), unit)
    except Unsupported:
        return bytes((unit, function | 0x80, ILLEGAL_ADDRESS))
    return b"" if data is None else bytes((unit, function, len(data))) + data
