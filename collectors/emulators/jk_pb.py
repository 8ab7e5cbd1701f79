"""Emulated JK BMSs of the PB series that answer a trigger with their frame."""

from __future__ import annotations

from collectors.drivers import jk_pb
from collectors.emulators.device import Emulator, Truths
from collectors.emulators.jk_ble import FRAMES
from collectors.kernel import Request, Send
from collectors.modbus_rtu import frame_of

MIDDLE = bytes((0, 1, 2, 0, 0))
"""What stands between register and CRC of a trigger."""


def answer(request: Request, address: int, truths: Truths) -> bytes | None:
    """The frame, a byte of padding and the receipt; silence for a module that is not there."""
    if not isinstance(request, Send) or len(request.data) != jk_pb.REQUEST_BYTES or request.data[0] not in truths:
        return None
    register = int.from_bytes(request.data[2:4], "big")
    if register not in jk_pb.ANSWERS:
        return frame_of(bytes((request.data[0], jk_pb.REFUSED, 2)))
    return FRAMES[jk_pb.ANSWERS[register]](truths[request.data[0]]) + b"\0" + frame_of(request.data[:6])


def cut(buffer: bytes) -> tuple[bytes | None, bytes]:
    """One trigger off the buffer; what stands before it is noise."""
    for at in range(len(buffer) - jk_pb.REQUEST_BYTES + 1):
        request = buffer[at : at + jk_pb.REQUEST_BYTES]
        if request[4:9] == MIDDLE and frame_of(request[:-2]) == request:
            return request, buffer[at + jk_pb.REQUEST_BYTES :]
    return None, buffer[-jk_pb.REQUEST_BYTES + 1 :]


def push(truths: Truths) -> list[bytes]:
    """What is heard beside a master: its triggers, the frames of its modules and their receipts."""
    requests = [jk_pb.ask(address, jk_pb.ASK_CELLS) for address in truths]
    return [request.data + (answer(request, 0, truths) or b"") for request in requests]


EMULATOR = Emulator(answer=answer, cut=cut, push=push)
