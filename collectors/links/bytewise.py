"""Asking over a line that carries bytes: one request at a time, and the driver says which bytes are the answer."""

from __future__ import annotations

import time
from threading import Event
from typing import Protocol

from cellherd.errors import BadFrame, LinkError, Silent
from collectors.kernel import Answer, Driver, Request, Send, refuse_unless_permitted
from collectors.links import Place
from collectors.links.wires import SLICE_S, SerialWire, TcpWire, Wire

MOST = 64 * 1024
"""Bytes after which an answer is babble; the longest that can be, a console's list of 240 cells, has about 26,000."""

STOOD_S = 2 * SLICE_S
"""A wait that ends this much too late: the machine was busy, and the answer may have come long ago."""


class Framing(Protocol):
    """How requests become bytes on the line, and where an answer stands in what comes back."""

    def dress(self, request: Request, address: int) -> bytes:
        """The bytes to send."""

    def find(self, request: Request, sent: bytes, buffer: bytes) -> Answer | None:
        """The answer if it stands whole in the buffer. Raises BadFrame for a broken one."""


class Plain:
    """The driver's own frames."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def dress(self, request: Request, address: int) -> bytes:
        """See Framing."""
        if not isinstance(request, Send):
            raise LinkError(f"{self._driver.name}: {request} cannot travel over a line of bytes")
        return request.data

    def find(self, request: Request, sent: bytes, buffer: bytes) -> Answer | None:
        """See Framing."""
        if self._driver.extract is None:
            return buffer or None
        whole = b""
        for _ in range(request.parts if isinstance(request, Send) else 1):
            part = self._driver.extract(sent, buffer)
            if part is None:
                return None
            whole, buffer = whole + part, buffer.partition(part)[2]
        return whole


class ByteLink:
    """A Link over bytes; see collectors.links.Link."""

    def __init__(self, wire: Wire, driver: Driver, framing: Framing, halt: Event) -> None:
        self._wire, self._driver, self._framing, self._halt = wire, driver, framing, halt
        self._quiet_until = 0.0
        self._beats = 0
        """Heartbeats of the bytes at hand that were given back."""
        self._asleep = isinstance(wire, SerialWire) and driver.wake is not None

    def ask(self, request: Request, *, address: int) -> Answer:
        """See Link."""
        try:
            return self._ask(request, address)
        except Silent:
            if not self._asleep:
                raise
            self._wake()
            return self._ask(request, address)
        finally:
            self._asleep = False

    def _wake(self) -> None:
        """Once a link, and only where a port has a speed. Raises LinkError."""
        wake = self._driver.wake
        if wake is None or not isinstance(self._wire, SerialWire):
            return
        for send in (wake.call, wake.then):
            refuse_unless_permitted(self._driver, send)
        self._wire.write_at(wake.baud, wake.call.data)
        self._halt.wait(self._driver.gap_s)
        self._wire.write(wake.then.data)
        self._halt.wait(self._driver.gap_s)

    def _ask(self, request: Request, address: int) -> Answer:
        refuse_unless_permitted(self._driver, request)
        self._halt.wait(max(0.0, self._quiet_until - time.monotonic()))
        sent = self._framing.dress(request, address)
        if self._driver.beat:
            self._beats = 0
            self._reply(self._wire.read())
            self._beats = 0
        self._wire.drop()
        self._wire.write(sent)
        try:
            return self._await(request, sent, address)
        finally:
            self._quiet_until = time.monotonic() + self._driver.gap_s

    def _await(self, request: Request, sent: bytes, address: int) -> Answer:
        buffer = b""
        until = time.monotonic() + self._driver.timeout_s
        looked = False
        while len(buffer) < MOST:
            if self._halt.is_set():
                raise LinkError(f"{self._wire.name}: stopping")
            over = time.monotonic() - until
            if looked or 0 <= over < STOOD_S:
                break
            looked = over >= STOOD_S  # this process stood still: what came meanwhile counts
            chunk = self._wire.read()
            buffer += chunk
            self._reply(buffer)
            if chunk and (answer := self._framing.find(request, sent, buffer)) is not None:
                return answer
        if buffer in (b"", sent):  # an adapter that echoes is no device that answers
            whom = f"{self._driver.name} at address {address}"
            raise Silent(f"{self._wire.name}: {whom} gave no answer to {sent.hex()} in {self._driver.timeout_s:g} s")
        end = f"in {self._driver.timeout_s:g} s" if len(buffer) < MOST else f"({MOST // 1024} KiB is the most)"
        raise BadFrame(
            f"{self._wire.name}: no sound answer to {sent.hex()} among {len(buffer)} bytes {end}", buffer[:512]
        )

    def _reply(self, buffer: bytes) -> None:
        """Give a device back what it hangs up without, each time it wants that once."""
        reply = self._driver.beat(buffer) if self._driver.beat else None
        if reply is None or buffer.count(reply.data) <= self._beats:
            return
        refuse_unless_permitted(self._driver, reply)
        self._wire.write(reply.data)
        self._beats = buffer.count(reply.data)

    def hear(self, timeout: float) -> bytes | None:
        """See Link."""
        until = time.monotonic() + timeout
        while not self._halt.is_set():
            if chunk := self._wire.read():
                return chunk
            if time.monotonic() >= until:
                break
        return None

    def close(self) -> None:
        """See Link."""
        self._wire.close()


def open_serial(place: Place, driver: Driver, halt: Event) -> ByteLink:
    """A serial port at the baud rate of the link, else of the driver. Raises LinkError."""
    return ByteLink(SerialWire(place.target, place.options.get("baud", driver.baud)), driver, Plain(driver), halt)


def open_tcp(place: Place, driver: Driver, halt: Event) -> ByteLink:
    """The same bytes over TCP. Raises LinkError."""
    return ByteLink(TcpWire(*place.host()), driver, Plain(driver), halt)
