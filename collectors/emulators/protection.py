"""What an emulated BMS protects against. Trip and release are two numbers, and a trip is held for a while."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

HOLD_S = 60
"""A BMS keeps a path cut at least this long."""


@dataclass(frozen=True, slots=True)
class Feel:
    """What the BMS looks at: extreme cells in mV, temperature in 0.1 degC, current in 0.1 % of the capacity."""

    highest_mv: int
    lowest_mv: int
    temp_dc: int
    rate_pm: int


@dataclass(frozen=True, slots=True, eq=False)
class Protection:
    """`name` is what devices count its trips under, `<name>_protection` the canonical fault."""

    name: str
    cuts: Literal["charge", "discharge"]
    sense: Callable[[Feel], int]
    trip: int
    release: int

    @property
    def fault(self) -> str:
        """Canonical fault id."""
        return f"{self.name}_protection"

    def trips(self, feel: Feel) -> bool:
        """Whether the path is cut."""
        sign = 1 if self.trip > self.release else -1
        return sign * self.sense(feel) > sign * self.trip

    def releases(self, feel: Feel, held_s: int) -> bool:
        """Whether the path comes back."""
        sign = 1 if self.trip > self.release else -1
        return held_s >= HOLD_S and sign * self.sense(feel) < sign * self.release


def _highest(feel: Feel) -> int:
    return feel.highest_mv


def _lowest(feel: Feel) -> int:
    return feel.lowest_mv


def _temp(feel: Feel) -> int:
    return feel.temp_dc


def _rate(feel: Feel) -> int:
    return feel.rate_pm


PROTECTIONS = (
    Protection("cell_overvoltage", "charge", _highest, 3650, 3450),
    Protection("cell_undervoltage", "discharge", _lowest, 2500, 2900),
    Protection("charge_undertemperature", "charge", _temp, 0, 50),
    Protection("discharge_undertemperature", "discharge", _temp, -200, -150),
    Protection("charge_overtemperature", "charge", _temp, 550, 500),
    Protection("discharge_overtemperature", "discharge", _temp, 600, 550),
    Protection("charge_overcurrent", "charge", _rate, 1100, 1),
    Protection("discharge_overcurrent", "discharge", _rate, -1200, -1),
)
_LIMITS = {
    "cell_max": ("cell_overvoltage", "mv"),
    "cell_min": ("cell_undervoltage", "mv"),
    "charge_temp_min": ("charge_undertemperature", "dc"),
    "charge_temp_max": ("charge_overtemperature", "dc"),
    "discharge_temp_min": ("discharge_undertemperature", "dc"),
    "discharge_temp_max": ("discharge_overtemperature", "dc"),
}


def limits(capacity_mah: int) -> dict[str, int]:
    """The protections as a BMS states its settings."""
    by_name = {p.name: p for p in PROTECTIONS}
    told = {f"{limit}_{unit}": by_name[name].trip for limit, (name, unit) in _LIMITS.items()}
    told |= {f"{limit}_release_{unit}": by_name[name].release for limit, (name, unit) in _LIMITS.items()}
    told["charge_ma"] = by_name["charge_overcurrent"].trip * capacity_mah // 1000
    told["discharge_ma"] = -by_name["discharge_overcurrent"].trip * capacity_mah // 1000
    return told
