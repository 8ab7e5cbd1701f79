"""One file a family of devices. Drivers are found by name and imported when asked for, never all at once."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module

from cellherd.errors import CellherdError
from collectors.kernel import Driver

WHERE = {
    "anker": "collectors.drivers.anker",
    "ant_new": "collectors.drivers.ant_new",
    "ant_old": "collectors.drivers.ant_old",
    "ble": "collectors.drivers.ble",
    "bluetti": "collectors.drivers.bluetti",
    "chargery": "collectors.drivers.chargery",
    "daly_can": "collectors.drivers.daly_can",
    "daly_d2": "collectors.drivers.daly_d2",
    "daly_uart": "collectors.drivers.daly_uart",
    "ecoflow": "collectors.drivers.ecoflow",
    "foxess": "collectors.drivers.foxess",
    "givenergy": "collectors.drivers.givenergy",
    "jackery": "collectors.drivers.jackery",
    "jbd": "collectors.drivers.jbd",
    "jbd_up16s": "collectors.drivers.jbd_up16s",
    "jk_ble": "collectors.drivers.jk_ble",
    "jk_can": "collectors.drivers.jk_can",
    "jk_modbus": "collectors.drivers.jk_modbus",
    "jk_nw": "collectors.drivers.jk_nw",
    "jk_pb": "collectors.drivers.jk_pb",
    "mqtt_map": "collectors.drivers.mqtt_map",
    "pace": "collectors.drivers.pace",
    "pylontech_can": "collectors.drivers.pylontech_can",
    "pylontech_console": "collectors.drivers.pylontech_console",
    "pylontech_force_modbus": "collectors.drivers.pylontech_force_modbus",
    "pylontech_hv_can": "collectors.drivers.pylontech_hv_can",
    "pylontech_rs485": "collectors.drivers.pylontech_rs485",
    "seplos_v2": "collectors.drivers.seplos_v2",
    "seplos_v3": "collectors.drivers.seplos_v3",
    "solis": "collectors.drivers.solis",
    "victron_can": "collectors.drivers.victron_can",
    "victron_hex": "collectors.drivers.victron_hex",
    "victron_vedirect": "collectors.drivers.victron_vedirect",
    "victron_venus": "collectors.drivers.victron_venus",
}
"""Driver name -> module; the module's last line is `DRIVER`."""


class UnknownDriver(CellherdError):
    """A driver name that nobody has."""

    exit_code = 2


def driver(name: str) -> Driver:
    """The driver of that name. Raises UnknownDriver with the nearest right name."""
    if name not in WHERE:
        near = get_close_matches(name, WHERE, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(WHERE)}"
        raise UnknownDriver(f"no driver {name!r}; {hint}")
    found: Driver = import_module(WHERE[name]).DRIVER
    return found


def chosen(name: str, preset: str | None) -> Driver:
    """The driver of that name; `mqtt_map` with its preset. Raises CellherdError."""
    if (name == "mqtt_map") != (preset is not None):
        raise CellherdError("`preset` belongs to mqtt_map, and mqtt_map wants one; `packs` is one to begin with")
    if preset is None:
        return driver(name)
    from collectors.drivers.mqtt_map import mapped  # noqa: PLC0415 - drivers are imported when asked for

    return mapped(preset)
