"""Sun, people and weather: what a stack is asked to take or give in each step of a day, and how warm its place is.

A bell of sun of 4 to 8 kWp beside each 5 kWh of battery, clouds by the day and by five minutes, load with a morning
and an evening, spikes of kettles and pumps. All in multiples of the capacity (C), so that it fits any size.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipeline.simulation.plan import DAY_S, FleetPlan
from pipeline.simulation.seeds import stream

Floats: TypeAlias = NDArray[np.float64]
KWH = 5.12
"""Energy of the 16 cells of 100 Ah that sun and load are told for."""
STRONGEST = 0.58
"""The inverter's limit, C."""
SLOT_S = 300


@dataclass(frozen=True, slots=True)
class Habit:
    """A site's own: sun (C at its best), base load and the hour's shift of its people, mean temperature degC."""

    sun: float
    load: float
    shift_h: float
    mean_c: float


def habit(plan: FleetPlan, stack: int) -> Habit:
    """Drawn once a stack."""
    draw = stream(plan.seed, "habit", stack)
    return Habit(
        sun=draw.uniform(4, 8) / KWH,
        load=draw.uniform(0.15, 0.4) / KWH,
        shift_h=draw.uniform(-1, 1),
        mean_c=draw.uniform(*plan.climate_c),
    )


def season(day: date) -> float:
    """-1 at the winter's turn, 1 at the summer's."""
    return float(np.cos(2 * np.pi * (day.timetuple().tm_yday - 172) / 365.25))


def wanted(plan: FleetPlan, stack: int, day: int, steps: int) -> Floats:
    """What sun and load, or the profile, ask of a stack in each step of a day, C, charging positive."""
    if plan.profile:
        return _replayed(plan, day, steps)
    own, summer = habit(plan, stack), season(plan.start + timedelta(days=day))
    draw = stream(plan.seed, "weather", stack, day)
    slots = DAY_S // SLOT_S
    hour = (np.arange(slots) + 0.5) * SLOT_S / 3600
    light = 12.2 + 3.8 * summer
    bell = np.maximum(0, np.sin(np.pi * np.clip((hour - 12.5 + light / 2) / light, 0, 1))) ** 1.3
    sky = draw.beta(2.5, 1.2) * np.clip(1 + 0.25 * draw.standard_normal(slots), 0, 1.3)
    sun = own.sun * (0.675 + 0.325 * summer) * bell * sky
    at = hour - own.shift_h
    people = 1 + 1.6 * np.exp(-((at - 7.5) ** 2) / 2) + 2.6 * np.exp(-((at - 19.5) ** 2) / 5)
    spikes = (draw.random(slots) < 0.03) * draw.uniform(0.8, 2.5, slots) / KWH
    load = own.load * people * draw.uniform(0.75, 1.25, slots) + spikes
    return _clipped(sun - load, steps)


def ambient(plan: FleetPlan, stack: int, day: int, steps: int) -> Floats:
    """How warm the place is in each step of a day, degC: indoors, so the year and the day are damped."""
    own, when = habit(plan, stack), plan.start + timedelta(days=day)
    whim = stream(plan.seed, "air", stack, day).normal(0, 0.7)
    late = 2 * np.pi * (np.arange(steps) / steps - 15 / 24)
    air: Floats = own.mean_c + whim + 3 * season(when - timedelta(days=30)) + 3 * np.cos(late)
    return air


def _clipped(slots: Floats, steps: int) -> Floats:
    spread: Floats = np.clip(slots, -STRONGEST, STRONGEST)[np.arange(steps) * len(slots) // steps]
    return spread


def _replayed(plan: FleetPlan, day: int, steps: int) -> Floats:
    """The slope of the wanted state of charge; the year begins anew after its last value."""
    year = np.asarray(plan.profile)
    at = (day * DAY_S + np.arange(steps + 1) * DAY_S / steps) / plan.profile_s
    soc = np.interp(at % len(year), np.arange(len(year)), year)
    rate: Floats = np.clip(np.diff(soc) * 3600 * steps / DAY_S, -STRONGEST, STRONGEST)
    return rate
