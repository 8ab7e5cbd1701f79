"""Which devices of edge.toml may share a line: those that can be told apart on it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from cellherd.errors import CellherdError
from collectors.events import Device
from collectors.kernel import Driver, Registers

APART = "give each its own port, or its modules to one [[device]] table"


def check_sharing(devices: Sequence[Device]) -> None:
    """Refuse devices of one link whose readings would be taken for one another's. Raises CellherdError."""
    link, driver = devices[0].link, devices[0].driver
    names = ", ".join(sorted({device.driver.name for device in devices}))
    if any(device.driver.name != driver.name for device in devices):
        raise CellherdError(f"{link}: {names} cannot share a port; give each driver a port of its own")
    if any((device.driver.ask, device.driver.ack) != (driver.ask, driver.ack) for device in devices):
        raise CellherdError(f"{link}: `ask` and `ack` hold for a whole line; set them alike for its devices")
    if len(devices) == 1:
        return
    stacks = ", ".join(dict.fromkeys(device.stack for device in devices))
    if driver.feed is not None:
        raise CellherdError(
            f"{link}: {names} is listened to, so nothing tells which of its {len(devices)} [[device]] tables "
            f"({stacks}) a reading belongs to; {APART}"
        )
    for one, other in pairwise(sorted(devices, key=lambda device: device.address)):
        if one.address == other.address:
            raise CellherdError(f"{link}: {names} at address {one.address} stands there twice ({stacks}); {APART}")
        if not _has_addresses(driver, one.address, other.address):
            raise CellherdError(
                f"{link}: {names} has no addresses, so {len(devices)} modules ({stacks}) would all be the same BMS; "
                "one port reads one"
            )


def _has_addresses(driver: Driver, one: int, other: int) -> bool:
    """Whether the address stands in the question; over Modbus the link puts it there."""
    if driver.poll is None:
        return True
    first, second = next(driver.poll(one)), next(driver.poll(other))
    return isinstance(first, Registers) or first != second
