"""A port of which nobody knows what hangs on it, and the little patience with which it is asked."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Event

from pymodbus.framer import FramerRTU, FramerSocket
from pymodbus.pdu import DecodePDU

from cellherd.errors import BadFrame, Silent
from collectors.kernel import Driver
from collectors.links.bytewise import ByteLink, Plain
from collectors.links.modbus import Modbus
from collectors.links.wires import SLICE_S, SerialWire, TcpWire, Wire

SPENT = 5
"""Quiet slices after which no more of an answer comes."""


@dataclass(frozen=True, slots=True)
class Port:
    """A serial port, or a serial server, which has a baud rate of its own."""

    name: str
    tcp: bool = False

    def open(self, baud: int) -> Wire:
        """Raises LinkError."""
        if not self.tcp:
            return SerialWire(self.name, baud)
        host, _, number = self.name.rpartition(":")
        return TcpWire(host, int(number))

    def link(self, driver: Driver, baud: int) -> str:
        """What stands in edge.toml for a driver on this port."""
        scheme = "modbus" if "modbus" in driver.links else "serial"
        if self.tcp:
            return f"{scheme.replace('serial', 'tcp').replace('modbus', 'modbus-tcp')}:{self.name}"
        return f"{scheme}:{self.name}" + (f"?baud={baud}" if baud != driver.baud else "")

    def line(self, wire: Wire, driver: Driver, halt: Event) -> ByteLink:
        """An open wire as the driver's link; its allow-list stands guard."""
        if "modbus" not in driver.links:
            return ByteLink(wire, driver, Plain(driver), halt)
        return ByteLink(wire, driver, Modbus((FramerSocket if self.tcp else FramerRTU)(DecodePDU(False))), halt)


class Impatient:
    """A wire that gives up early: where no answer begins, and where one has stopped before it was whole."""

    def __init__(self, wire: Wire, wait_s: float) -> None:
        self.name = wire.name
        self.wait_s = wait_s
        self._wire, self._sent, self._heard, self._quiet = wire, b"", b"", 0

    def write(self, data: bytes) -> None:
        """See Wire."""
        self._sent, self._heard, self._quiet = data, b"", 0
        self._wire.write(data)

    def read(self) -> bytes:
        """See Wire; raises Silent or BadFrame when waiting on is in vain."""
        chunk = self._wire.read()
        self._heard += chunk
        self._quiet = 0 if chunk else self._quiet + 1
        begun = self._heard not in (b"", self._sent)  # an adapter may echo
        if begun and self._quiet >= SPENT:
            raise BadFrame(f"{self.name}: an answer, but not in this protocol", self._heard[:64])
        if not begun and self._quiet * SLICE_S >= self.wait_s:
            raise Silent(f"{self.name}: nobody answers")
        return chunk

    def drop(self) -> None:
        """See Wire."""
        self._wire.drop()

    def close(self) -> None:
        """See Wire."""
        self._wire.close()
