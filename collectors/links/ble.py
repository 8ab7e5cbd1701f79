"""Bluetooth LE: one characteristic that notifies, one that takes the questions of the driver's allow-list.

bleak speaks to the radio; the bytes go the way of a serial line, for the drivers find their frames in any stream. A
device that goes away is a link that is gone, and the station opens it anew.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from dataclasses import replace
from threading import Event
from typing import TYPE_CHECKING, Any

from cellherd.errors import CellherdError, LinkError
from collectors.kernel import Driver, Gatt
from collectors.links import Link, Place
from collectors.links.aside import Aside
from collectors.links.bytewise import ByteLink, Plain
from collectors.links.longtail import LongTail
from collectors.links.radio import CONNECT_S, LEAVE_S, SEEK_S, one_at_a_time, radio_options
from collectors.links.wires import CHUNK, SLICE_S, WRITE_S

if TYPE_CHECKING:
    from bleak import BleakClient

LEAST_TIMEOUT_S = 3.0
"""An answer comes in pieces of 20 bytes at worst, one a connection interval: slower than on a wire."""
INBOX = 1024
"""Notifications that wait to be read, each at most 512 bytes."""


class BleWire:
    """A Wire over two characteristics; see collectors.links.wires.Wire."""

    def __init__(self, place: Place, gatt: Gatt, halt: Event) -> None:
        self._address, _ = place.radio()
        self.name = f"ble:{self._address}"
        self._halt = halt
        self._heard, self._came, self._gone = deque[bytes](maxlen=INBOX), Event(), False
        self._client: BleakClient | None = None
        self._write_to: Any = None
        self._aside = Aside(self.name)
        try:
            with one_at_a_time(self.name, halt):
                self._aside.run(self._connect(gatt, radio_options(place)), CONNECT_S, halt)
        except CellherdError:
            self.close()
            raise
        except Exception as error:  # noqa: BLE001 - errors of bleak, of D-Bus and of the system, of many kinds
            self.close()
            raise LinkError(f"{self.name}: {_why(error)}") from None

    async def _connect(self, gatt: Gatt, options: dict[str, Any]) -> None:
        from bleak import BleakClient  # noqa: PLC0415 - an extra

        self._client = BleakClient(self._address, self._lost, timeout=SEEK_S, **options)
        await self._client.connect()
        notifies = self._characteristic(gatt.service, gatt.notify, ("notify", "indicate"))
        self._write_to = self._characteristic(gatt.service, gatt.write, ("write", "write-without-response"))
        await self._client.start_notify(notifies, self._notified)

    def _characteristic(self, service: int, number: int, abilities: tuple[str, ...]) -> Any:
        """One that can do this: a JK has two of the same number, one to write to and one that notifies."""
        for each in self._client.services if self._client else ():
            if each.uuid.lower() != uuid(service):
                continue
            for one in each.characteristics:
                if one.uuid.lower() == uuid(number) and {*abilities} & {*one.properties}:
                    return one
        raise LinkError(f"{self.name}: has no {number:04X} in {service:04X} to {abilities[0]}; is it another model?")

    def _lost(self, _client: object) -> None:
        self._gone = True
        self._came.set()

    def _notified(self, _sender: object, data: bytearray) -> None:
        self._heard.append(bytes(data))
        self._came.set()

    def write(self, data: bytes) -> None:
        """See Wire."""
        if self._gone or self._client is None:
            raise LinkError(f"{self.name}: lost the connection")
        answered = "write-without-response" not in self._write_to.properties
        try:
            self._aside.run(self._client.write_gatt_char(self._write_to, data, answered), WRITE_S, self._halt)
        except CellherdError:
            raise
        except Exception as error:  # noqa: BLE001 - as above
            raise LinkError(f"{self.name}: cannot write, {_why(error)}") from None

    def read(self) -> bytes:
        """See Wire."""
        if not self._heard and not self._gone:
            self._came.wait(SLICE_S)
        self._came.clear()
        data = b""
        while self._heard and len(data) < CHUNK:
            data += self._heard.popleft()
        if not data and self._gone:
            raise LinkError(f"{self.name}: lost the connection; out of reach, asleep, or switched off?")
        return data

    def drop(self) -> None:
        """See Wire."""
        self._heard.clear()

    def close(self) -> None:
        """See Wire. A device that we did not let go would take nobody else."""
        with suppress(Exception):
            if self._client is not None:
                self._aside.run(self._client.disconnect(), LEAVE_S)
        self._aside.close()


def uuid(number: int) -> str:
    """The long form of a 16-bit number."""
    return f"0000{number:04x}-0000-1000-8000-00805f9b34fb"


def _why(error: Exception) -> str:
    if isinstance(error, ImportError):
        return "Bluetooth wants bleak; `pip install 'cellherd[ble]'`"
    if isinstance(error, TimeoutError) or type(error).__name__ == "BleakDeviceNotFoundError":
        return "is not heard; in reach and awake, and no phone connected to it?"
    return f"{type(error).__name__} {error}; is there a Bluetooth adapter, and does `bluetoothctl show` see it?"


def open_ble(place: Place, driver: Driver, halt: Event) -> Link:
    """A device with characteristics that its driver knows; else one that aiobmsble knows. Raises LinkError."""
    if driver.gatt is None:
        return LongTail(place, driver, halt)
    patient = replace(driver, timeout_s=max(driver.timeout_s, LEAST_TIMEOUT_S))
    return ByteLink(BleWire(place, driver.gatt, halt), patient, Plain(patient), halt)
