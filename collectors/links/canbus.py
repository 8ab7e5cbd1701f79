"""Listening on a CAN bus. We never send: a BMS and its inverter must not notice us.

An slcan adapter is put into its listen-only mode, so that it does not even acknowledge. SocketCAN cannot be told by
a program: `ip link set can0 up type can bitrate 500000 listen-only on` does it, as root, once after each boot.
"""

from __future__ import annotations

import time
from threading import Event
from typing import Any

import can

from cellherd.errors import LinkError, Refused
from collectors.kernel import CanFrame, Driver, Request
from collectors.links import Place

SLICE_S = 0.1
BITRATE = 500_000
SETTLE_S = 0.2


class CanLink:
    """A Link that only hears; see collectors.links.Link."""

    def __init__(self, name: str, halt: Event, **bus: Any) -> None:
        self._name, self._halt = name, halt
        try:
            self._bus = can.Bus(**bus)
        except (can.CanError, OSError, ValueError) as error:
            raise LinkError(f"{name}: cannot be opened, {error}; {_mend(name)}") from None

    def ask(self, request: Request, *, address: int) -> bytes:
        """See Link; always refused."""
        raise Refused(f"{self._name}: listens only, {request} for address {address} was not sent")

    def hear(self, timeout: float) -> CanFrame | None:
        """See Link; error and remote frames are passed over."""
        until = time.monotonic() + timeout
        while not self._halt.is_set():
            message = self._receive()
            if message and not (message.is_error_frame or message.is_remote_frame):
                return CanFrame(message.arbitration_id, bytes(message.data), message.is_extended_id)
            if time.monotonic() >= until:
                break
        return None

    def _receive(self) -> can.Message | None:
        try:
            return self._bus.recv(SLICE_S)
        except (can.CanError, OSError, ValueError) as error:  # ValueError: slcan text that is cut or garbled
            raise LinkError(f"{self._name}: went away or talks rubbish, {error}; {_mend(self._name)}") from None

    def close(self) -> None:
        """See Link."""
        try:
            self._bus.shutdown()
        except (can.CanError, OSError, TypeError):
            return  # an unplugged adapter has nothing left to close


def _mend(name: str) -> str:
    if name.startswith("can"):
        return f"sudo ip link set {name} up type can bitrate {BITRATE} listen-only on"
    return "is the adapter plugged in? `ls /dev/serial/by-path` shows it"


def open_socketcan(place: Place, driver: Driver, halt: Event) -> CanLink:
    """A CAN interface of the kernel. Raises LinkError."""
    return CanLink(place.target, halt, interface="socketcan", channel=place.target)


def open_slcan(place: Place, driver: Driver, halt: Event) -> CanLink:
    """A USB adapter in its listen-only mode. Raises LinkError."""
    bus = {"bitrate": place.options.get("bitrate", BITRATE), "sleep_after_open": SETTLE_S, "timeout": SLICE_S}
    return CanLink(place.target, halt, interface="slcan", channel=place.target, listen_only=True, **bus)


def open_virtual(place: Place, driver: Driver, halt: Event) -> CanLink:
    """A bus inside this process."""
    return CanLink(place.target, halt, interface="virtual", channel=place.target)
