"""A Wi-Fi logger that passes Modbus on: frames of Solarman V5 on TCP port 8899, around frames of Modbus RTU.

Framing: docs/devices/solarman.md. The packages that speak it own socket, thread and waiting, and write registers too;
the 28 bytes around a read are written here, so that the guard and the patience of every other line hold for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from threading import Event

from pymodbus.framer import FramerRTU
from pymodbus.pdu import DecodePDU

from cellherd.errors import LinkError, Silent
from collectors.kernel import Answer, Driver, Request
from collectors.links import Place
from collectors.links.bytewise import ByteLink
from collectors.links.modbus import Modbus
from collectors.links.wires import TcpWire
from collectors.sums import byte_sum

START, END = b"\xa5", 0x15
ASK, ANSWER = b"\x10\x45", b"\x10\x15"
"""Control codes 0x4510 and 0x1510, low byte first; other codes are the logger's own talk to its cloud."""
HEADER, TRAILER = 11, 2
"""Start, length, control, sequence, serial; checksum and end."""
INVERTER = 2
BEFORE_ASKED, BEFORE_SAID = 15, 14
"""Bytes of a payload before the Modbus frame: kind, sensor or status, three clocks."""
LEAST_RTU = 5
SERIALS = 2**32
PATIENCE_S = 5.0
"""The logger has its own turn with the inverter, and may be asked by its cloud at the same time."""


class SolarmanV5:
    """Framing of Modbus RTU inside V5; see collectors.links.bytewise.Framing."""

    def __init__(self, serial: int) -> None:
        self._serial = serial.to_bytes(4, "little")
        self._modbus = Modbus(FramerRTU(DecodePDU(False)))
        self._numbers = count(1)

    def dress(self, request: Request, address: int) -> bytes:
        """See Framing; reads only, for that is all that Modbus of ours can write."""
        payload = bytes((INVERTER,)).ljust(BEFORE_ASKED, b"\0") + self._modbus.dress(request, address)
        number = bytes((next(self._numbers) & 0xFF, 0))
        body = len(payload).to_bytes(2, "little") + ASK + number + self._serial + payload
        return START + body + bytes((checksum(body), END))

    def find(self, request: Request, sent: bytes, buffer: bytes) -> Answer | None:
        """The answer to this very question: its number comes back. Raises Silent where the logger had none."""
        for frame in frames(buffer):
            ours = frame[5] == sent[5] and frame[7:HEADER] == self._serial
            if frame[3:5] != ANSWER or not ours or frame[HEADER] != INVERTER:
                continue
            rtu = frame[HEADER + BEFORE_SAID : -TRAILER]
            if len(rtu) < LEAST_RTU:
                raise Silent(f"the logger has no answer of the inverter ({rtu.hex()}); is the address right?")
            found = self._modbus.find(request, sent[HEADER + BEFORE_ASKED : -TRAILER], rtu)
            if found is not None:
                return found
        return None


def frames(buffer: bytes) -> Iterator[bytes]:
    """Every whole and sound frame; noise, cut and broken ones are passed over."""
    at = buffer.find(START)
    while at >= 0:
        size = HEADER + int.from_bytes(buffer[at + 1 : at + 3], "little") + TRAILER
        frame = buffer[at : at + size]
        sound = len(frame) == size > HEADER + TRAILER and frame[-1] == END and frame[-2] == checksum(frame[1:-2])
        if sound:
            yield frame
        at = buffer.find(START, at + (size if sound else 1))


def checksum(body: bytes) -> int:
    """Sum of all bytes between start and checksum, 8 bits."""
    return byte_sum(body) & 0xFF


def open_logger(place: Place, driver: Driver, halt: Event) -> ByteLink:
    """A logger by its serial number. Raises LinkError."""
    serial = place.options.get("serial")
    if serial is None or not 0 < serial < SERIALS:
        raise LinkError(f"{place.text}: name the logger's number, solarman:host:8899?serial=1234567890; it is on it")
    patient = replace(driver, timeout_s=max(driver.timeout_s, PATIENCE_S))
    return ByteLink(TcpWire(*place.host()), patient, SolarmanV5(serial), halt)
