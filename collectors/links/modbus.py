"""Modbus over a serial line (RTU) or TCP. pymodbus writes and reads the frames, the waiting is ours.

Its clients count their timeouts on the wall clock, which jumps on a Pi without RTC, take an adapter's echo for an
answer and do not compare the number of registers.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from threading import Event

from pymodbus.framer import FramerRTU, FramerSocket
from pymodbus.framer.base import FramerBase
from pymodbus.pdu import DecodePDU, ExceptionResponse, ModbusPDU
from pymodbus.pdu.bit_message import ReadCoilsRequest
from pymodbus.pdu.register_message import ReadHoldingRegistersRequest, ReadInputRegistersRequest

from cellherd.errors import BadFrame, LinkError
from collectors.kernel import Answer, Driver, Registers, Request, Unsupported
from collectors.links import Place
from collectors.links.bytewise import ByteLink
from collectors.links.wires import SerialWire, TcpWire

COILS = 1
READS: dict[int, type[ModbusPDU]] = {
    COILS: ReadCoilsRequest,
    3: ReadHoldingRegistersRequest,
    4: ReadInputRegistersRequest,
}
REFUSALS = {1: "function not known", 2: "no such register", 3: "value not allowed", 4: "device failure"}
UNSUPPORTED = (1, 2, 3)
REFUSED = 0x80
CRC = 2
HEADER = 6
"""Bytes of Modbus TCP before the unit: transaction, protocol, length."""


class Modbus:
    """Framing of one kind: what stands around unit, function and data."""

    def __init__(self, framer: FramerBase) -> None:
        self._framer = framer
        self._tcp = isinstance(framer, FramerSocket)
        self._numbers = count(1)

    def dress(self, request: Request, address: int) -> bytes:
        """See Framing."""
        if not isinstance(request, Registers) or request.function not in READS:
            raise LinkError(f"{request} cannot travel over Modbus")
        read, number = READS[request.function], next(self._numbers) & 0xFFFF
        return self._framer.buildFrame(
            read(address=request.start, count=request.count, dev_id=address, transaction_id=number)
        )

    def find(self, request: Request, sent: bytes, buffer: bytes) -> Answer | None:
        """The register bytes, or a byte for each eight coils. Noise, echoes, other units and lengths are skipped."""
        if not isinstance(request, Registers):
            return None
        unit = sent[HEADER if self._tcp else 0]
        size = (request.count + 7) // 8 if request.function == COILS else 2 * request.count
        answer = bytes((unit, request.function, size))
        refusal = bytes((unit, request.function | REFUSED))
        for head, length in ((answer, len(answer) + size), (refusal, len(refusal) + 1)):
            for frame in self._frames(sent, head, length, buffer):
                _, pdu = self._framer.handleFrame(frame, unit, 0)
                if isinstance(pdu, ExceptionResponse):
                    told = REFUSALS.get(pdu.exception_code, "no reason known")
                    error = Unsupported if pdu.exception_code in UNSUPPORTED else BadFrame
                    raise error(f"unit {unit} refuses {request}: {told} ({pdu.exception_code})", frame)
                if pdu is not None:
                    return pdu.encode()[1:]
        return None

    def _frames(self, sent: bytes, head: bytes, length: int, buffer: bytes) -> Iterator[bytes]:
        if self._tcp:
            head, length = sent[:4] + length.to_bytes(2, "big") + head, length + HEADER
        else:
            length += CRC
        at = buffer.find(head)
        while 0 <= at <= len(buffer) - length:
            yield buffer[at : at + length]
            at = buffer.find(head, at + 1)


def open_rtu(place: Place, driver: Driver, halt: Event) -> ByteLink:
    """Modbus RTU at the baud rate of the link, else of the driver. Raises LinkError."""
    wire = SerialWire(place.target, place.options.get("baud", driver.baud))
    return ByteLink(wire, driver, Modbus(FramerRTU(DecodePDU(False))), halt)


def open_tcp(place: Place, driver: Driver, halt: Event) -> ByteLink:
    """Modbus TCP. Raises LinkError."""
    return ByteLink(TcpWire(*place.host()), driver, Modbus(FramerSocket(DecodePDU(False))), halt)
