"""A small honest LFP battery: cells, a day of sun and load, and a BMS that trips and releases.

Each cell has a charge, a capacity and one resistance; the module has heat, passive balancing, and protections with
separate trip and release. Seconds in, a `Measured` out; the same seed and the same steps give the same battery. No
ageing, hysteresis or diffusion: the simulator for analyses has those.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from cellherd.reading import Measured
from collectors.emulators.protection import PROTECTIONS, Feel, Protection, limits

OCV = (
    (0.0, 2000), (0.005, 2634), (0.01, 2751), (0.02, 2873), (0.03, 2949), (0.05, 3050), (0.07, 3119), (0.1, 3189),
    (0.15, 3211), (0.2, 3231), (0.25, 3251), (0.3, 3267), (0.35, 3280), (0.4, 3290), (0.45, 3297), (0.5, 3299),
    (0.55, 3301), (0.6, 3303), (0.65, 3306), (0.7, 3309), (0.75, 3314), (0.8, 3325), (0.85, 3339), (0.9, 3342),
    (0.95, 3344), (0.97, 3346), (0.98, 3348), (0.985, 3353), (0.99, 3369), (0.995, 3421), (0.999, 3540), (1.0, 3600),
    (1.01, 3900),
)  # fmt: skip
"""State of charge, mV. Sony 26650 by SimSES (BSD-3, TUM 2023); the last pair makes an overcharged cell rise on."""
_BENDS = [soc for soc, _ in OCV[1:-1]]
_LINES = [(low, mv, high_mv - mv, high - low) for (low, mv), (high, high_mv) in pairwise(OCV)]
"""Where each straight piece begins, in charge and mV, and how far it goes in both."""

DAY_S = 86_400
SUBSTEP_S = 10
"""Longer steps make the charger swing at the steep end of the curve and trip the BMS for nothing."""
BALANCE_MA = 100
BALANCE_ABOVE_MV, BALANCE_SPREAD_MV = 3400, 10
HEAT_J_K_AH = 450
COOLING_S = 5 * 3600
TAPER_MV = 80
"""The charger lowers its current over this much voltage of the highest cell below its limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a battery is like. `weak` maps a cell to its share of the capacity, `high` to a head start in charge.

    `charger_mv` is the charger's limit a cell; 3600 with a high cell trips the BMS every sunny noon: a lockout that
    repeats. `ambient` is the mean outdoor temperature in 0.1 degC, `sun` and `load` are in units of the capacity (C),
    `reserve` is the state of charge at which the inverter stops discharging.
    """

    seed: int = 1
    cells: int = 16
    capacity_mah: int = 100_000
    soc: float = 0.5
    resistance_uohm: int = 900
    weak: Mapping[int, float] = field(default_factory=dict)
    high: Mapping[int, float] = field(default_factory=dict)
    charger_mv: int = 3450
    ambient_dc: int = 200
    sun: float = 0.3
    load: float = 0.03
    reserve: float = 0.1
    serial: str = ""
    model: str = "Emulated LFP"

    @classmethod
    def repeating_lockout(cls, seed: int = 1, cell: int = 6) -> Plan:
        """A charger set too high and one cell ahead: cell overvoltage, again and again."""
        return cls(seed=seed, charger_mv=3620, high={cell: 0.02}, sun=0.45)


class Battery:
    """The state; `step` moves it on, `truth` tells it."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        draw = random.Random(plan.seed)  # noqa: S311 - it must repeat, not be secret
        places = range(plan.cells)
        spread = [draw.gauss(1.0, 0.006) for _ in places]
        self.capacity = [plan.capacity_mah * s * plan.weak.get(i, 1.0) for i, s in enumerate(spread)]
        lacking = (
            1 - plan.soc
        ) * plan.capacity_mah  # as far from full as its neighbours: packs leave the works balanced
        self.soc = [
            min(0.999, 1 - lacking / self.capacity[i] + draw.gauss(0, 0.0003) + plan.high.get(i, 0.0)) for i in places
        ]
        self._ocv = [ocv_mv(soc) for soc in self.soc]
        self.resistance = [plan.resistance_uohm * draw.lognormvariate(0, 0.07) for _ in places]
        self.temperature = plan.ambient_dc / 10
        self.current_ma = 0.0
        self.throughput_mah = 0.0
        self.balancing = 0
        self.tripped: dict[Protection, int] = {}
        self.trips = {p.name: 0 for p in PROTECTIONS}
        self._weather = draw.random()
        self._draw = draw

    def step(self, ts: int, seconds: float) -> None:
        """Live through the `seconds` that end at `ts` (ms UTC)."""
        left = seconds
        while left > 0:
            part = min(left, SUBSTEP_S)
            left -= part
            self._live(ts / 1000 - left, part)

    def _live(self, at: float, seconds: float) -> None:
        self.current_ma = self._allowed(self._wanted_ma(at))
        self.balancing = self._balance()
        current, balancing = self.current_ma, self.balancing
        self.soc = [
            max(0.0, soc + (current - (balancing >> i & 1) * BALANCE_MA) * seconds / 3600 / capacity)
            for i, (soc, capacity) in enumerate(zip(self.soc, self.capacity, strict=True))
        ]
        self._ocv = [ocv_mv(soc) for soc in self.soc]  # once a change: it is asked for three times
        self.throughput_mah += abs(self.current_ma) * seconds / 3600
        self._warm(at, seconds)
        self._protect(seconds)

    def _wanted_ma(self, at: float) -> float:
        day, hour = divmod(at / 3600, 24)
        cloud = 0.75 + 0.25 * math.sin(2.4 * day + 6.28 * self._weather)
        sun = self.plan.sun * cloud * max(0.0, math.sin(math.pi * (hour - 7) / 11)) if 7 < hour < 18 else 0.0
        evening = 2.5 * math.exp(-((hour - 20) ** 2) / 3) + 1.2 * math.exp(-((hour - 7) ** 2) / 2)
        return (sun - self.plan.load * (1 + evening)) * self.plan.capacity_mah

    def _allowed(self, wanted: float) -> float:
        if wanted > 0:
            room = (self.plan.charger_mv - self._mean_mv(wanted)) / TAPER_MV
            wanted *= min(1.0, max(0.0, room))
            return 0.0 if self._cut("charge") else wanted
        empty = sum(self.soc) / len(self.soc) <= self.plan.reserve
        return 0.0 if empty or self._cut("discharge") else wanted

    def _cut(self, side: str) -> bool:
        return any(p.cuts == side for p in self.tripped)

    def _mean_mv(self, current_ma: float) -> float:
        return sum(self._cells_mv(current_ma)) / self.plan.cells

    def _cells_mv(self, current_ma: float) -> list[float]:
        return [ocv + current_ma * ohm / 1e6 for ocv, ohm in zip(self._ocv, self.resistance, strict=True)]

    def cell_mv(self) -> tuple[int, ...]:
        """Voltages under the present current, mV."""
        return tuple(round(mv) for mv in self._cells_mv(self.current_ma))

    def _balance(self) -> int:
        cells = self._cells_mv(self.current_ma)
        floor = max(BALANCE_ABOVE_MV, round(min(cells)) + BALANCE_SPREAD_MV)
        return sum(1 << i for i, mv in enumerate(cells) if round(mv) > floor) if round(max(cells)) > floor else 0

    def _warm(self, at: float, seconds: float) -> None:
        ambient = self.plan.ambient_dc / 10 + 3 * math.sin(math.tau * (at / DAY_S - 0.4))
        heat_w = (self.current_ma / 1000) ** 2 * sum(self.resistance) / 1e6
        capacity = HEAT_J_K_AH * self.plan.capacity_mah / 1000
        self.temperature += seconds * (heat_w / capacity - (self.temperature - ambient) / COOLING_S)

    def _protect(self, seconds: float) -> None:
        cells = self._cells_mv(self.current_ma)
        rate_pm = round(1000 * self.current_ma / self.plan.capacity_mah)
        feel = Feel(round(max(cells)), round(min(cells)), round(10 * self.temperature), rate_pm)
        held = {p: age + round(seconds) for p, age in self.tripped.items() if not p.releases(feel, age)}
        for protection in PROTECTIONS:
            if protection not in self.tripped and protection.trips(feel):
                held[protection] = 0
                self.trips[protection.name] += 1
        self.tripped = held

    def truth(self) -> Measured:
        """What a perfect BMS would say now."""
        cells = self.cell_mv()
        full = round(min(self.capacity))
        soc = min(1.0, sum(self.soc) / len(self.soc))
        temp = round(self.temperature * 10)
        return Measured(
            voltage_mv=sum(cells),
            current_ma=round(self.current_ma),
            soc_pm=round(soc * 1000),
            soh_pm=min(1000, round(1000 * full / self.plan.capacity_mah)),
            remaining_mah=round(soc * full),
            full_mah=full,
            cycles=int(self.throughput_mah / 2 / self.plan.capacity_mah),
            cell_mv=cells,
            cell_min_mv=min(cells),
            cell_max_mv=max(cells),
            cell_min_at=cells.index(min(cells)),
            cell_max_at=cells.index(max(cells)),
            temp_dc=(temp - 4, temp, temp + 3, temp - 2),
            temp_min_dc=temp - 4,
            temp_max_dc=temp + 3,
            mos_temp_dc=temp + round(abs(self.current_ma) / 2000),
            charge_on=not self._cut("charge"),
            discharge_on=not self._cut("discharge"),
            balancing=self.balancing,
            faults=tuple(p.fault for p in self.tripped),
            counters={f"trips_{name}": count for name, count in self.trips.items()}
            | {"throughput_mah": round(self.throughput_mah)},
            info={"serial": self.plan.serial or f"EMU{self.plan.seed:06}", "model": self.plan.model}
            | {"firmware": "1.0", "n_cells": self.plan.cells, "nominal_mah": self.plan.capacity_mah},
            limits=limits(self.plan.capacity_mah),
        )


def ocv_mv(soc: float) -> float:
    """Open-circuit voltage of a cell, mV, straight between the points of the table."""
    low, low_mv, rise, width = _LINES[bisect_right(_BENDS, soc)]
    return low_mv + rise * (soc - low) / width
