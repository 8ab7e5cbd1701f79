"""What counts as too much: every threshold of the nightly analyses, in one frozen place.

A module's own profile counts before the fallback. Mid 50 mV and 100-200 mV after a discharge are makers' values; the
top's is ours, above what a healthy LFP module shows in its last minutes of charge.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

BandName = Literal["top", "mid", "bottom"]
MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR


@dataclass(frozen=True, slots=True)
class Band:
    """Spread (95th percentile of the day, mV) at which a band is uneven or severe, and the fault it then is."""

    uneven_mv: int
    severe_mv: int
    fault: str
    severe_fault: str


@dataclass(frozen=True, slots=True)
class Lockouts:
    """When a protection that comes back is a repeat lockout. Times in ms."""

    chatter_ms: int = MINUTE  # a flag that is gone for less is the same episode
    at_once_ms: int = 10 * MINUTE  # back so soon after its release: the cause was still there
    at_once: int = 2
    in_24_h: int = 3
    in_7_days: int = 5


@dataclass(frozen=True, slots=True)
class Limits:
    """One chemistry's thresholds. Voltages mV a cell, currents mA, times ms, temperatures 0.1 degC, SOC 0.1 %."""

    top_mv: int = 3370
    bottom_mv: int = 3200
    plateau_mv: tuple[int, int] = (3250, 3335)
    cell_mv: tuple[int, int] = (1500, 4000)
    full_mv: int = 3350  # a module that says 100 % while charging has at least this
    top_soc_pm: int = 900
    bottom_soc_pm: int = 150
    mid_soc_pm: tuple[int, int] = (300, 800)
    mid_c_rate: float = 0.3
    full_mah: int = 100_000  # of a module that does not say
    bands: dict[BandName, Band] = field(
        default_factory=lambda: {
            "top": Band(150, 300, "top_of_charge_drift", "cell_imbalance_warning"),
            "mid": Band(50, 100, "cell_imbalance_warning", "cell_imbalance_warning"),
            "bottom": Band(200, 400, "cell_capacity_mismatch", "cell_group_failing"),
        }
    )
    enough: int = 20  # readings in a band before its spread means anything
    apart_mv: int = 20  # below it, which cell is highest or lowest is noise
    same_cell: float = 0.6  # share of a band's uneven readings that one cell must lead to be named
    period_ms: int = 10_000  # of a module with a single reading
    late: float = 2.0  # a time step counts for at most so many periods
    step_ma: int = 5_000  # a current step that tells a resistance
    step_c_rate: float = 0.05  # and, of a large module, so much of its capacity
    drift_ma: int = 2_000  # change of the low-passed current that tells a slow resistance
    step_late: float = 1.5  # periods that a step may take
    quiet_ma: int = 3_000  # a current change that cannot move a cell by jump_mv
    jump_mv: int = 25
    complete: float = 0.95
    gap_ms: int = 30 * MINUTE
    stuck_soc: float = 0.05  # share of the capacity that must pass while SOC stands still
    soc_jump_pm: int = 50
    soc_jump_ms: int = 5 * MINUTE
    sum_off: float = 0.005  # share by which the cells' sum may miss the module's voltage
    temp_dc: tuple[int, int] = (-300, 850)
    ahead_ms: int = 5 * MINUTE  # a reading may lie so far in its server's future
    lockouts: Lockouts = field(default_factory=Lockouts)


LFP = Limits()
PROFILES: dict[str, Limits] = {
    "lfp": LFP,
    # Sloped curves: voltage says more about SOC, so the spread is the same everywhere.
    "nmc": Limits(top_mv=4100, bottom_mv=3500, plateau_mv=(3600, 3900), cell_mv=(1500, 4350), full_mv=4050),
    "lto": Limits(top_mv=2600, bottom_mv=2150, plateau_mv=(2250, 2450), cell_mv=(1000, 3000), full_mv=2550),
}
"""Limits by chemistry; what has no profile of its own is taken for LFP."""


def limits_for(chemistry: str) -> Limits:
    """The profile of a chemistry, else the fallback."""
    return PROFILES.get(chemistry, LFP)
