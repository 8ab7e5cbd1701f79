"""The physics, each law once: arithmetic that works on a number and on an array alike.

`vectorised` runs it over all cells with NumPy, `compiled` lets numba make a loop of it. Volts, amperes (charging
positive), ohms, ampere-hours, seconds, degC.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.simulation.chemistry import HIGHEST, LOWEST, SLOTS

PER_SOC = SLOTS / (HIGHEST - LOWEST)
ACTIVATION_K = 3000.0
"""How a resistance falls with temperature: exp(B (1/T - 1/298.15 K))."""


def slot(soc: Any) -> Any:
    """Which step of the tabulated curve a state of charge lies in."""
    return np.int64(np.minimum(np.maximum((soc - LOWEST) * PER_SOC, 0.0), SLOTS - 1.0))


def ocv(curve: Any, at: Any, soc: Any) -> Any:
    """Open-circuit voltage, straight between the steps."""
    return curve[at] + ((soc - LOWEST) * PER_SOC - at) * (curve[at + 1] - curve[at])


def slope(curve: Any, at: Any) -> Any:
    """Volts by state of charge in a step of the curve."""
    return (curve[at + 1] - curve[at]) * PER_SOC


def cold(temp: Any) -> Any:
    """By how much a resistance is larger than at 25 degC."""
    return np.exp(ACTIVATION_K * (1.0 / (temp + 273.15) - 1.0 / 298.15))


def relaxed(polarised: Any, amps: Any, ohm: Any, stays: Any) -> Any:
    """The slow part of the voltage drop after a step of which `stays` is kept."""
    return stays * polarised + (1.0 - stays) * ohm * amps


def lagged(hysteresis: Any, amps: Any, ah: Any, seconds: Any) -> Any:
    """The branch of the open-circuit voltage, -1 to 1; it turns within a twentieth of the capacity."""
    moved = (np.abs(amps) > 0.05) * 20.0 * np.abs(amps) * seconds / (3600.0 * ah)
    stays = np.exp(-moved)
    return stays * hysteresis + (1.0 - stays) * np.sign(amps)


def warmed(temp: Any, watt: Any, ambient: Any, joule_per_k: Any, cooling_s: Any) -> Any:
    """By how much the temperature changes a second."""
    return watt / joule_per_k - (temp - ambient) / cooling_s


def tapered(amps: Any, room: Any, window: Any, ohm: Any) -> Any:
    """The current of a linear controller that asks for `amps` until `window` below the limit and none at it.

    `room` is the limit less the voltage without current. Solved for the current, so that a steep curve does not make
    it swing.
    """
    return np.minimum(amps, np.maximum(room / (window / np.maximum(amps, 1e-6) + ohm), 0.0))
