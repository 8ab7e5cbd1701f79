"""What wears an LFP cell: the calendar's and the cycles' stress, by a law fitted to large prismatic cells.

NREL BLAST-Lite (BSD-3-Clause), lfp_gr_250AhPrismatic: valid for 10 to 45 degC, 80 to 100 % depth and up to 0.65 C.
Only their proportions matter here: a cohort's own losses say how large they are.
"""

from __future__ import annotations

import numpy as np

from pipeline.methods.regression import Floats

KELVIN = 273.15
CALENDAR_POWER, CYCLIC_POWER = 0.526, 0.828


def calendar(temp_c: Floats, soc: Floats, days: Floats) -> Floats:
    """Loss as a share by standing `days` at a mean temperature and charge (0..1), arrays (n,)."""
    kelvin = temp_c + KELVIN
    rate = 8.37e4 * np.exp(-5210 / kelvin) * np.exp(-3560 * _anode(soc) / kelvin)
    return np.asarray(rate * days**CALENDAR_POWER)


def cyclic(temp_c: Floats, depth: Floats, rate_c: Floats, cycles: Floats) -> Floats:
    """Loss as a share by so many full equivalents of a mean depth (0..1) and current (C), arrays (n,)."""
    kelvin = temp_c + KELVIN
    stress = (4.38e-8 + 1.55e-8 * depth + 1.68e-7 * rate_c) * (np.exp(2190 / kelvin) + np.exp(-1.55e5 / kelvin))
    return np.asarray(stress * cycles**CYCLIC_POWER)


def _anode(soc: Floats) -> Floats:
    """Voltage of the graphite electrode by charge."""
    x = 0.0085 + soc * (0.78 - 0.0085)
    return np.asarray(
        0.6379
        + 0.5416 * np.exp(-305.5309 * x)
        + 0.044 * np.tanh(-(x - 0.1958) / 0.1088)
        - 0.1978 * np.tanh((x - 1.0571) / 0.0854)
        - 0.6875 * np.tanh((x + 0.0117) / 0.0529)
        - 0.0175 * np.tanh((x - 0.5692) / 0.0875)
    )
