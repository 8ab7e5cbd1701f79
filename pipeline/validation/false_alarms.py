"""How often are sound modules complained of? Healthy fleets of several kinds through the nights and the live engine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import date

import polars as pl

from cellherd import settings
from cellherd.faults import catalogue
from pipeline.live.engine import Key, Registry, advance
from pipeline.live.state import Module
from pipeline.simulation.fleet import Day, simulate
from pipeline.simulation.plan import Flaw, FleetPlan, parts
from pipeline.validation.bars import target
from pipeline.validation.replay import Replayed, replay
from pipeline.validation.row import Row, rate

A_MONTH = 30
SETTLES = 5
"""Days that are not counted: balancers undo the imbalance with which the simulator begins, as with any new battery."""
NEVER = 4
"""The priority of faults that nobody is told of."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """A healthy fleet, the level of its bar, and what it truly shows: findings that speak of it are no false alarms."""

    name: str
    plan: FleetPlan
    level: str = "base"
    true: frozenset[str] = frozenset()


SPRING, WINTER = date(2026, 4, 1), date(2026, 1, 1)
MILD = FleetPlan(modules=1000, days=30 + SETTLES, seed=105, start=SPRING)
FULL = replace(MILD, modules=20, seed=110, profile=(1.0, 1.0), profile_s=86_400)
LINE = frozenset({"comm_lost", "comm_degraded", "collector_offline"})


def _gappy(plan: FleetPlan) -> FleetPlan:
    """Every module loses a fifth of its readings."""
    return replace(plan, flaws=tuple(Flaw(kind="gaps", module=n, size=0.2) for n in range(plan.modules)))


FLEETS: tuple[Fleet, ...] = (
    Fleet("healthy", MILD),
    Fleet("winter", replace(MILD, modules=100, seed=106, start=WINTER, polarisation="varied")),
    Fleet("cold, 5 degC", replace(MILD, modules=60, seed=107, climate_c=(4.5, 5.5))),
    Fleet("coarse, 300 s", replace(MILD, modules=100, seed=108, period_s=300)),
    Fleet("gappy, 20 %", _gappy(replace(MILD, modules=60, seed=109)), true=LINE),
    Fleet("NMC", replace(MILD, modules=100, seed=111, chemistry="nmc", cells=14)),
    Fleet("4 cells", replace(MILD, modules=100, seed=112, cells=4)),
    Fleet("8 cells, aged", replace(MILD, modules=100, seed=113, cells=8, age_years=(8.0, 12.0))),
    Fleet("stacks of four", replace(MILD, modules=60, seed=114, stack_size=4)),
    Fleet("full batteries", FULL, level="full"),
)
AT_ONCE = 100
"""Modules of a part: about 1 GB at a reading a minute."""


@dataclass(slots=True)
class Heard:
    """What the live engine remembers of a fleet, and how often each fault was told."""

    registry: Registry
    modules: dict[Key, Module]
    told: Counter[str]


def quick(fleets: Iterable[Fleet] = FLEETS) -> tuple[Fleet, ...]:
    """The same fleets, small enough for a first look."""
    return tuple(
        replace(one, plan=replace(one.plan, modules=8, days=5 + SETTLES, flaws=_few(one.plan))) for one in fleets
    )


def _few(plan: FleetPlan) -> float | tuple[Flaw, ...]:
    return tuple(one for one in plan.flaws if one.module < 8) if isinstance(plan.flaws, tuple) else plan.flaws


def false_alarms(fleet: Fleet) -> Iterator[Row]:
    """Complaints about a fleet for each 100 modules and month: of the nights, live, and of each kind that came.

    A finding counts on the day on which it is new, whatever its priority, and so does one about a site or the whole
    fleet; an event when it enters, unless nobody is told of its fault. The interval is Garwood's of a Poisson count.
    """
    nights, live, months = Counter[str](), Counter[str](), 0.0
    for plan in parts(fleet.plan, AT_ONCE):
        heard = Heard({}, {}, live)
        done = replay(_listening(simulate(plan), heard, plan), plan.chemistry)
        nights += complaints(done, fleet.true)
        judged = done.tables["module_day"].filter(pl.col("day") >= done.days[SETTLES])
        months += judged.height / A_MONTH
    for fault in fleet.true & live.keys():
        del live[fault]
    bar = target("false alarms", fleet.level)
    both = ((f"nightly, {fleet.name} fleet", nights), (f"live, {fleet.name} fleet", live))
    for name, counts in both:
        yield rate(f"false alarms {name} ({months:.0f} module-months)", bar, counts.total(), months)
        for kind, count in counts.most_common():
            yield rate(f"  {kind}", bar, count, months)


def complaints(done: Replayed, true: frozenset[str] = frozenset()) -> Counter[str]:
    """New findings by analysis and pattern, without those whose fault is so; of the first day counted also old ones."""
    begin, findings = done.days[SETTLES], done.tables["finding"].filter(pl.col("status") == "finding")
    fresh = (pl.col("day") == begin) | ((pl.col("day") > begin) & (pl.col("since_day") == pl.col("day")))
    new = findings.filter(fresh & ~pl.col("fault").is_in(list(true)))
    return Counter(f"{analysis} {pattern}" for analysis, pattern in new.select("analysis", "pattern").iter_rows())


def _listening(days: Iterable[Day], heard: Heard, plan: FleetPlan) -> Iterator[Day]:
    """The days, told to the live engine on their way."""
    for nth, day in enumerate(days):
        if not heard.registry:
            heard.registry = _registry(day, plan)
        frames = {"device_info": day.infos, "device_counter": day.counters, "gap": day.gaps}
        for some in ({"reading": day.readings.sort("ts")}, frames):
            out = advance(heard.modules.get, some, heard.registry)
            heard.modules |= out.modules
            if nth >= SETTLES:
                heard.told.update(e.fault for e in out.events if e.phase == "enter" and _matters(e.fault))
        yield day


def _matters(fault: str) -> bool:
    known = catalogue().get(fault)
    return known is None or known.priority < NEVER


def _registry(day: Day, plan: FleetPlan) -> Registry:
    places = day.infos.select("site", "stack", "module", "nominal_mah").rows()
    return {
        (site, stack, module): settings.Module.model_validate(
            {"site": site, "stack": stack, "id": module, "chemistry": plan.chemistry, "nominal_mah": nominal}
        )
        for site, stack, module, nominal in places
    }
