"""Listening on a CAN bus. A BMS and its inverter must not notice us: we send only what a driver set to `ask` may ask.

An slcan adapter is put into its listen-only mode, so that it does not even acknowledge, unless the driver is set to
`ask` or `ack`. SocketCAN cannot be told by a program: `ip link set can0 up type can bitrate 500000 listen-only on`
does it, as root, once after each boot; `listen-only off` where we ask or acknowledge.
"""

from __future__ import annotations

import time
from threading import Event
from typing import Any

import can

from cellherd.errors import LinkError, Refused
from collectors.kernel import CanFrame, Driver, Request, refuse_unless_permitted
from collectors.links import Place

SLICE_S = 0.1
SETTLE_S = 0.2
SEND_S = 1.0


class CanLink:
    """A Link that hears; see collectors.links.Link. Answers are heard too, so `ask` gives none."""

    def __init__(self, name: str, driver: Driver, halt: Event, **bus: Any) -> None:
        self._name, self._driver, self._halt = name, driver, halt
        try:
            self._bus = can.Bus(**bus)
        except (can.CanError, OSError, ValueError) as error:
            raise LinkError(f"{name}: cannot be opened, {error}; {self._mend()}") from None

    def ask(self, request: Request, *, address: int) -> bytes:
        """See Link; refused unless the driver is set to ask."""
        if not self._driver.ask or not isinstance(request, CanFrame):
            raise Refused(f"{self._name}: listens only, {request} for address {address} was not sent")
        refuse_unless_permitted(self._driver, request)
        try:
            self._bus.send(
                can.Message(arbitration_id=request.id, data=request.data, is_extended_id=request.extended), SEND_S
            )
        except (can.CanError, OSError, ValueError) as error:
            raise LinkError(f"{self._name}: {request} cannot be sent, {error}; {self._mend()}") from None
        return b""

    def hear(self, timeout: float) -> CanFrame | None:
        """See Link; error and remote frames are passed over."""
        until = time.monotonic() + timeout
        while not self._halt.is_set():
            message = self._receive(min(SLICE_S, max(0.0, until - time.monotonic())))
            if message and not (message.is_error_frame or message.is_remote_frame):
                return CanFrame(message.arbitration_id, bytes(message.data), message.is_extended_id)
            if time.monotonic() >= until:
                break
        return None

    def _receive(self, timeout: float) -> can.Message | None:
        try:
            return self._bus.recv(timeout)
        except (can.CanError, OSError, ValueError) as error:  # ValueError: slcan text that is cut or garbled
            raise LinkError(f"{self._name}: went away or talks rubbish, {error}; {self._mend()}") from None

    def close(self) -> None:
        """See Link."""
        try:
            self._bus.shutdown()
        except (can.CanError, OSError, TypeError):
            return  # an unplugged adapter has nothing left to close

    def _mend(self) -> str:
        if self._name.startswith("can"):
            listen = "off" if _takes_part(self._driver) else "on"
            return f"sudo ip link set {self._name} up type can bitrate {self._driver.baud} listen-only {listen}"
        return "is the adapter plugged in? `ls /dev/serial/by-path` shows it"


def _takes_part(driver: Driver) -> bool:
    return driver.ask or driver.ack


def open_socketcan(place: Place, driver: Driver, halt: Event) -> CanLink:
    """A CAN interface of the kernel, in the mode and at the bit rate that root gave it. Raises LinkError."""
    return CanLink(place.target, driver, halt, interface="socketcan", channel=place.target)


def open_slcan(place: Place, driver: Driver, halt: Event) -> CanLink:
    """A USB adapter, in its listen-only mode unless the driver takes part; at its bit rate unless the link has one.

    Raises LinkError.
    """
    bus = {"bitrate": place.options.get("bitrate", driver.baud), "sleep_after_open": SETTLE_S, "timeout": SLICE_S}
    bus["listen_only"] = not _takes_part(driver)
    return CanLink(place.target, driver, halt, interface="slcan", channel=place.target, **bus)


def open_virtual(place: Place, driver: Driver, halt: Event) -> CanLink:
    """A bus inside this process."""
    return CanLink(place.target, driver, halt, interface="virtual", channel=place.target)
