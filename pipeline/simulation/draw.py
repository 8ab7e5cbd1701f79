"""The fleet as it left the works and on its first day: every cell a little different, and some years old."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipeline.simulation import ageing, chemistry
from pipeline.simulation.plan import FleetPlan
from pipeline.simulation.seeds import stream
from pipeline.simulation.state import PROTECTIONS, Build, Floats, Points, State

POLARISATION = {"base": (0.55e-3, 0.45e-3, 90.0), "strong": (0.55e-3, 1.5e-3, 120.0)}
"""Fast and slow ohm of a cell of 100 Ah at 25 degC, and the slow part's seconds."""
WIRE_OHM = 0.003
JOULE_PER_K_WH = 45_000 / 5_120
COOLING_S = 5 * 3600.0
GAIN = 0.01
"""Standard deviation of what a shunt shows for an ampere, drawn a module."""
BALANCERS = ((0.035, 0.0), (0.06, 0.0), (0.15, 0.0), (0.0, 1.0))
"""Ampere of a BMS's balancer: bled off each high cell, or shuttled from the highest to the lowest."""


@dataclass(frozen=True, slots=True)
class Works:
    """What does not wear: the modules as built, their age today, and how fast each cell and module ages beside the
    law. `knee` is the loss at which a module begins to age `steeper` times as fast.
    """

    build: Build
    age: ageing.Age
    years: Floats
    pace: Floats
    cell_pace: Floats
    knee: Floats
    steeper: Floats


def works(plan: FleetPlan) -> Works:
    """Draw the fleet's modules, and let them age until the first day."""
    drawn = [_module(plan, number) for number in plan.numbers]

    def column(name: str) -> Floats:
        return np.array([one[name] for one in drawn])

    years, pace = column("years"), column("pace")
    age = ageing.new(plan.modules)
    middle = np.full(plan.modules, sum(plan.climate_c) / 2)
    wear = ageing.Wear(middle, middle * 0 + 0.45, middle * 0 + 0.9, middle * 0 + 0.15, middle * 0 + 0.8)
    for quarter in range(int(4 * plan.age_years[1])):
        ageing.wear_out(age, wear, 365.25 / 4, pace * (years * 4 > quarter), plan.ageing)
    knee = np.where(column("knees") < 0.1, column("knee"), np.inf)
    return Works(_build(plan, column), age, years, pace, column("cell_pace"), knee, column("steeper"))


def _module(plan: FleetPlan, number: int) -> dict[str, Floats | float]:
    draw, n = stream(plan.seed, "module", number), plan.cells
    rated = float(stream(plan.seed, "size", number // plan.stack_size).choice(plan.nominal_ah))
    fast, slow, tau = POLARISATION.get(plan.polarisation, (0.0, 0.0, 0.0))
    varied = plan.polarisation == "varied"
    fast = draw.uniform(0.5e-3, 1.0e-3) if varied else fast
    slow = draw.uniform(0.4e-3, 2.0e-3) if varied else slow
    tau = draw.uniform(60, 150) if varied else tau
    bleed, shuttle = BALANCERS[draw.integers(len(BALANCERS))]
    per_ah = 100 / rated
    return {
        "rated": rated,
        "ah": rated * draw.uniform(1.0, 1.03) * draw.normal(1, 0.006, n),
        "fast": fast * per_ah * draw.lognormal(0, 0.075, n),
        "slow": slow * per_ah * draw.lognormal(0, 0.075, n),
        "leak": 0.003 / per_ah * draw.lognormal(0, 0.3, n),
        "stays": np.exp(-plan.substep_s / tau),
        "hysteresis": draw.uniform(0.8, 1.25) * chemistry.CHEMISTRIES[plan.chemistry].hysteresis,
        "bleed": bleed,
        "shuttle": shuttle,
        "gain": 1 + draw.normal(0, GAIN),
        "offset_a": draw.normal(0, 0.08),
        "years": draw.uniform(*plan.age_years),
        "pace": draw.lognormal(0, 0.25),
        "cell_pace": draw.lognormal(0, 0.06, n),
        "knees": draw.random(),
        "knee": draw.uniform(0.12, 0.25),
        "steeper": draw.uniform(3, 6),
    }


def _build(plan: FleetPlan, take: Callable[[str], Floats]) -> Build:
    made, m, s = chemistry.CHEMISTRIES[plan.chemistry], plan.modules, plan.stacks
    guards, rated = chemistry.protections(made), take("rated")
    names = ("ah", "fast", "slow", "leak", "stays", "hysteresis", "bleed", "shuttle", "gain", "offset_a")
    return Build(
        **{name: take(name) for name in names},
        rated=rated,
        limit=rated.copy(),
        joule_per_k=rated * plan.cells * made.nominal * JOULE_PER_K_WH,
        cooling_s=np.full(m, COOLING_S),
        wire=WIRE_OHM * 100 / rated,
        draw=np.full(m, 0.03),
        counter_a=np.zeros(m),
        recalibrates=np.ones(m),
        present=np.ones(m),
        reset_after_s=np.zeros(m),
        stack=np.repeat(np.arange(s), plan.stack_size),
        first=np.arange(s + 1) * plan.stack_size,
        charge_v=np.full(s, made.charge[0]),
        obeys=np.ones(s),
        tops_up=np.ones(s),
        curve=chemistry.curve(plan.chemistry),
        points=Points(
            made.charge[1], *made.derate, *made.discharge, *made.full, made.empty, *made.top_up, *made.balance
        ),
        sides=np.array([float(guard.side) for guard in guards]),
        trips=np.array([guard.trip for guard in guards]),
        releases=np.array([guard.release for guard in guards]),
        cuts_charge=np.array([float(guard.cuts == "charge") for guard in guards]),
    )


def first_state(plan: FleetPlan, built: Works) -> State:
    """The first morning: balanced at the top but for a little, about half full, as warm as the place."""
    m, n, s = plan.modules, plan.cells, plan.stacks
    lacks = np.array([stream(plan.seed, "charge", number).normal(0, 0.003, n) for number in plan.numbers])
    ah = built.build.ah * (1 - built.age.loss[:, None] * built.cell_pace)
    missing = 0.5 * ah.mean(axis=1, keepdims=True)
    return State(
        soc=1 - missing / ah + lacks,
        slow=np.zeros((m, n)),
        branch=np.zeros((m, n)),
        bled=np.zeros((m, n)),
        temp=np.full(m, sum(plan.climate_c) / 2),
        counted=np.full(m, 0.5),
        off_s=np.zeros(m),
        age=np.full((m, PROTECTIONS), -1.0),
        full=np.zeros(s),
        empty=np.zeros(s),
        topping=np.zeros(s),
    )
