"""How often are sound modules complained of? Healthy fleets of several kinds through the nights and the live engine."""

from __future__ import annotations

import multiprocessing
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import date

import polars as pl

from cellherd import settings
from cellherd.faults import catalogue
from pipeline.analyses.health import WORN
from pipeline.limits import LFP
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
MILD = FleetPlan(modules=160, days=30 + SETTLES, seed=105, start=SPRING)
FULL = replace(MILD, modules=40, seed=110, profile=(1.0, 1.0), profile_s=86_400)
LINE = frozenset({"comm_lost", "comm_degraded", "collector_offline"})


def _gappy(plan: FleetPlan) -> FleetPlan:
    """Every module loses a fifth of its readings."""
    return replace(plan, flaws=tuple(Flaw(kind="gaps", module=n, size=0.2) for n in range(plan.modules)))


FLEETS: tuple[Fleet, ...] = (
    Fleet("healthy", replace(MILD, modules=320)),
    Fleet("cold, 5 degC", replace(MILD, seed=107, climate_c=(4.5, 5.5))),
    Fleet("coarse, 300 s", replace(MILD, seed=108, period_s=300)),
    Fleet("gappy, 20 %", _gappy(replace(MILD, seed=109)), true=LINE),
    Fleet("NMC", replace(MILD, seed=111, chemistry="nmc", cells=14)),
    Fleet("winter", replace(MILD, modules=40, seed=106, start=WINTER, polarisation="varied")),
    Fleet("4 cells", replace(MILD, modules=40, seed=112, cells=4)),
    Fleet("8 cells, aged", replace(MILD, modules=40, seed=113, cells=8, age_years=(8.0, 12.0))),
    Fleet("stacks of four", replace(MILD, modules=40, seed=114, stack_size=4)),
    Fleet("full batteries", FULL, level="full"),
)
"""Together more than 1,000 module-months."""
AT_ONCE = 40
"""Modules of a part, which is one process's work: below 1 GB at a reading a minute."""
APART, WEAK = LFP.mismatch.lag, LFP.mismatch.deficit
"""A cell that truly lacks more charge than that, or holds so much less, is out of step: no alarm about it is false."""


@dataclass(frozen=True, slots=True)
class Tally:
    """What was said of sound modules by the nights and live, their module-months, and how many were not sound."""

    nights: Counter[str] = field(default_factory=Counter)
    live: Counter[str] = field(default_factory=Counter)
    months: float = 0.0
    unsound: int = 0

    def __add__(self, other: Tally) -> Tally:
        """Of both fleets."""
        nights, live = self.nights + other.nights, self.live + other.live
        return Tally(nights, live, self.months + other.months, self.unsound + other.unsound)


def quick(fleets: Iterable[Fleet] = FLEETS) -> tuple[Fleet, ...]:
    """The same fleets, small enough for a first look."""
    return tuple(
        replace(one, plan=replace(one.plan, modules=8, days=5 + SETTLES, flaws=_few(one.plan))) for one in fleets
    )


def _few(plan: FleetPlan) -> float | tuple[Flaw, ...]:
    return tuple(one for one in plan.flaws if one.module < 8) if isinstance(plan.flaws, tuple) else plan.flaws


def false_alarms(fleets: Iterable[Fleet], processes: int | None = None) -> Iterator[Row]:
    """Complaints about each fleet for each 100 modules and month: of the nights, live, and of each kind that came; and
    at the end those about all sound fleets, both together.

    A finding counts on the day on which it is new, whatever its priority, and so does one about a site or the whole
    fleet; an event when it enters, unless nobody is told of its fault. The interval is Garwood's of a Poisson count.
    Parts of fleets are worked through by a process a core (`processes`), each with one thread.
    """
    kinds = tuple(fleets)
    work = [(fleet, plan) for fleet in kinds for plan in parts(fleet.plan, AT_ONCE)]
    told = {fleet.name: Tally() for fleet in kinds}
    left = Counter(fleet.name for fleet, _ in work)
    os.environ["POLARS_MAX_THREADS"] = os.environ.get("POLARS_MAX_THREADS", "1")  # of the processes to come
    with multiprocessing.get_context("spawn").Pool(processes or os.cpu_count()) as pool:
        for (fleet, _), tally in zip(work, pool.imap(_counted, work), strict=True):
            told[fleet.name] += tally
            left[fleet.name] -= 1
            if not left[fleet.name]:
                yield from _rows(fleet, told[fleet.name])
    sound = sum((told[fleet.name] for fleet in kinds if fleet.level == "base"), Tally())
    months = f"({sound.months:.0f} module-months)"
    yield rate(f"false alarms, all fleets but the full one {months}", target("false alarms"),
               sound.nights.total() + sound.live.total(), sound.months)  # fmt: skip


def _rows(fleet: Fleet, tally: Tally) -> Iterator[Row]:
    bar, left_out = target("false alarms", fleet.level), f", {tally.unsound} out of step left out"
    about = f"({tally.months:.0f} module-months{left_out if tally.unsound else ''})"
    for name, counts in ((f"nightly, {fleet.name} fleet", tally.nights), (f"live, {fleet.name} fleet", tally.live)):
        yield rate(f"false alarms {name} {about}", bar, counts.total(), tally.months)
        for kind, count in counts.most_common():
            yield rate(f"  {kind}", bar, count, tally.months)


@dataclass(slots=True)
class Heard:
    """What the live engine remembers of a fleet, and how often each fault was told of each module."""

    registry: Registry
    modules: dict[Key, Module]
    told: Counter[tuple[str, str]]


def _counted(work: tuple[Fleet, FleetPlan]) -> Tally:
    """A part of a fleet through the nights and the live engine."""
    fleet, plan = work
    heard = Heard({}, {}, Counter())
    done = replay(_listening(simulate(plan), heard, plan), plan.chemistry)
    odd = unsound(done)
    live = Counter[str]()
    for (unit, fault), count in heard.told.items():
        live[fault] += count * (unit not in odd and fault not in fleet.true)
    judged = done.tables["module_day"].filter(pl.col("day") >= done.days[SETTLES], ~pl.col("unit").is_in(list(odd)))
    return Tally(complaints(done, fleet.true, odd), +live, judged.height / A_MONTH, len(odd))


def unsound(done: Replayed) -> frozenset[str]:
    """Modules that by the simulator's truth have, on some day, a cell out of step or less than 80 % of their capacity.

    Balancers that shuttle charge by voltages under load make such modules out of sound ones in winter.
    """
    lacks, unit = (1 - pl.col("soc")) * pl.col("capacity_ah"), ["unit", "day"]
    usual = pl.col("capacity_ah").median().over(unit)
    apart = (lacks - lacks.median().over(unit)).abs() > APART * usual
    weak = pl.col("capacity_ah") < (1 - WEAK) * usual
    cells = done.truth["cell"].filter(apart | weak)["unit"]
    return frozenset(cells) | frozenset(done.truth["module"].filter(pl.col("soh") < WORN)["unit"])


def complaints(done: Replayed, true: frozenset[str] = frozenset(), odd: frozenset[str] = frozenset()) -> Counter[str]:
    """New findings by analysis and pattern, without those whose fault is so, and those of modules in `odd`; of the
    first day counted also old ones."""
    begin, findings = done.days[SETTLES], done.tables["finding"].filter(pl.col("status") == "finding")
    fresh = (pl.col("day") == begin) | ((pl.col("day") > begin) & (pl.col("since_day") == pl.col("day")))
    new = findings.filter(fresh & ~pl.col("fault").is_in(list(true)))
    if odd:
        new = new.filter(~pl.col("unit").is_in(list(odd)).fill_null(value=False))
    return Counter(f"{analysis} {pattern}" for analysis, pattern in new.select("analysis", "pattern").iter_rows())


def _listening(days: Iterable[Day], heard: Heard, plan: FleetPlan) -> Iterator[Day]:
    """The days, told to the live engine on their way."""
    for nth, day in enumerate(days):
        if not heard.registry:
            heard.registry = registry(day, plan)
        frames = {"device_info": day.infos, "device_counter": day.counters, "gap": day.gaps}
        for some in ({"reading": day.readings.sort("ts")}, frames):
            out = advance(heard.modules.get, some, heard.registry)
            heard.modules |= out.modules
            if nth >= SETTLES:
                heard.told.update((e.unit, e.fault) for e in out.events if e.phase == "enter" and _matters(e.fault))
        yield day


def _matters(fault: str) -> bool:
    known = catalogue().get(fault)
    return known is None or known.priority < NEVER


def registry(day: Day, plan: FleetPlan) -> Registry:
    """What fleet.toml would say of the modules: chemistry and size."""
    places = day.infos.select("site", "stack", "module", "nominal_mah").rows()
    return {
        (site, stack, module): settings.Module.model_validate(
            {"site": site, "stack": stack, "id": module, "chemistry": plan.chemistry, "nominal_mah": nominal}
        )
        for site, stack, module, nominal in places
    }
