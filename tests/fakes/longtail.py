"""Stand-ins for aiobmsble: modules with its names for a Python that cannot have it, and a client for the real one.

Run by another interpreter (`python -m tests.fakes.longtail`) this drives the real one through our link, without a
radio: its client answers with the bytes of our emulated devices, and of a Humsienk as captured in aiobmsble's own
tests (patman15/aiobmsble tests/bms/test_humsienk_bms.py@0cbe833). One JSON line a battery.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from enum import IntEnum
from types import ModuleType, SimpleNamespace
from typing import Any

from cellherd.reading import Measured
from collectors.drivers import driver
from collectors.emulators.battery import Battery, Plan
from collectors.emulators.fleet import emulator
from collectors.kernel import Send, converse
from collectors.links import open_link

ADDRESS = "C8:47:8C:00:00:02"
TRUTH = replace(
    Battery(Plan(seed=3)).truth(), current_ma=10_000, faults=("cell_overvoltage_protection",), discharge_on=True
)
NATIVE = {"ant": "ant_new", "daly": "daly_d2", "jbd": "jbd"}
HUMSIENK = {
    request: bytes.fromhex(answer)
    for request, answer in {
        0x00: "aa00000000",
        0x10: "aa1003424d43e500",
        0x11: "aa110a424d432d303453303031" + "6202",
        0x20: "aa200f00000000800080" + "00" * 8 + "2f01",
        0x21: "aa211a4a33000082fbffff2a64e4f70000f0490200" + "0300231a1a1a2c1a9108",
        0x22: "aa2230d10cdb0cd40cd00c" + "00" * 40 + "d203",
        0x58: "aa58300400983a420e020d0400c409f00a0400f82a1000"
        "3075140066025000030dd10cab0add0a350d030de309150ac50d1e00050b",
        0xF5: "aaf50c56303200" + "00" * 8 + "b901",
    }.items()
}


# ---- a stand-in for the library ----


@dataclass(frozen=True)
class Sensor:
    """As aiobmsble's TempSensor."""

    class T(IntEnum):
        """Kinds of sensors."""

        GENERIC = 0
        CELL = 1
        MOSFET = 4

    value: float
    type: T = T.GENERIC


@dataclass
class Library:
    """What the stand-in does: `sample` and `info` are its results, `fails` what an update raises."""

    sample: dict[str, Any] = field(default_factory=dict)
    info: dict[str, str] = field(default_factory=dict)
    fails: Exception | None = None
    heard: bool = True
    known: bool = True
    secrets: list[str] = field(default_factory=list)
    open: int = 0

    def install(self, monkeypatch: Any) -> None:
        """Put it where aiobmsble would be, and in bleak's place a scanner that finds its battery."""
        library, kind, tools = (ModuleType(f"aiobmsble{end}") for end in ("", ".bms.redodo_bms", ".utils"))
        bms = self._bms()

        async def identify(advertised: object, address: str) -> object:
            assert (advertised, address) == ("advertised", ADDRESS)
            return bms if self.known else None

        made = {"aiobmsble": library, "aiobmsble.bms": ModuleType("aiobmsble.bms")}
        made |= {"aiobmsble.bms.redodo_bms": kind, "aiobmsble.utils": tools}
        library.__dict__["BMSConfig"] = lambda keep_alive, secret: SimpleNamespace(keep=keep_alive, secret=secret)
        kind.__dict__["BMS"], tools.__dict__["bms_identify"] = bms, identify
        for name, module in made.items():
            monkeypatch.setitem(sys.modules, name, module)
        monkeypatch.setattr("bleak.BleakScanner", SimpleNamespace(find_device_by_filter=self._find))
        monkeypatch.setattr("collectors.links.longtail.LEAST_PYTHON", (3, 11))

    async def _find(self, wanted: Callable[[Any, Any], bool], seconds: float, **_: Any) -> Any:
        device = SimpleNamespace(address=ADDRESS, name="pack")
        return device if self.heard and wanted(device, "advertised") else None

    def _bms(self) -> type:
        outer = self

        class BMS:
            __module__ = "aiobmsble.bms.redodo_bms"

            def __init__(self, device: Any, config: Any) -> None:
                assert config.keep
                outer.secrets.append(config.secret)

            async def async_update(self, raw: bool = False) -> dict[str, Any]:
                assert raw, "what the library derives itself is no reading"
                outer.open = 1
                if outer.fails:
                    raise outer.fails
                return outer.sample

            async def device_info(self) -> dict[str, str]:
                return outer.info

            async def disconnect(self) -> None:
                outer.open = 0

        return BMS


# ---- a client for the real one ----


class Client:
    """The part of bleak's client that aiobmsble uses; `answer` gives the bytes of a notification."""

    answer: Callable[[bytes], bytes]
    written: list[bytes]

    def __init__(self, *_: Any, **__: Any) -> None:
        self.is_connected = False
        self._told: Callable[[object, bytearray], Awaitable[None] | None] | None = None
        one = SimpleNamespace(
            properties=["notify", "write-without-response"], uuid="0000ffe1-0000-1000-8000-00805f9b34fb", handle=1
        )
        service = SimpleNamespace(uuid="0000ffe0-0000-1000-8000-00805f9b34fb", characteristics=[one])
        self.services = Services([service], one)

    async def disconnect(self) -> None:
        self.is_connected = False

    async def start_notify(self, _which: object, told: Any, **_: Any) -> None:
        self._told = told

    async def write_gatt_char(self, _which: object, data: bytes, response: bool | None = None) -> None:
        type(self).written.append(bytes(data))
        said = type(self).answer(bytes(data))
        for at in range(0, len(said), 512):
            assert self._told
            waiting = self._told(SimpleNamespace(handle=1, uuid="ffe1"), bytearray(said[at : at + 512]))
            if waiting is not None:
                await waiting


class Services(list[Any]):
    """Services, and the one characteristic that all of them have."""

    def __init__(self, services: list[Any], one: Any) -> None:
        super().__init__(services)
        self._one = one
        self.characteristics = {1: one}

    def get_characteristic(self, _which: object) -> Any:
        return self._one

    def get_service(self, which: str) -> Any:
        return None if which == "180a" else self[0]


def emulated(name: str) -> Callable[[bytes], bytes]:
    acts, address = emulator(name), max(driver(name).default_address, 1)

    def answer(data: bytes) -> bytes:
        request, _ = acts.cut(data)
        return (acts.answer(Send(request), address, {address: TRUTH}) or b"") if request else b""

    return answer


def main() -> None:
    import aiobmsble.basebms as base  # type: ignore[import-not-found] # noqa: PLC0415 - in the other Python only
    import bleak  # noqa: PLC0415 - as above

    async def connected(**_: Any) -> Client:
        client = Client()
        client.is_connected = True
        return client

    async def found(wanted: Callable[[Any, Any], bool], _seconds: float, **_: Any) -> Any:
        device = bleak.backends.device.BLEDevice(ADDRESS, "pack", {"path": "/"})
        return device if wanted(device, None) else None

    base.BleakClient, base.establish_connection = Client, connected
    base.BaseBMS._RETRY_TIMEOUT = 0.02  # what our devices do not know they do not answer
    bleak.BleakScanner.find_device_by_filter = found  # type: ignore[method-assign,assignment]
    answers = {kind: emulated(name) for kind, name in NATIVE.items()}
    for kind, answer in {**answers, "humsienk": lambda data: HUMSIENK.get(data[1], b"")}.items():
        Client.answer, Client.written = staticmethod(answer), []
        known = driver("ble")
        line = open_link(f"ble:{ADDRESS}/{kind}", known)
        said: list[Measured] = []
        for talk in (known.poll, known.identify):
            assert talk
            said += converse(talk(0), lambda request, line=line: line.ask(request, address=0))  # type: ignore[misc]
        line.close()
        first = said[0]
        told = {name: getattr(first, name) for name in ("current_ma", "soc_pm", "charge_on", "discharge_on", "cycles")}
        told |= {"cell_mv": first.cell_mv, "temp_dc": first.temp_dc, "faults": first.faults, "info": said[1].info}
        told |= {"written": [data.hex() for data in Client.written], "mos_temp_dc": first.mos_temp_dc}
        print(json.dumps({"kind": kind, **told, "voltage_mv": first.voltage_mv}, default=dict), flush=True)


if __name__ == "__main__":
    main()
