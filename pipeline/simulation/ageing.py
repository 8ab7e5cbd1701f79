"""How cells wear out: calendar and cycles, day by day, so that heat, charge and use of each day count.

blast: 250 Ah prismatic LFP, NREL BLAST-Lite (BSD-3), valid 10-45 degC, DoD 0.8-1, charging up to 0.65 C.
naumann: Sony US26650, Naumann et al. 2018 and 2020 with SimSES' coefficients (BSD-3), the pessimistic one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
GAS = 8.314


@dataclass(frozen=True, slots=True)
class Wear:
    """How modules are used, a value each: degC and state of charge (means), depth 0..1, rate C, full cycles a day."""

    temp: Floats
    soc: Floats
    depth: Floats
    rate: Floats
    cycles: Floats


@dataclass(slots=True)
class Age:
    """Share of the capacity lost by calendar and by cycles, and the growth of the resistance (0 = new)."""

    calendar: Floats
    cyclic: Floats
    resistance: Floats

    @property
    def loss(self) -> Floats:
        """Share of the capacity lost."""
        lost: Floats = self.calendar + self.cyclic
        return lost


def new(modules: int) -> Age:
    """Fresh from the works."""
    return Age(np.zeros(modules), np.zeros(modules), np.zeros(modules))


def wear_out(age: Age, wear: Wear, days: float, pace: Floats, law: str) -> None:
    """Let `days` like this go by; `pace` is how fast each module ages beside the law."""
    step = _blast if law == "blast" else _naumann
    calendar, cyclic, resistance = step(age, wear, days)
    age.calendar += pace * calendar
    age.cyclic += pace * cyclic
    age.resistance += pace * resistance


def _grown(lost: Floats, k: Floats, power: float, more: Floats | float) -> Floats:
    """What is lost beyond `lost` under loss = k x**power when x grows by `more`, at today's k."""
    x = (np.maximum(lost, 0) / np.maximum(k, 1e-12)) ** (1 / power)
    grown: Floats = k * (x + more) ** power - lost
    return grown


def _blast(age: Age, wear: Wear, days: float) -> tuple[Floats, Floats, Floats]:
    kelvin = wear.temp + 273.15
    x = 0.0085 + wear.soc * (0.78 - 0.0085)
    anode = (
        0.6379 + 0.5416 * np.exp(-305.5309 * x) + 0.044 * np.tanh(-(x - 0.1958) / 0.1088)
        - 0.1978 * np.tanh((x - 1.0571) / 0.0854) - 0.6875 * np.tanh((x + 0.0117) / 0.0529)
        - 0.0175 * np.tanh((x - 0.5692) / 0.0875)
    )  # fmt: skip
    by_time = 8.37e4 * np.exp(-5210 / kelvin) * np.exp(-3560 * anode / kelvin)
    use = 4.38e-8 + 1.55e-8 * wear.depth + 1.68e-7 * wear.rate
    by_cycles = use * (np.exp(2190 / kelvin) + np.exp(-1.55e5 / kelvin))
    calendar = _grown(age.calendar, by_time, 0.526, days)
    cyclic = _grown(age.cyclic, by_cycles, 0.828, days * wear.cycles)
    return calendar, cyclic, 2 * (calendar + cyclic)


def _naumann(age: Age, wear: Wear, days: float) -> tuple[Floats, Floats, Floats]:
    warm = (1 / (wear.temp + 273.15) - 1 / 298.15) / GAS
    half = wear.soc - 0.5
    by_time = 1.2571e-5 * np.exp(-17126 * warm) * (2.8575 * half**3 + 0.60225)
    by_cycles = (0.063 * wear.rate + 0.0971) * (4.0253 * (wear.depth - 0.6) ** 3 + 1.0923) / 100
    calendar = _grown(age.calendar, by_time, 0.5, days * 86_400)
    cyclic = _grown(age.cyclic, by_cycles, 0.5, days * wear.cycles)
    standing = 3.4194e-10 * np.exp(-71827 * warm) * (-3.3903 * half**2 + 1.5604) * days * 86_400
    turning = (-0.002 * wear.rate + 0.0021) * (6.8477 * (wear.depth - 0.5) ** 3 + 0.91882) / 100 * days * wear.cycles
    return calendar, cyclic, standing + np.maximum(turning, 0)


def steeper(loss: Floats, knee: Floats, times: Floats) -> Floats:
    """How many times faster a module ages behind its knee, which may be beyond all wear (inf)."""
    pace: Floats = np.where(loss > knee, times, 1.0)
    return pace
