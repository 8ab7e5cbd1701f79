"""What polling a site's devices gives: readings, and records for everything that is not a reading."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from cellherd.reading import Kind, Measured, combine
from cellherd.topics import BANK
from collectors.kernel import Driver


@dataclass(frozen=True, slots=True)
class Device:
    """One BMS, or one bus of several, as edge.toml names it. `modules` maps bus addresses to module ids."""

    stack: str
    driver: Driver
    link: str
    address: int
    modules: Mapping[int, str]
    period_s: float = 5.0

    def module_of(self, measured: Measured) -> str:
        """The id of the module that spoke; one that nobody named gets its bus address as id."""
        if measured.kind == BANK:
            return BANK
        address = self.address if measured.module is None else measured.module
        return self.modules.get(address, f"address-{address}")


def modules_by_address(driver: Driver, address: int | None, names: Sequence[str] | Mapping[str, str]) -> dict[int, str]:
    """Module ids by bus address: a mapping as it stands, a list in order from the device's address on."""
    if isinstance(names, Mapping):
        return {int(place): name for place, name in names.items()}
    first = driver.default_address if address is None else address
    return {first + i: name for i, name in enumerate(names)}


def joined(device: Device, parts: Iterable[Measured]) -> list[Measured]:
    """One reading for each module, from all that it said; where two parts say the same thing the first one counts."""
    by_module: dict[str, list[Measured]] = {}
    for part in parts:
        by_module.setdefault(device.module_of(part), []).insert(0, part)
    return [combine(*same) for same in by_module.values()]


@dataclass(frozen=True, slots=True)
class Sample:
    """One reading. `ts` (ms UTC) and `bt` (ms since boot) are when it was asked for, or heard."""

    device: Device
    module: str
    measured: Measured
    ts: int
    bt: int


@dataclass(frozen=True, slots=True)
class Record:
    """One record of appendix A.2, `body` as it stands there; `module` None means the device as a whole."""

    device: Device
    module: str | None
    kind: Kind
    event: Literal["info", "counter", "log", "gap", "edge"]
    body: Mapping[str, object]
    ts: int
    bt: int


Sink: TypeAlias = Callable[[Sample | Record], None]
"""Called from the thread of each port; must be quick and must not raise."""
