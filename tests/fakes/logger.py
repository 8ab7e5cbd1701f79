"""A Wi-Fi logger on loopback: an emulated inverter behind Solarman V5, written from the protocol's page, not from ours.

Its request frames are taken apart with struct, so that the link is held against a second opinion.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from collectors.emulators import framing
from collectors.emulators.battery import Battery, Plan
from collectors.emulators.device import Trouble
from collectors.emulators.fleet import emulator
from collectors.emulators.wires import TcpWire
from collectors.kernel import Answer, Request

SERIAL = 0x8E2C4CAA
KEEP_ALIVE = bytes.fromhex("a501001047976daa4c2c8e000c15")  # jmccrohan/pysolarmanv5 issue 19


@dataclass
class Logger:
    """What it does: `frame` may spoil the Modbus answer, `before` is what it says first, `code` in place of it."""

    driver: str
    address: int
    serial: int = SERIAL
    before: bytes = b""
    after: bytes = b""
    code: bytes = b""
    late: bool = False
    trouble: Trouble = field(default_factory=Trouble)
    asked: list[bytes] = field(default_factory=list)
    link: str = ""
    _kept: bytes = b""

    def serve(self, buffer: bytes) -> tuple[bytes, bytes, bytes]:
        if len(buffer) < 28:
            return b"", b"", buffer
        start, size, control, number, _, serial, kind = struct.unpack_from("<BHHBBIB", buffer)
        assert (start, control, kind) == (0xA5, 0x4510, 2)
        request, rest = buffer[: size + 13], buffer[size + 13 :]
        assert sum(request[1:-2]) & 0xFF == request[-2]
        rtu = request[26:-2]
        self.asked.append(rtu)
        if serial != self.serial:
            return request, b"", rest
        _, said, _ = framing.rtu(self._reply)(rtu)
        payload = struct.pack("<BBIII", 2, 1, 1_025_718, 10_011, 1_661_433_427) + (self.code or said + self.after)
        body = struct.pack("<HHBBI", len(payload), 0x1510, number, 0x6C, serial) + payload
        answer = b"\xa5" + body + bytes((sum(body) & 0xFF, 0x15))
        if self.late:
            answer, self._kept = self._kept, answer
        return request, self.before + answer, rest

    def _reply(self, request: Request, address: int) -> Answer | None:
        if address != self.address:
            return None
        return emulator(self.driver).answer(request, address, {address: Battery(Plan(seed=3)).truth()})


@contextmanager
def logger(driver: str, address: int) -> Iterator[Logger]:
    """A logger that serves until the end."""
    made = Logger(driver, address)
    serve: Callable[[bytes], tuple[bytes, bytes, bytes]] = made.serve
    wire = TcpWire(made.trouble, serve, "solarman")
    made.link = f"{wire.link}?serial={made.serial}"
    wire.start()
    try:
        yield made
    finally:
        wire.stop()
