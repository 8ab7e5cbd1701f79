"""Everything that is validated, a line each: on which fleets, or on which measured cells, and by what function."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

from pipeline.simulation.fleet import Day
from pipeline.simulation.plan import Flaw, FleetPlan
from pipeline.simulation.seeds import TEST, TUNE, held_back
from pipeline.validation import alerts as live_alerts
from pipeline.validation import courses, false_alarms, measured, mismatch, speed
from pipeline.validation.degradation import Setting, degradation
from pipeline.validation.lockouts import lockouts
from pipeline.validation.metering import metered
from pipeline.validation.quality import quality, sensors
from pipeline.validation.ranking import ranking
from pipeline.validation.repeat import repeat
from pipeline.validation.replay import Replayed
from pipeline.validation.row import Row
from pipeline.validation.spoiling import spoilt
from pipeline.validation.stack import stack
from pipeline.validation.trends import trends

SEEDS: dict[str, tuple[int, ...]] = {"tune": TUNE, "test": TEST, "held-back": tuple(held_back(n) for n in range(20))}
"""Thresholds are tuned on the first, figures are told on the second; the third is for the last look at a change."""
SPRING, WINTER, SUMMER = date(2026, 4, 1), date(2026, 1, 1), date(2026, 6, 1)
PLAN = FleetPlan(modules=20, days=40, start=SPRING)
GAPS = 0.2
"""Share of its readings that each module of a gappy fleet loses."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """A kind of fleet, and what decides on its bars. `quick`: modules and days of a short look; `through`: what becomes
    of its readings on their way.
    """

    plan: FleetPlan
    about: str
    setting: Setting = field(default_factory=Setting)
    quick: tuple[int, int] = (4, 10)
    gappy: bool = False
    through: Callable[[Iterable[Day], FleetPlan], Iterable[Day]] = lambda days, _: days


CELLS = ("low_capacity", "high_resistance", "leak", "imbalance", "wire_jumps", "balancer_off")
STACKS = ("module_mismatch", "mixed_stack", "missing_module", "bad_connection", "reconnect")
"""Flaws of cells, and of modules beside one another."""

SOUND = replace(PLAN, modules=90, start=SUMMER)
METERED = replace(PLAN, modules=24, days=14, period_s=10)
STRONG, OTHER = Setting("strong", tau_s=120), Setting("other")


def shunts(every: int) -> Callable[[Iterable[Day], FleetPlan], Iterator[Day]]:
    """Every stack is metered a second time, and of all readings one in so many is kept."""
    return lambda days, plan: metered(days, plan, every)


FLEETS: dict[str, Fleet] = {
    "base": Fleet(PLAN, "60 s, 16 cells of LFP, spring"),
    "long": Fleet(replace(PLAN, modules=20, days=170, start=date(2026, 3, 1)), "the same for 170 days"),
    "strong": Fleet(replace(PLAN, polarisation="strong"), "three times the slow polarisation", STRONG),
    "cold": Fleet(replace(PLAN, start=WINTER, climate_c=(2.0, 8.0)), "a winter in unheated rooms", OTHER),
    "coarse": Fleet(replace(PLAN, period_s=300), "a reading every 300 s", Setting("other", period_s=300)),
    "fine": Fleet(replace(PLAN, modules=8, period_s=10), "a reading every 10 s", Setting(period_s=10)),
    "gappy": Fleet(PLAN, "a fifth of the readings is missing", OTHER, gappy=True),
    "nmc": Fleet(replace(PLAN, chemistry="nmc"), "NMC", OTHER),
    "4s": Fleet(replace(PLAN, cells=4), "4 cells"),
    "8s": Fleet(replace(PLAN, cells=8), "8 cells"),
    "15s": Fleet(replace(PLAN, cells=15), "15 cells"),
    "flawed": Fleet(
        replace(PLAN, modules=80, days=75, start=SUMMER, polarisation="varied", flaws=0.6, stack_size=2),
        "three of five modules have a flaw",
        quick=(12, 10),
    ),
    "drifting-coarse": Fleet(
        replace(SOUND, modules=60, days=30, polarisation="varied", period_s=300, flaws=0.5, kinds=("soc_drift",)),
        "every other BMS miscounts, a reading every 300 s",
        quick=(30, 10),
    ),
    "cells": Fleet(replace(PLAN, modules=36, days=31, flaws=0.5, kinds=CELLS), "cells out of step"),
    "cells-strong": Fleet(
        replace(PLAN, modules=36, days=31, flaws=0.5, kinds=CELLS, polarisation="strong"),
        "cells out of step, three times the slow polarisation",
        STRONG,
    ),
    "cells-nmc": Fleet(
        replace(PLAN, modules=24, days=24, flaws=0.5, kinds=CELLS, chemistry="nmc"), "cells out of step, NMC"
    ),
    "stacks": Fleet(
        replace(PLAN, modules=32, days=14, flaws=0.5, kinds=STACKS, stack_size=4), "stacks of four", quick=(8, 8)
    ),
    "spoilt": Fleet(SOUND, "readings spoilt as devices spoil them", quick=(30, 10), through=spoilt),
    "spoilt-4s": Fleet(replace(SOUND, cells=4), "the same, 4 cells", quick=(30, 10), through=spoilt),
    "spoilt-fine": Fleet(
        replace(SOUND, modules=60, days=14, period_s=10),
        "the same, a reading every 10 s",
        quick=(15, 4),
        through=spoilt,
    ),
    "spoilt-coarse": Fleet(replace(SOUND, period_s=300), "the same, 300 s", quick=(30, 10), through=spoilt),
    "metered": Fleet(METERED, "a shunt beside each module, 60 s", quick=(8, 4), through=shunts(6)),
    "metered-stacks": Fleet(
        replace(METERED, stack_size=3), "a shunt beside each stack of three, 60 s", quick=(12, 4), through=shunts(6)
    ),
    "metered-coarse": Fleet(METERED, "a shunt beside each module, 300 s", quick=(8, 4), through=shunts(30)),
}
SEEN = ("base", "long", "strong", "cold", "coarse", "fine", "gappy", "nmc", "4s", "8s", "15s")
"""Fleets whose capacity can be told."""
SENSED = ("spoilt", "spoilt-4s", "spoilt-fine", "spoilt-coarse", "metered", "metered-stacks", "metered-coarse")
"""Fleets of sound batteries, and sensors and counters that lie."""

Judge = Callable[[Replayed, Fleet], Iterable[Row]]


def patterns(done: Replayed, fleet: Fleet) -> list[Row]:
    """Of cells out of step."""
    return mismatch.mismatch(done.tables, done.by_day(), fleet.setting)


CHECKS: dict[str, tuple[tuple[str, ...], Judge]] = {
    "degradation": (SEEN, lambda done, fleet: degradation(done, fleet.setting)),
    "trend": (("long",), lambda done, _: trends(done)),
    "lockouts": (("flawed",), lambda done, fleet: lockouts(done, fleet.plan.period_s)),
    "repeat": (("flawed",), lambda done, _: repeat(done)),
    "ranking": (("flawed",), lambda done, _: ranking(done)),
    "quality": (("flawed", "drifting-coarse"), lambda done, _: quality(done)),
    "sensors": (SENSED, lambda done, _: sensors(done)),
    "mismatch": (("cells", "cells-strong", "cells-nmc"), patterns),
    "stack": (("stacks",), lambda done, _: stack(done.tables, done.by_day())),
}
"""What is judged on which fleets. A fleet is simulated once for all checks that ask for it."""

FILES: dict[str, tuple[str, Callable[[Path], Iterable[Row]]]] = {
    "nasa": ("nasa/discharge.parquet", measured.counted),
    "matr-knee": ("matr/capacity.parquet", measured.knees),
    "matr-life": ("matr/capacity.parquet", measured.lives),
}
"""The file below the folder of measured cells, and what is judged on it."""

MADE: dict[str, Callable[[int, bool], Iterable[Row]]] = {
    "alerts": live_alerts.alerts,
    "false-alarms": lambda _, quick: alarms(quick),
    "knee": lambda seed, quick: courses.knees(seed, 4 if quick else 40),
    "speed": lambda seed, quick: speed.nightly_speed(seed, 40 if quick else 1000),
}
"""What makes its own data, from a seed; True: a short look."""


def alarms(quick: bool) -> Iterator[Row]:
    """Of the nights and the live engine over healthy fleets of several kinds, which have seeds of their own."""
    return false_alarms.false_alarms(false_alarms.quick() if quick else false_alarms.FLEETS)


def plan_of(fleet: Fleet, seed: int, size: tuple[int | None, int | None]) -> FleetPlan:
    """The fleet's plan with a seed, and with other numbers of modules and days where they are given."""
    modules, days = size
    plan = replace(fleet.plan, seed=seed, modules=modules or fleet.plan.modules, days=days or fleet.plan.days)
    holes = tuple(Flaw(kind="gaps", module=n, size=GAPS) for n in range(plan.modules))
    return replace(plan, flaws=holes) if fleet.gappy else plan


def chosen(only: str | None) -> dict[str, list[Judge]]:
    """The fleets to simulate and what is judged on each, for a fleet, a check, or (None) all."""
    found = {
        name: [judge for check, (fleets, judge) in CHECKS.items() if name in fleets and only in (None, name, check)]
        for name in FLEETS
    }
    return {name: judges for name, judges in found.items() if judges}


def names() -> list[str]:
    """All that can be asked for by name."""
    return [*FILES, "measured", *MADE, *CHECKS, *FLEETS]
