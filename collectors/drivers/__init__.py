"""One file a family of devices. Drivers are found by name and imported when asked for, never all at once."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module

from cellherd.errors import CellherdError
from collectors.kernel import Driver

WHERE = {
    "jbd": "collectors.drivers.jbd",
    "jk_modbus": "collectors.drivers.jk_modbus",
    "pylontech_can": "collectors.drivers.pylontech_can",
    "pylontech_rs485": "collectors.drivers.pylontech_rs485",
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
