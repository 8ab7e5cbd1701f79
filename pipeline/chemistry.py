"""What a chemistry decides for the estimators: its rest voltage by state of charge, and where on it charge is counted.

Charge lies between two voltages that every cell passes when it is filled and emptied. LFP: between them lies a plateau
on which voltage says nothing of charge. NMC/NCA and LTO: sloped curves, on which any rest says something.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Chemistry:
    """One chemistry. Voltages mV a cell, resistances mOhm of a 100 Ah cell at 25 degC, times s, SOC 0..1.

    ocv             (SOC, mV) at rest, rising, half way between charge and discharge
    hysteresis_mv   by which the voltage stays above it after charging and below it after discharging
    up_mv, down_mv  compensated voltages at whose crossing the charge is remembered
    steps_mv        mean cell within which a current step tells a resistance: the curve is flat enough there
    full_mv         mean, or highest, cell that with a tapering current means full
    low_mv          highest mean cell at rest whose voltage still tells the SOC
    """

    name: str
    ocv: tuple[tuple[float, float], ...]
    hysteresis_mv: float
    up_mv: float
    down_mv: float
    steps_mv: tuple[int, int]
    full_mv: tuple[int, int]
    low_mv: int
    window_sigma: float = 0.004  # of the window between the crossings, as a share
    arrhenius_k: float = 3000.0
    tau_s: float = 120.0
    fast_mohm: float = 0.8
    slow_mohm: float = 0.8
    slow_share: float = 1.0  # of the regressed slow resistance that is one: the rest is the curve's slope

    @cached_property
    def window(self) -> float:
        """Share of the capacity between an upward crossing while charging and a downward one while discharging."""
        top, bottom = self.up_mv - self.hysteresis_mv, self.down_mv + self.hysteresis_mv
        return float(self.soc_at(np.array(top)) - self.soc_at(np.array(bottom)))

    def soc_at(self, rest_mv: Floats) -> Floats:
        """SOC at a rest voltage (any shape, mV); beyond the curve's ends, its ends."""
        soc, mv = np.array(self.ocv).T
        return np.asarray(np.interp(rest_mv, mv, soc))

    def mv_per_soc(self, soc: Floats) -> Floats:
        """Slope of the rest voltage, mV for a whole charge, over +/- half a percent of SOC."""
        known, mv = np.array(self.ocv).T
        low, high = np.clip(soc - 0.005, 0, 1), np.clip(soc + 0.005, 0, 1)
        return np.asarray((np.interp(high, known, mv) - np.interp(low, known, mv)) / (high - low))


LFP = Chemistry(
    name="lfp",
    ocv=(
        (0.0, 2000), (0.005, 2634), (0.011, 2767.1), (0.023, 2898.9), (0.035, 2979.0), (0.047, 3037.6),
        (0.059, 3084.0), (0.071, 3122.0), (0.083, 3154.0), (0.095, 3180.5), (0.10, 3189.0), (0.135, 3207.7),
        (0.195, 3228.3), (0.255, 3253.2), (0.315, 3271.3), (0.375, 3285.3), (0.435, 3295.9), (0.495, 3299.2),
        (0.555, 3301.3), (0.615, 3303.6), (0.675, 3306.8), (0.735, 3312.2), (0.795, 3323.1), (0.855, 3339.6),
        (0.915, 3342.3), (0.975, 3346.4), (0.9822, 3349.7), (0.9846, 3352.6), (0.987, 3357.6), (0.9894, 3365.8),
        (0.9918, 3379.9), (0.9942, 3406.5), (0.9966, 3452.5), (0.999, 3535.2), (1.0, 3600),
    ),
    hysteresis_mv=8,
    up_mv=3380,
    down_mv=3120,
    steps_mv=(3220, 3350),
    full_mv=(3420, 3540),
    low_mv=3185,
)  # fmt: skip
"""Rest voltage: Sony US26650, SimSES 1.3.12, BSD-3-Clause, (c) 2023 Chair of Electrical Energy Storage Technology,
TUM. The thresholds lie where the curve is steep: 5 mV are 0.1 to 0.2 % of the charge."""

NMC = Chemistry(
    name="nmc",
    ocv=(
        (0.0, 3000), (0.01, 3150), (0.02, 3240), (0.05, 3360), (0.1, 3455), (0.15, 3515), (0.2, 3555), (0.3, 3610),
        (0.4, 3650), (0.5, 3700), (0.6, 3790), (0.7, 3895), (0.8, 3990), (0.9, 4080), (0.95, 4125), (1.0, 4190),
    ),
    hysteresis_mv=2,
    up_mv=4100,
    down_mv=3500,
    steps_mv=(3550, 4000),
    full_mv=(4110, 4180),
    low_mv=4300,  # on a sloped curve any rest tells the SOC
    window_sigma=0.015,
)  # fmt: skip
"""NMC and NCA: the usual shape between the voltages of data sheets. The curve of a real cell may lie a few percent of
SOC away, hence the wide window_sigma: trust changes before absolute values."""

LTO = Chemistry(
    name="lto",
    ocv=(
        (0.0, 1800), (0.02, 2000), (0.05, 2080), (0.1, 2130), (0.2, 2180), (0.3, 2210), (0.4, 2235), (0.5, 2265),
        (0.6, 2300), (0.7, 2345), (0.8, 2405), (0.9, 2480), (0.95, 2540), (1.0, 2700),
    ),
    hysteresis_mv=3,
    up_mv=2560,
    down_mv=2110,
    steps_mv=(2160, 2450),
    full_mv=(2600, 2680),
    low_mv=2900,
    window_sigma=0.02,
)  # fmt: skip
"""LTO against NMC: the shape that data sheets draw; not measured by us."""

CHEMISTRIES = {chemistry.name: chemistry for chemistry in (LFP, NMC, LTO)}


def chemistry_of(name: str) -> Chemistry:
    """The chemistry of a name of fleet.toml, else LFP."""
    return CHEMISTRIES.get(name, LFP)
