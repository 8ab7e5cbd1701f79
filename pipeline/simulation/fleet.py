"""A fleet's days, one after the other: readings as they would be stored, and the truth beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date
from importlib.util import find_spec

import numpy as np
import polars as pl

from pipeline.simulation import ageing, effects, truth, usage, vectorised
from pipeline.simulation.draw import Works, first_state, works
from pipeline.simulation.plan import DAY_S, Flaw, FleetPlan, planted
from pipeline.simulation.readings import Spoken, infos, readings
from pipeline.simulation.state import Build, Drive, Floats, Pace, State, Trace, trace

Live = Callable[[Build, State, Drive, Trace, Pace], None]


@dataclass(frozen=True, slots=True)
class Day:
    """A day of the fleet. `readings`, `gaps`, `infos` and `counters` have the archive's columns (pipeline.schema);
    `truth` has `flaw` (those new today), `cell`, `module` and `lockout` (those that ended today).
    """

    date: date
    readings: pl.DataFrame
    gaps: pl.DataFrame
    infos: pl.DataFrame
    counters: pl.DataFrame
    truth: dict[str, pl.DataFrame]


@dataclass(slots=True)
class _Fleet:
    """What goes on from day to day."""

    plan: FleetPlan
    works: Works
    state: State
    flaws: tuple[Flaw, ...]
    diary: truth.Diary = field(default_factory=truth.Diary)
    wear: ageing.Wear | None = None
    met: frozenset[Flaw] = frozenset()


def simulate(plan: FleetPlan, engine: Live | None = None) -> Iterator[Day]:
    """Each simulated day, in order. Memory is that of one day: about 1.2 kB a module and sample of 16 cells.

    `engine` steps through a day; default is numba's where numba is there, else NumPy's.
    """
    built = works(plan)
    fleet = _Fleet(plan, built, first_state(plan, built), planted(plan))
    days = range(0, plan.days, plan.every)
    for day in days:
        if day and fleet.wear is not None:
            _age(fleet, plan.every)
        yield _day(fleet, day, engine or fastest(), last=day == days[-1])


def fastest() -> Live:
    """The quickest engine that is installed."""
    if find_spec("numba") is None:
        return vectorised.live
    from pipeline.simulation import compiled  # noqa: PLC0415 - only where numba is installed

    return compiled.live


def _day(fleet: _Fleet, day: int, live: Live, *, last: bool) -> Day:
    plan, pace = fleet.plan, _pace(fleet.plan)
    flaws = tuple(flaw for flaw in fleet.flaws if flaw.onset <= day)
    fresh = frozenset(flaws) - fleet.met
    scene = effects.Scene(plan, day, _worn(fleet), fleet.state, _drive(fleet, day, pace))
    effects.disturb(scene, flaws, fresh)
    fleet.met |= fresh
    written = trace(plan.modules, plan.cells, pace)
    live(scene.build, fleet.state, scene.drive, written, pace)
    fleet.wear = _wear(scene.build, written)
    spoken = Spoken(plan, day, scene.build, written, pace, flaws)
    rows, gaps = readings(spoken)
    ended, counters = truth.lockouts_of(spoken, fleet.diary, last=last)
    said = {
        "flaw": truth.flaws_of(plan, tuple(flaw for flaw in flaws if flaw in fresh)),
        "cell": truth.cells_of(spoken, fleet.state),
        "module": truth.modules_of(spoken, fleet.works.age.loss),
        "lockout": ended,
    }
    return Day(spoken.date, rows, gaps, infos(spoken), counters, said)


def _pace(plan: FleetPlan) -> Pace:
    every = round(plan.period_s / plan.substep_s)
    return Pace(plan.substep_s, every, round(DAY_S / plan.substep_s))


def _worn(fleet: _Fleet) -> Build:
    """The build of today: as from the works, less what age took."""
    built, fresh = fleet.works, effects.own_arrays(fleet.works.build)
    left = 1 - np.minimum(built.age.loss[:, None] * built.cell_pace, 0.9)
    more = 1 + built.age.resistance[:, None] * built.cell_pace
    return fresh._replace(ah=fresh.ah * left, fast=fresh.fast * more, slow=fresh.slow * more)


def _drive(fleet: _Fleet, day: int, pace: Pace) -> Drive:
    plan, rated = fleet.plan, fleet.works.build.rated
    first = plan.first // plan.stack_size
    stacks = range(first, first + plan.stacks)
    asked = np.array([usage.wanted(plan, stack, day, pace.steps) for stack in stacks])
    if plan.profile:
        asked += _catching_up(fleet, day, pace)
    amps = asked * rated.reshape(plan.stacks, plan.stack_size).sum(axis=1)[:, None]
    return Drive(amps, np.array([usage.ambient(plan, stack, day, pace.steps) for stack in stacks]))


def _catching_up(fleet: _Fleet, day: int, pace: Pace) -> Floats:
    """What brings the stacks back to their profile within the day's first four hours, C."""
    plan, year = fleet.plan, fleet.plan.profile
    target = year[int(day * DAY_S / plan.profile_s) % len(year)]
    has = fleet.state.soc.mean(axis=1).reshape(plan.stacks, plan.stack_size).mean(axis=1)
    hours = (np.arange(pace.steps) * pace.seconds < 4 * 3600) / 4
    return np.outer(np.clip(target - has, -1, 1), hours)


def _wear(build: Build, written: Trace) -> ageing.Wear:
    amps = np.abs(written.amps)
    busy = np.maximum((amps > 1).sum(axis=1), 1)
    return ageing.Wear(
        temp=written.temp.mean(axis=1),
        soc=np.clip(written.soc.mean(axis=1), 0, 1),
        depth=np.clip(written.soc.max(axis=1) - written.soc.min(axis=1), 0, 1),
        rate=(amps * (amps > 1)).sum(axis=1) / busy / build.rated,
        cycles=written.moved / 2 / build.rated,
    )


def _age(fleet: _Fleet, days: int) -> None:
    """The cells age by `days` like the last one."""
    built = fleet.works
    pace = built.pace * ageing.steeper(built.age.loss, built.knee, built.steeper)
    if fleet.wear is not None:
        ageing.wear_out(built.age, fleet.wear, float(days), pace, fleet.plan.ageing)
