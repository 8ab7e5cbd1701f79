"""The only device I/O: ports, sockets and buses, opened from a link as it stands in edge.toml.

serial:/dev/ttyUSB0?baud=9600      a serial adapter
tcp:host:port                      the same bytes over a serial server
modbus:/dev/ttyUSB0?baud=115200    Modbus RTU
modbus-tcp:host:502                Modbus TCP
solarman:host:8899?serial=NUMBER   Modbus through a Wi-Fi logger that speaks Solarman V5
can:can0                           SocketCAN
slcan:/dev/ttyACM0?bitrate=500000  a USB CAN adapter that speaks slcan; without bitrate the driver's usual one
virtual:name                       a CAN bus inside this process, for tests
ble:AA:BB:CC:DD:EE:FF              Bluetooth LE; ?adapter=1 takes hci1 in place of the first
mqtt:host:1883/UNIT                another broker's topics; UNIT names the device there, without it the first heard
mqtts:host:8883/UNIT               the same over TLS
https:api.example.com/UNIT         a vendor's API, asked; UNIT is the serial number
cloud:api.example.com/UNIT         the vendor's broker, which its API lets us into, listened to
replay:FILE                        a capture; nothing is sent anywhere
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from threading import Event
from typing import Protocol
from urllib.parse import parse_qsl

from cellherd.errors import CellherdError
from collectors.kernel import Answer, Chunk, Driver, Request


class Link(Protocol):
    """An open line to one or more devices of the same driver. Used by one thread at a time."""

    def ask(self, request: Request, *, address: int) -> Answer:
        """Send a request that the driver's allow-list holds and wait for its answer; on CAN that is heard instead.

        Raises Refused before anything is sent, Silent when no answer came in time, BadFrame when only rubbish
        came, LinkError when the line itself is gone.
        """

    def hear(self, timeout: float) -> Chunk | None:
        """What a device says unasked, None if it was quiet for `timeout` seconds. Raises LinkError."""

    def close(self) -> None:
        """Give the line back; never raises."""


@dataclass(frozen=True, slots=True)
class Place:
    """A link text taken apart."""

    text: str
    scheme: str
    target: str
    options: dict[str, int]

    def host(self) -> tuple[str, int]:
        """Host and port of a network target. Raises CellherdError."""
        host, _, port = self.target.rpartition(":")
        if not host or not port.isdecimal():
            raise CellherdError(f"link {self.text!r}: write it as {self.scheme}:host:port")
        return host.strip("[]"), int(port)

    def web(self, usual: int) -> tuple[str, int, str]:
        """Host, port and unit of a target like host:port/unit. Raises CellherdError."""
        network, _, unit = self.target.partition("/")
        shape = re.fullmatch(r"(\[[0-9a-fA-F:]+\]|[^:\[\]\s@?]+)(?::(\d{1,5}))?", network)
        if shape is None or not _UNIT.fullmatch(unit):
            raise CellherdError(f"link {self.text!r}: write it as {self.scheme}:host:{usual}/UNIT")
        return shape[1].strip("[]"), int(shape[2] or usual), unit

    def radio(self) -> tuple[str, str]:
        """Address and kind of a target like AA:BB:CC:DD:EE:FF/kind. Raises CellherdError."""
        address, _, kind = self.target.partition("/")
        if not _RADIO.fullmatch(address) or not _UNIT.fullmatch(kind):
            raise CellherdError(
                f"link {self.text!r}: write it as ble:AA:BB:CC:DD:EE:FF; `bluetoothctl scan on` shows it"
            )
        return address.upper(), kind


_UNIT = re.compile(r"[A-Za-z0-9_.-]*")
"""No wildcard and no slash: a unit is one step of a topic."""
_RADIO = re.compile(r"[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){5}")


@dataclass(frozen=True, slots=True)
class _Scheme:
    line: str
    opener: str
    options: tuple[str, ...] = ()


_SCHEMES = {
    "serial": _Scheme("serial", "collectors.links.bytewise:open_serial", ("baud",)),
    "tcp": _Scheme("tcp", "collectors.links.bytewise:open_tcp"),
    "modbus": _Scheme("modbus", "collectors.links.modbus:open_rtu", ("baud",)),
    "modbus-tcp": _Scheme("modbus", "collectors.links.modbus:open_tcp"),
    "solarman": _Scheme("modbus", "collectors.links.solarman:open_logger", ("serial",)),
    "can": _Scheme("can", "collectors.links.canbus:open_socketcan"),
    "slcan": _Scheme("can", "collectors.links.canbus:open_slcan", ("bitrate",)),
    "virtual": _Scheme("can", "collectors.links.canbus:open_virtual"),
    "ble": _Scheme("ble", "collectors.links.ble:open_ble", ("adapter",)),
    "mqtt": _Scheme("mqtt", "collectors.links.mqtt:open_plain"),
    "mqtts": _Scheme("mqtt", "collectors.links.mqtt:open_tls"),
    "https": _Scheme("https", "collectors.links.https:open_https"),
    "cloud": _Scheme("cloud", "collectors.links.mqtt:open_cloud"),
    "replay": _Scheme("", "collectors.links.capture:open_replay"),
}
NETWORKED = ("mqtt", "https", "cloud")
Opener = Callable[[Place, Driver, Event], Link]


def place_of(text: str) -> Place:
    """Take a link text apart. Raises CellherdError with the nearest right spelling."""
    scheme, _, rest = text.partition(":")
    if scheme in _SCHEMES and not rest:
        raise CellherdError(f"link {text!r}: say what is to be opened behind {scheme}:")
    if scheme not in _SCHEMES:
        near = get_close_matches(scheme, _SCHEMES, 1)
        hint = f"did you mean {near[0]}:...?" if near else f"it begins with one of {', '.join(_SCHEMES)}"
        raise CellherdError(f"link {text!r} is not understood; {hint}")
    target, _, query = rest.partition("?")
    options = dict(parse_qsl(query))
    for name, value in options.items():
        if name not in _SCHEMES[scheme].options or not value.isdecimal():
            known = ", ".join(f"{option}=NUMBER" for option in _SCHEMES[scheme].options) or "no options"
            raise CellherdError(f"link {text!r}: {name}={value} is not understood, {scheme} takes {known}")
    return Place(text, scheme, target, {name: int(value) for name, value in options.items()})


def check_link(text: str, driver: Driver) -> Place:
    """Refuse a link that is not understood or that the driver does not speak over. Raises CellherdError."""
    place = place_of(text)
    line = _SCHEMES[place.scheme].line
    if line and line not in driver.links:
        usable = [f"{name}:" for name, known in _SCHEMES.items() if known.line in driver.links]
        raise CellherdError(f"{driver.name} does not speak over {place.scheme}:, use {' or '.join(usable)} ({text})")
    if place.scheme in ("tcp", "modbus-tcp", "solarman"):
        place.host()
    if line == "ble":
        place.radio()
    if line in NETWORKED:
        place.web(1)
    return place


def line_of(text: str) -> str:
    """What a link text names: serial, modbus, can, ble, mqtt, https, cloud; "" for a capture. Raises CellherdError."""
    return _SCHEMES[place_of(text).scheme].line


def open_link(text: str, driver: Driver, halt: Event | None = None) -> Link:
    """Open the line that a link text names, for one driver. `halt` ends every wait within a fraction of a second.

    Raises CellherdError for a text that is not understood, LinkError when the line cannot be opened.
    """
    place = check_link(text, driver)
    module, _, function = _SCHEMES[place.scheme].opener.partition(":")
    opener: Opener = getattr(import_module(module), function)
    return opener(place, driver, halt or Event())
