"""What counts as too much for one module: its own limits, else its model's, else its chemistry's, else the catalogue's.

The numbers stand in the fault catalogue (LFP, for everyone) and in `profiles/*.toml` (what differs); both are meant to
be edited. See docs/live.md.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import resources
from typing import Any

from cellherd.faults import catalogue


@dataclass(frozen=True, slots=True)
class Profile:
    """Limits of a module. Voltages mV, currents mA, temperatures 0.1 degC, SOC 0.1 %; None or 0 = there is none."""

    ov_trip_mv: int
    ov_release_mv: int
    uv_trip_mv: int
    uv_release_mv: int
    extreme_high_mv: int
    extreme_low_mv: int
    hot_charge_trip_dc: int
    hot_charge_release_dc: int
    hot_trip_dc: int
    hot_release_dc: int
    cold_trip_dc: int
    cold_release_dc: int
    imbalance_trip_mv: int
    imbalance_release_mv: int
    failing_trip_mv: int
    failing_release_mv: int
    near_limit_mv: int
    balance_from_mv: int
    balance_trip_mv: int
    balance_release_mv: int
    not_full_mv: int
    not_empty_mv: int
    pack_high_trip_mv: int = 0
    pack_high_release_mv: int = 0
    pack_low_trip_mv: int = 0
    pack_low_release_mv: int = 0
    pack_cells: int = 0
    charge_ma: int = 0
    discharge_ma: int = 0
    capacity_mah: int = 100_000
    full_mv: int = 3400
    empty_mv: int = 3100
    middle_low_mv: int = 3200
    middle_high_mv: int = 3340
    """Between these the middle cell lies at rest from 30 to 80 %: a counter that drifted says 80 % of a full module."""
    top_mv: int = 150
    top_rate_pm: int = 100
    """Cells this far apart at the end of a charge, broken off at this share of the capacity or more, differ in charge.
    Flat curves only: in the last trickle one percent of charge is 180 mV, and so are eight."""
    resolution_mv: int = 1
    zero_is_missing: bool = False
    noisy_cells_below: str = ""
    apart_for_s: int = 0
    """Packs that are charged one after the other may be this long apart in charge; 0 = they stand in parallel."""
    failing_sessions: int = 0
    """So many stays at full must not have mended a cell that is off before it counts as failed; 0 = it does at once."""
    firmware_floor: Mapping[str, str] = field(default_factory=dict, hash=False)


FROM_CATALOGUE = {
    "ov_trip_mv": ("cell_overvoltage_protection", "trip_mv"),
    "ov_release_mv": ("cell_overvoltage_protection", "release_mv"),
    "uv_trip_mv": ("cell_undervoltage_protection", "trip_mv"),
    "uv_release_mv": ("cell_undervoltage_protection", "release_mv"),
    "extreme_high_mv": ("cell_extreme_voltage_lockout", "high_mv"),
    "extreme_low_mv": ("cell_extreme_voltage_lockout", "low_mv"),
    "hot_charge_trip_dc": ("charge_overtemperature_protection", "trip_dc"),
    "hot_charge_release_dc": ("charge_overtemperature_protection", "release_dc"),
    "hot_trip_dc": ("discharge_overtemperature_protection", "trip_dc"),
    "hot_release_dc": ("discharge_overtemperature_protection", "release_dc"),
    "cold_trip_dc": ("charge_undertemperature_protection", "trip_dc"),
    "cold_release_dc": ("charge_undertemperature_protection", "release_dc"),
    "imbalance_trip_mv": ("cell_imbalance_warning", "trip_mv"),
    "imbalance_release_mv": ("cell_imbalance_warning", "release_mv"),
    "failing_trip_mv": ("cell_group_failing", "trip_mv"),
    "failing_release_mv": ("cell_group_failing", "release_mv"),
    "near_limit_mv": ("early_charge_cutoff", "cell_mv"),
    "balance_from_mv": ("balancing_inactive", "from_mv"),
    "balance_trip_mv": ("balancing_inactive", "trip_mv"),
    "balance_release_mv": ("balancing_inactive", "release_mv"),
    "not_full_mv": ("soc_drift", "false_full_mv"),
    "not_empty_mv": ("soc_drift", "false_empty_mv"),
    "top_mv": ("top_of_charge_drift", "top_mv"),
}
REPORTED = {
    "cell_max_mv": "ov_trip_mv",
    "cell_max_release_mv": "ov_release_mv",
    "cell_min_mv": "uv_trip_mv",
    "cell_min_release_mv": "uv_release_mv",
    "voltage_max_mv": "pack_high_trip_mv",
    "voltage_max_release_mv": "pack_high_release_mv",
    "voltage_min_mv": "pack_low_trip_mv",
    "voltage_min_release_mv": "pack_low_release_mv",
    "charge_ma": "charge_ma",
    "discharge_ma": "discharge_ma",
    "charge_temp_max_dc": "hot_charge_trip_dc",
    "charge_temp_max_release_dc": "hot_charge_release_dc",
    "charge_temp_min_dc": "cold_trip_dc",
    "charge_temp_min_release_dc": "cold_release_dc",
    "discharge_temp_max_dc": "hot_trip_dc",
    "discharge_temp_max_release_dc": "hot_release_dc",
    "balance_start_mv": "balance_from_mv",
}
"""A limit that a device reports of itself (the body of `info`), and the profile's number that it replaces."""
_BACK_OFF = {
    "ov": -100, "uv": 200, "pack_high": -1000, "pack_low": 1000, "hot_charge": -30, "hot": -30, "cold": 30,
}  # fmt: skip
"""Release beside a reported trip that came without one, or beyond it: ours, a step on the safe side."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a module: from its driver, its `info` records and the registry."""

    driver: str = ""
    model: str = ""
    chemistry: str = "lfp"
    cells: int = 0
    capacity_mah: int = 0
    limits: str = ""


@cache
def profile_of(known: Known) -> Profile:
    """The limits that hold for a module: reported, then model, then brand, then chemistry, then catalogue."""
    base: dict[str, Any] = {name: _number(*place) for name, place in FROM_CATALOGUE.items()}
    base |= _load("chemistries").get(known.chemistry, {})
    told = _load("brands")["brand"].get(brand_of(known.driver), {})
    base |= {name: value for name, value in told.items() if name != "model"}
    for entry in told.get("model", ()):
        if any(part in known.model.lower() for part in entry["models"]):
            base |= {name: value for name, value in entry.items() if name != "models"}
    if known.cells and base.get("pack_cells") not in (0, None, known.cells):
        base |= {"pack_high_trip_mv": 0, "pack_low_trip_mv": 0}  # the brand's figure is for another number of cells
    if known.capacity_mah:
        base["capacity_mah"] = known.capacity_mah
    return _reported(Profile(**base), json.loads(known.limits) if known.limits else {})


def _reported(profile: Profile, limits: Mapping[str, Any]) -> Profile:
    said = {REPORTED[name]: abs(value) for name, value in limits.items() if name in REPORTED and value}
    said |= {REPORTED[name]: value for name, value in limits.items() if name in REPORTED and name.endswith("_dc")}
    found = replace(profile, **said)
    steps = {}
    for name, step in _BACK_OFF.items():
        unit = "dc" if name in ("hot_charge", "hot", "cold") else "mv"
        trip, release = getattr(found, f"{name}_trip_{unit}"), getattr(found, f"{name}_release_{unit}")
        if (release - trip) * step <= 0:
            steps[f"{name}_release_{unit}"] = trip + step
    return replace(found, **steps)


@cache
def brand_of(driver: str) -> str:
    """The brand whose fault file explains a driver's codes, "" if none does."""
    return next((brand for begin, brand in _load("brands")["drivers"].items() if driver.startswith(begin)), "")


@cache
def interface_of(driver: str) -> str:
    """`can`, `rs485` or "": the line that a driver uses, where its name tells."""
    lines = _load("brands")["interfaces"].items()
    return next((line for line, marks in lines if any(mark in driver for mark in marks)), "")


def counted_fault(driver: str, counter: str) -> str | None:
    """The fault that a device's own counter counts, None if it counts something else."""
    named: Mapping[str, str] = _load("brands")["counters"].get(brand_of(driver), {})
    return named.get(counter)


def older(version: str, floor: str) -> bool:
    """Whether a firmware version is below a floor, compared number by number; unreadable is not older."""
    found, least = (_parts(text) for text in (version, floor))
    return bool(found) and found < least


def _parts(version: str) -> tuple[int, ...]:
    numbers = "".join(c if c.isdigit() else " " for c in version).split()
    return tuple(int(number) for number in numbers)


def _number(fault: str, name: str) -> int:
    return int(catalogue()[fault].numbers[name])


@cache
def _load(name: str) -> dict[str, Any]:
    return tomllib.loads(resources.files("pipeline.live").joinpath("profiles", f"{name}.toml").read_text("utf-8"))
