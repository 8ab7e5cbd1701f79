"""What a cell's chemistry decides: its open-circuit voltage, its limits and where the charger and the BMS step in."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]

LOWEST, HIGHEST, SLOTS = -0.02, 1.05, 1070
"""State of charge at the ends of a tabulated curve, and how many equal steps lie between them."""


@dataclass(frozen=True, slots=True)
class Protection:
    """A trip and its release; `side` is +1 where a value above the trip is bad, -1 where one below it is."""

    fault: str
    side: int
    trip: float
    release: float
    cuts: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chemistry:
    """A chemistry. Voltages V a cell.

    ocv          (state of charge, V), rising; the pairs beyond 0 and 1 let a maltreated cell go on
    hysteresis   V to either side at 25 degC
    charge       the charger's constant voltage, and where its current begins to fall towards it
    derate       where the BMS begins to ask for less charging current, and where it asks for none
    discharge    where it begins to allow less discharging current, and where none
    full         mean or highest cell at which a small current means full, and the mean that ends being full
    empty        highest of the lowest cells' rest voltages at which discharging is allowed again
    top_up       lowest cell at which the inverter charges from the grid, and until where
    balance      cells above this, and so much above the lowest cell, are balanced
    """

    name: str
    nominal: float
    ocv: tuple[tuple[float, float], ...]
    hysteresis: float
    charge: tuple[float, float]
    derate: tuple[float, float]
    discharge: tuple[float, float]
    full: tuple[float, float, float]
    empty: float
    top_up: tuple[float, float]
    balance: tuple[float, float]
    overvoltage: tuple[float, float]
    undervoltage: tuple[float, float]


LFP_OCV = (
    (-0.02, 0.5), (0.0, 2.0), (0.001, 2.322), (0.002, 2.461), (0.003, 2.544), (0.005, 2.634), (0.01, 2.751),
    (0.02, 2.873), (0.03, 2.949), (0.05, 3.050), (0.07, 3.119), (0.1, 3.189), (0.15, 3.211), (0.2, 3.231),
    (0.25, 3.251), (0.3, 3.267), (0.35, 3.280), (0.4, 3.290), (0.45, 3.297), (0.5, 3.299), (0.55, 3.301),
    (0.6, 3.303), (0.65, 3.306), (0.7, 3.309), (0.75, 3.314), (0.8, 3.325), (0.85, 3.339), (0.9, 3.342),
    (0.95, 3.344), (0.97, 3.346), (0.98, 3.348), (0.985, 3.353), (0.99, 3.369), (0.995, 3.421), (0.997, 3.463),
    (0.999, 3.540), (1.0, 3.6), (1.05, 5.1),
)  # fmt: skip
LFP = Chemistry(
    name="lfp",
    nominal=3.2,
    ocv=LFP_OCV,
    hysteresis=0.008,
    charge=(3.47, 3.40),
    derate=(3.45, 3.60),
    discharge=(3.00, 2.87),
    full=(3.43, 3.55, 3.35),
    empty=3.20,
    top_up=(2.80, 3.15),
    balance=(3.40, 0.010),
    overvoltage=(3.65, 3.45),
    undervoltage=(2.50, 2.90),
)
"""Curve: Sony US26650 of SimSES 1.3.12 (BSD-3, TUM 2023), whose points it follows within 10 mV."""

NMC_OCV = (
    (-0.02, 2.0), (0.0, 3.0), (0.01, 3.15), (0.02, 3.24), (0.05, 3.36), (0.1, 3.455), (0.15, 3.515), (0.2, 3.555),
    (0.3, 3.61), (0.4, 3.65), (0.5, 3.70), (0.6, 3.79), (0.7, 3.895), (0.8, 3.99), (0.9, 4.08), (0.95, 4.125),
    (1.0, 4.19), (1.05, 4.35),
)  # fmt: skip
NMC = Chemistry(
    name="nmc",
    nominal=3.65,
    ocv=NMC_OCV,
    hysteresis=0.002,
    charge=(4.15, 4.08),
    derate=(4.15, 4.22),
    discharge=(3.35, 3.20),
    full=(4.11, 4.18, 4.03),
    empty=3.50,
    top_up=(3.15, 3.40),
    balance=(4.00, 0.010),
    overvoltage=(4.25, 4.15),
    undervoltage=(2.80, 3.20),
)
"""The usual shape of a sloped curve, drawn by hand between the voltages that data sheets name."""

CHEMISTRIES = {chemistry.name: chemistry for chemistry in (LFP, NMC)}


def protections(chemistry: Chemistry) -> tuple[Protection, ...]:
    """What a BMS of this chemistry cuts at: V a cell, degC, and multiples of the rated current."""
    up, down = chemistry.overvoltage, chemistry.undervoltage
    return (
        Protection("cell_overvoltage_protection", 1, *up, "charge"),
        Protection("cell_undervoltage_protection", -1, *down, "discharge"),
        Protection("charge_undertemperature_protection", -1, 0.0, 3.0, "charge"),
        Protection("discharge_undertemperature_protection", -1, -20.0, -15.0, "discharge"),
        Protection("charge_overtemperature_protection", 1, 45.0, 42.0, "charge"),
        Protection("discharge_overtemperature_protection", 1, 50.0, 47.0, "discharge"),
        Protection("charge_overcurrent_protection", 1, 1.1, 1.0, "charge"),
        Protection("discharge_overcurrent_protection", 1, 1.1, 1.0, "discharge"),
    )


@cache
def curve(name: str) -> Floats:
    """The open-circuit voltage at SLOTS + 1 equal steps from LOWEST to HIGHEST, V."""
    soc, volts = np.array(CHEMISTRIES[name].ocv).T
    tabulated: Floats = np.interp(np.linspace(LOWEST, HIGHEST, SLOTS + 1), soc, volts)
    return tabulated
