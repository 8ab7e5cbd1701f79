"""A site of emulated batteries from a TOML file: put on wires for an edge to read, with history if asked for.

The file looks like an `edge.toml`; `cellherd/demo_fleet` has four of them.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cellherd.errors import ConfigError
from cellherd.reading import Measured
from cellherd.settings_words import Id
from collectors import drivers
from collectors.emulators.battery import Battery, Plan
from collectors.emulators.device import EmulatedDevice
from collectors.emulators.fleet import Running, history, identities
from collectors.events import Device, modules_by_address


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModuleSpec(_Strict):
    """One battery; cells count from 1. `weak` gives a cell a share of the capacity."""

    id: Id
    seed: int = 1
    cells: int = Field(default=16, ge=4, le=32)
    capacity_mah: int = Field(default=100_000, gt=0)
    load: float = Field(default=0.03, ge=0, description="mean load in units of the capacity")
    weak: dict[int, float] = Field(default_factory=dict)
    locks_out_at_cell: int | None = None

    def battery(self) -> Battery:
        """The battery at the beginning of its life."""
        faulty = Plan.repeating_lockout(cell=(self.locks_out_at_cell or 1) - 1) if self.locks_out_at_cell else Plan()
        return Battery(
            Plan(
                seed=self.seed,
                cells=self.cells,
                capacity_mah=self.capacity_mah,
                weak={cell - 1: share for cell, share in self.weak.items()},
                high=faulty.high,
                charger_mv=faulty.charger_mv,
                sun=faulty.sun,
                load=self.load,
            )
        )


class DeviceSpec(_Strict):
    """One BMS, or one bus of several, on a kind of wire."""

    stack: Id
    driver: str
    wire: Literal["pty", "tcp", "slcan"] = "pty"
    address: int | None = None
    module: list[ModuleSpec] = Field(min_length=1)


class SiteSpec(_Strict):
    """A site's batteries, and the edge that is to read them."""

    edge: Id
    device: list[DeviceSpec] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class Told:
    """A reading of the past, or who a module said it was: where, when (ms UTC), what the driver decoded."""

    device: Device
    module: str
    ts: int
    measured: Measured
    identity: bool = False


def load(path: Path) -> SiteSpec:
    """Read a site file. Raises ConfigError with everything that is wrong in it."""
    try:
        return SiteSpec.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(str(path), [str(error)]) from None
    except ValidationError as error:
        told = [f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors()]
        raise ConfigError(str(path), told) from None


def emulated(spec: DeviceSpec) -> EmulatedDevice:
    """The device of a spec, not yet on its wire."""
    batteries = dict(zip(addresses(spec), (module.battery() for module in spec.module), strict=True))
    return EmulatedDevice(spec.driver, batteries, wire=spec.wire)


def addresses(spec: DeviceSpec) -> list[int]:
    """Bus addresses of the modules, in the order of the file."""
    return list(modules_by_address(drivers.driver(spec.driver), spec.address, [m.id for m in spec.module]))


def as_device(spec: DeviceSpec, link: str, period_s: float) -> Device:
    """The device as a station knows it."""
    driver = drivers.driver(spec.driver)
    names = modules_by_address(driver, spec.address, [module.id for module in spec.module])
    return Device(spec.stack, driver, link, next(iter(names)), names, period_s)


def past(spec: DeviceSpec, device: EmulatedDevice, span: range) -> Iterator[Told]:
    """Live through a span of ms UTC in its steps and tell each reading, decoded from the device's real frames."""
    known = as_device(spec, "", span.step / 1000)
    for address, measured in identities(device, span.start):
        yield Told(known, known.modules[address], span.start, measured, identity=True)
    for ts, address, measured in history(device, span.start, span.stop, span.step / 1000):
        named = known.modules.get(address, known.module_of(measured))
        yield Told(known, named, ts, measured)


def edge_toml(site: SiteSpec, running: list[Running], mqtt: dict[str, str], period_s: float) -> str:
    """The `edge.toml` with which `cellherd edge run` reads these devices."""
    lines = [f'edge = "{site.edge}"', "", "[mqtt]", *(f'{key} = "{value}"' for key, value in mqtt.items())]
    for spec, one in zip(site.device, running, strict=True):
        modules = ", ".join(f'"{at}" = "{m.id}"' for at, m in zip(addresses(spec), spec.module, strict=True))
        lines += ["", "[[device]]", f'stack = "{spec.stack}"', f'driver = "{spec.driver}"', f'link = "{one.link}"']
        lines += [f"address = {addresses(spec)[0]}", f"modules = {{ {modules} }}", f"period_s = {period_s}"]
        known = drivers.driver(spec.driver)
        lines += ["ask = true"] if known.poll and known.feed else []
    return "\n".join(lines) + "\n"
