"""A radio without an adapter: stands in for bleak's client, and speaks for our emulated devices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import bleak
from bleak.exc import BleakDeviceNotFoundError, BleakError

from collectors.drivers import driver
from collectors.emulators.battery import Battery, Plan
from collectors.emulators.fleet import emulator
from collectors.kernel import Gatt, Send
from collectors.links.ble import uuid

ADDRESS = "C8:47:8C:00:00:01"
Notified = Callable[[object, bytearray], None]


@dataclass(frozen=True)
class Characteristic:
    """What bleak tells of one."""

    uuid: str
    handle: int
    properties: tuple[str, ...]


@dataclass(frozen=True)
class Service:
    """What bleak tells of one."""

    uuid: str
    characteristics: tuple[Characteristic, ...]


@dataclass
class Peripheral:
    """An emulated battery in the air. `piece` are the bytes of a notification, `before` what its radio says first.

    `mood`: "well", "silent", "vanishes" after the first bytes of an answer, "refuses" what is written, "away".
    """

    name: str
    gatt: Gatt | None = None
    address: str = ADDRESS
    piece: int = 20
    before: bytes = b""
    mood: str = "well"
    twice: bool = False
    written: list[bytes] = field(default_factory=list)
    heard: list[tuple[int, bool]] = field(default_factory=list)
    sessions: int = 0
    open: int = 0

    def services(self) -> tuple[Service, ...]:
        gatt = self.gatt or driver(self.name).gatt
        assert gatt
        if self.twice:  # as on a JK: one number, one handle that is written and one that notifies
            both = ((gatt.notify, ("write-without-response",)), (gatt.notify, ("notify",)))
        elif gatt.notify == gatt.write:
            both = ((gatt.notify, ("notify", "write-without-response")),)  # type: ignore[assignment]
        else:
            both = ((gatt.notify, ("notify",)), (gatt.write, ("write",)))
        made = [Characteristic(uuid(number), 10 + n, can) for n, (number, can) in enumerate(both)]
        other = Service(uuid(0x180A), (Characteristic(uuid(0x2A29), 3, ("read",)),))
        return other, Service(uuid(gatt.service), tuple(made))

    def answer(self, data: bytes) -> bytes:
        acts = emulator(self.name)
        request, _ = acts.cut(data)
        address = max(driver(self.name).default_address, 1)
        truths = {address: Battery(Plan(seed=3)).truth()}
        return (acts.answer(Send(request), address, truths) or b"") if request else b""


class Air:
    """Who is in reach, by address; `client` is what replaces bleak.BleakClient."""

    def __init__(self, **found: Peripheral) -> None:
        self.found: dict[str, Peripheral] = {one.address: one for one in found.values()}
        self.options: list[dict[str, Any]] = []
        self.clients: list[FakeClient] = []

    def client(self, address: str, lost: Callable[[object], None], **options: Any) -> FakeClient:
        self.options.append(options)
        self.clients.append(FakeClient(self, address, lost))
        return self.clients[-1]

    def vanish(self) -> None:
        """Everybody goes out of reach, and the radio notices."""
        for one in self.found.values():
            one.mood = "away"
        for client in self.clients:
            client.drop()


class FakeClient:
    """The part of bleak.BleakClient that we use."""

    def __init__(self, air: Air, address: str, lost: Callable[[object], None]) -> None:
        self._air, self._address, self._lost = air, address, lost
        self._told: Notified | None = None
        self._on = False

    @property
    def _peer(self) -> Peripheral:
        return self._air.found[self._address]

    @property
    def services(self) -> tuple[Service, ...]:
        return self._peer.services()

    async def connect(self) -> None:
        peer = self._air.found.get(self._address)
        if peer is None or peer.mood == "away":
            raise BleakDeviceNotFoundError(self._address, f"Device with address {self._address} was not found")
        if peer.open:
            raise BleakError("org.bluez.Error.InProgress")
        peer.sessions, peer.open, self._on = peer.sessions + 1, peer.open + 1, True

    async def disconnect(self) -> None:
        self.drop()

    def drop(self) -> None:
        if self._on:
            self._on, self._peer.open = False, self._peer.open - 1
            self._lost(self)

    async def start_notify(self, one: Characteristic, told: Notified) -> None:
        assert "notify" in one.properties
        self._told = told

    async def write_gatt_char(self, one: Characteristic, data: bytes, response: bool) -> None:
        peer = self._peer
        assert ("write" if response else "write-without-response") in one.properties
        if not self._on or peer.mood == "refuses":
            raise BleakError("Not connected")
        peer.written.append(bytes(data))
        peer.heard.append((one.handle, response))
        if peer.mood == "silent" or self._told is None:
            return
        said = peer.before + peer.answer(bytes(data))
        for at in range(0, len(said), peer.piece):
            self._told(one, bytearray(said[at : at + peer.piece]))
            if peer.mood == "vanishes":
                self.drop()
                return


def in_the_air(monkeypatch: Any, **found: Peripheral) -> Air:
    """Put these devices in reach of `ble:` links."""
    air = Air(**found)
    monkeypatch.setattr(bleak, "BleakClient", air.client)
    return air
