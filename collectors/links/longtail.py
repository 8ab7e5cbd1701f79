"""The long tail of Bluetooth batteries: aiobmsble connects, asks and decodes, and gives a dictionary an update.

Two calls are made of it, `sample` and `info`, and what it says travels as JSON. What it writes to a battery is its own
affair: the guard of the other links ends at its door, so nothing comes here that edge.toml does not name.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import asdict, is_dataclass
from enum import IntEnum
from importlib import import_module
from threading import Event
from typing import Any

from cellherd.errors import CellherdError, LinkError, Silent
from collectors.kernel import Answer, Driver, Login, Request, Send, refuse_unless_permitted
from collectors.links import Place
from collectors.links.aside import Aside
from collectors.links.radio import CONNECT_S, LEAVE_S, SEEK_S, one_at_a_time, radio_options

LEAST_PYTHON = (3, 12)
UPDATE_S = 20.0
"""aiobmsble connects inside its first update, and again by itself when the battery was away."""
KIND = re.compile(r"[a-z0-9_]+")


class LongTail:
    """A Link to one battery that aiobmsble knows; see collectors.links.Link."""

    def __init__(self, place: Place, driver: Driver, halt: Event) -> None:
        self._address, self._kind = place.radio()
        self._driver, self._halt = driver, halt
        self._name = f"ble:{self._address}"
        self._bms: Any = None
        self._secret = _secret(driver.login)
        _refuse_old(self._name)
        self._aside = Aside(self._name)
        try:
            with one_at_a_time(self._name, halt):
                self._aside.run(self._find(radio_options(place)), CONNECT_S, halt)
        except CellherdError:
            self.close()
            raise
        except Exception as error:  # noqa: BLE001 - errors of bleak, of D-Bus and of the system, of many kinds
            self.close()
            raise LinkError(f"{self._name}: cannot be looked for, {type(error).__name__} {error}") from None

    async def _find(self, options: dict[str, Any]) -> None:
        """Look for the battery, and for who of aiobmsble speaks its language. Raises LinkError."""
        library, scanner = import_module("aiobmsble"), import_module("bleak").BleakScanner
        said: list[Any] = []

        def is_it(device: Any, advertised: Any) -> bool:
            if device.address.upper() == self._address:
                said.append(advertised)
            return bool(said)

        device = await scanner.find_device_by_filter(is_it, SEEK_S, **options)
        if device is None:
            raise LinkError(f"{self._name}: is not heard; in reach and awake, and no phone connected to it?")
        speaks = self._named() if self._kind else await self._identified(said[0])
        self._kind = speaks.__module__.rpartition(".")[2].removesuffix("_bms")
        self._bms = speaks(device, library.BMSConfig(keep_alive=True, secret=self._secret))

    def _named(self) -> Any:
        if not KIND.fullmatch(self._kind):
            raise LinkError(f"{self._name}: {self._kind!r} is no kind, like `redodo` or `renogy`")
        try:
            return import_module(f"aiobmsble.bms.{self._kind}_bms").BMS
        except ImportError:
            raise LinkError(f"{self._name}: aiobmsble knows no {self._kind!r}; docs/devices/ble.md") from None

    async def _identified(self, advertised: Any) -> Any:
        found = await import_module("aiobmsble.utils").bms_identify(advertised, self._address)
        if found is None:
            raise LinkError(f"{self._name}: aiobmsble does not know what this is; name its kind, {self._name}/KIND")
        return found

    def ask(self, request: Request, *, address: int) -> Answer:
        """See Link. Raises Silent where aiobmsble had no answer in time."""
        refuse_unless_permitted(self._driver, request)
        what = request.data.decode() if isinstance(request, Send) else ""
        calls = {"sample": lambda: self._bms.async_update(raw=True), "info": self._bms.device_info}
        try:
            said = self._aside.run(calls[what](), UPDATE_S, self._halt)
        except CellherdError:
            raise
        except TimeoutError:
            raise Silent(f"{self._name}: {self._kind} gave no answer to {what}") from None
        except Exception as error:  # noqa: BLE001 - as above, and whatever a decoder stumbles over
            raise LinkError(f"{self._name}: {self._kind} {what}, {type(error).__name__} {error}") from None
        return json.dumps({"kind": self._kind, what: said}, default=_plain).encode()

    def hear(self, timeout: float) -> None:
        """Nothing comes unasked."""
        self._halt.wait(timeout)

    def close(self) -> None:
        """See Link. A battery that we did not let go would take nobody else."""
        try:
            if self._bms is not None:
                self._aside.run(self._bms.disconnect(), LEAVE_S)
        except Exception:  # noqa: BLE001, S110 - it is gone, which is what we wanted
            pass
        finally:
            self._aside.close()


def _secret(login: Login | None) -> str:
    """The battery's Bluetooth password, if edge.toml names a file with one. Raises ConfigError."""
    if login is None:
        return ""
    from cellherd.config import read_secret  # noqa: PLC0415 - few batteries have one

    return read_secret(login.password_file) or ""


def _refuse_old(name: str) -> None:
    if sys.version_info < LEAST_PYTHON:
        raise LinkError(
            f"{name}: aiobmsble wants Python 3.12 or newer and this is {sys.version_info[0]}.{sys.version_info[1]}; "
            "jk_ble, jbd, daly_d2 and ant_new do without it"
        )
    try:
        import_module("aiobmsble")
    except ImportError:
        raise LinkError(f"{name}: the driver `ble` wants aiobmsble; `pip install 'cellherd[ble]'`") from None


def _plain(value: object) -> object:
    """What JSON does not know: a temperature with the kind of its sensor."""
    if is_dataclass(value) and not isinstance(value, type):
        return {k: v.name if isinstance(v, IntEnum) else v for k, v in asdict(value).items()}
    return str(value)
