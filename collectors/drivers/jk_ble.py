"""JK (JiKong) frames as they come over Bluetooth: JK02_24S and JK02_32S. Protocol: docs/devices/jk_ble.md."""

from __future__ import annotations

import re

from cellherd.errors import BadFrame
from cellherd.reading import Measured, combine
from collectors.drivers.jk import frames
from collectors.kernel import Chunk, Conversation, Driver, Gatt, Send

ASK_CELLS, ASK_DEVICE, ASK_LOG = 0x96, 0x97, 0xA1
ANSWERS = {  # command -> types of its answers, the last of them ends the wait
    ASK_CELLS: (frames.SETTINGS, frames.CELL_INFO),
    ASK_DEVICE: (frames.DEVICE,),
    ASK_LOG: (frames.LOG,),
}


def ask(command: int) -> Send:
    """A command that asks for something; 20 bytes written to the characteristic FFE1."""
    body = bytes.fromhex("aa5590eb") + bytes((command,)) + bytes(14)
    return Send(body + bytes((frames.checksum(body),)))


def extract(request: bytes, buffer: bytes) -> bytes | None:
    """The frames that answer `request`, one behind the other; see kernel.Extract."""
    wanted = ANSWERS[request[4]]
    found = [frame for _, frame in frames.sound(buffer) if frame[4] in wanted]
    if found and found[-1][4] == wanted[-1]:
        return b"".join(found)
    if not found:
        frames.refuse_broken(buffer)
    return None


def decode(frame: Chunk, request: bytes | None = None) -> tuple[Measured, ...]:
    """One frame, or several of one device glued together, with whatever the radio module put between them."""
    if not isinstance(frame, bytes):
        raise BadFrame("JK does not speak CAN here", frame.data)
    return (combine(*(frames.read_frame(each) for _, each in frames.every(frame))),)


def poll(address: int) -> Conversation:
    """Settings and cells; the device goes on sending cells by itself, the newest count."""
    return decode((yield ask(ASK_CELLS)))


def identify(address: int) -> Conversation:
    """Model, firmware, serial."""
    return decode((yield ask(ASK_DEVICE)))


def seldom(address: int) -> Conversation:
    """The log of trips and releases."""
    return decode((yield ask(ASK_LOG)))


DRIVER = Driver(
    name="jk_ble",
    brand="jk",
    title="JK (JiKong) over Bluetooth, firmware with JK02 frames",
    line="Bluetooth LE, service FFE0, characteristic FFE1; one client only, the phone's app must be closed",
    links=("ble",),
    decode=decode,
    allow=tuple(re.compile(re.escape(ask(command).data), re.DOTALL) for command in ANSWERS),
    poll=poll,
    identify=identify,
    seldom=seldom,
    extract=extract,
    gatt=Gatt(service=0xFFE0, notify=0xFFE1, write=0xFFE1),
    timeout_s=5.0,
)
