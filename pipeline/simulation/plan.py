"""What is to be simulated: a fleet of one cell count and chemistry, its habits, and what is wrong with whom."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Literal

from cellherd.errors import CellherdError
from pipeline.simulation.chemistry import CHEMISTRIES
from pipeline.simulation.seeds import stream

Scope = Literal["cell", "module", "stack"]
DAY_S = 86_400
LONGEST_STEP_S = 10.0


@dataclass(frozen=True, slots=True)
class Kind:
    """A flaw that can be planted: whom it concerns, its sizes in a unit, and whether it needs neighbours in a stack."""

    scope: Scope
    sizes: tuple[float, float]
    unit: str
    about: str
    stacked: bool = False


KINDS: dict[str, Kind] = {
    "low_capacity": Kind("cell", (0.04, 0.20), "share", "a cell holds less than its neighbours"),
    "high_resistance": Kind("cell", (1.4, 3.0), "times", "a cell, or its joint, has more resistance"),
    "leak": Kind("cell", (0.010, 0.080), "A", "a cell loses charge inside"),
    "imbalance": Kind("cell", (0.02, 0.08), "share", "a cell lacks charge from the first day"),
    "wire_jumps": Kind("cell", (0.04, 0.08), "V", "a sense wire is loose: jumps, the neighbour opposite"),
    "soc_drift": Kind("module", (0.3, 1.0), "A", "the BMS miscounts, and never starts anew"),
    "sensor_stuck": Kind("module", (0.0, 3.99), "index", "a temperature sensor stands still"),
    "gaps": Kind("module", (0.06, 0.25), "share", "readings are missing in long pieces"),
    "clock_skew": Kind("module", (-1200.0, 1200.0), "s", "the collector's clock is wrong"),
    "balancer_off": Kind("module", (0.02, 0.04), "share", "nothing balances, and one cell lacks charge"),
    "module_mismatch": Kind("module", (0.16, 0.30), "share", "a module of a stack holds less", stacked=True),
    "mixed_stack": Kind("module", (0.5, 0.74), "times", "a smaller model in a stack", stacked=True),
    "charger_high": Kind("stack", (3.62, 3.68), "V", "the charger goes higher, and asks no BMS"),
    "cold_garage": Kind("stack", (-12.0, -6.0), "degC", "a place as cold as this"),
    "hot_room": Kind("stack", (40.0, 43.0), "degC", "a place as hot as this"),
    "surge_loads": Kind("stack", (1.25, 1.9), "times", "loads beyond the limit, some seconds long"),
    "comm_bursts": Kind("module", (6.0, 30.0), "a day", "old firmware loses the line for minutes"),
    "deaf": Kind("stack", (0.05, 0.09), "V", "charger and inverter see the stack's voltage only, and go a bit higher"),
    "reset_chain": Kind("stack", (3.68, 3.72), "V", "as charger_high; somebody resets the BMS each time"),
    "idle_drain": Kind("stack", (0.1, 0.3), "A", "in store, nearly empty, with something connected"),
    "missing_module": Kind("module", (1.0, 1.0), "", "a module of a stack goes silent for good", stacked=True),
    "bad_connection": Kind("module", (0.010, 0.030), "ohm", "a cable of a stack has resistance", stacked=True),
    "reconnect": Kind("module", (2.0, 3.0), "d", "off for days, then connected at another charge", stacked=True),
}
"""Every flaw, with the smallest and largest size that is drawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flaw:
    """Something wrong with a module (its number in the fleet) from a day on. `size` has its kind's unit."""

    kind: str
    module: int
    size: float
    cell: int | None = None
    onset: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise CellherdError(f"no flaw {self.kind!r}; there are {', '.join(KINDS)}")
        if KINDS[self.kind].scope == "cell" and self.cell is None:
            raise CellherdError(f"{self.kind} of module {self.module} needs a cell")


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetPlan:
    """A fleet. The same plan gives the same readings, and so does each part of it that `parts` gives.

    polarisation  base (0.45 mOhm slow at 100 Ah, 90 s), strong (1.5 mOhm, 120 s) or varied (drawn a module)
    flaws         which there are, or the share of modules that has one of `kinds`
    stack_size    parallel modules of a stack; a site is a stack
    nominal_ah    sizes that are drawn from, a stack each
    climate_c     between these lies the yearly mean of each site, degC
    every         simulate one day in so many, and let the cells age in between
    first         the number of its first module, where this is a part of a fleet
    profile       the state of charge wanted every `profile_s` of a year, instead of sun and load
    """

    modules: int = 10
    days: int = 30
    seed: int = 101
    start: date = date(2026, 1, 1)
    period_s: int = 60
    cells: int = 16
    chemistry: str = "lfp"
    polarisation: Literal["base", "strong", "varied"] = "base"
    flaws: float | tuple[Flaw, ...] = ()
    kinds: tuple[str, ...] = tuple(KINDS)
    stack_size: int = 1
    nominal_ah: tuple[float, ...] = (100.0,)
    climate_c: tuple[float, float] = (8.0, 20.0)
    ageing: Literal["blast", "naumann"] = "blast"
    age_years: tuple[float, float] = (0.0, 5.0)
    every: int = 1
    first: int = 0
    profile: tuple[float, ...] = field(default=(), repr=False)
    profile_s: int = 600

    def __post_init__(self) -> None:
        if self.chemistry not in CHEMISTRIES:
            raise CellherdError(f"no chemistry {self.chemistry!r}; there are {', '.join(CHEMISTRIES)}")
        if not 5 <= self.period_s <= 300 or DAY_S % self.period_s:
            raise CellherdError(f"a period of {self.period_s} s: 5 to 300 s, and a whole number of them in a day")
        if unknown := sorted({*self.kinds} - {*KINDS}):
            raise CellherdError(f"no flaw {unknown[0]!r}; there are {', '.join(KINDS)}")
        if not 1 <= self.cells <= 48:
            raise CellherdError(f"{self.cells} cells: a module has 1 to 48")
        if self.modules % self.stack_size or self.first % self.stack_size:
            raise CellherdError(f"{self.modules} modules do not make whole stacks of {self.stack_size}")

    @property
    def stacks(self) -> int:
        """How many stacks there are."""
        return self.modules // self.stack_size

    @property
    def numbers(self) -> range:
        """The modules' numbers in the whole fleet."""
        return range(self.first, self.first + self.modules)

    @property
    def substep_s(self) -> float:
        """The longest step up to ten seconds of which a period has a whole number."""
        return self.period_s / -(-self.period_s // LONGEST_STEP_S)


def parts(plan: FleetPlan, modules: int) -> Iterator[FleetPlan]:
    """The fleet in parts of at most so many modules, or a stack; together they give what the whole gives."""
    size = max(1, modules // plan.stack_size) * plan.stack_size
    flaws = planted(plan)
    for at in range(0, plan.modules, size):
        yield replace(plan, first=plan.first + at, modules=min(size, plan.modules - at), flaws=flaws)


def planted(plan: FleetPlan) -> tuple[Flaw, ...]:
    """Which flaws the plan's modules have."""
    if isinstance(plan.flaws, tuple):
        mine = {number // plan.stack_size for number in plan.numbers}
        return tuple(flaw for flaw in plan.flaws if flaw.module // plan.stack_size in mine)
    kinds = [kind for kind in plan.kinds if plan.stack_size > 1 or not KINDS[kind].stacked]
    return tuple(flaw for number in plan.numbers for flaw in _drawn(plan, number, kinds, plan.flaws))


def _drawn(plan: FleetPlan, number: int, kinds: list[str], share: float) -> tuple[Flaw, ...]:
    """A module's flaw, if it has one. Every third bad cell sits where nobody asks the BMS, and makes lockouts."""
    draw = stream(plan.seed, "flaw", number)
    if draw.random() >= share or not kinds:
        return ()
    kind = kinds[draw.integers(len(kinds))]
    cell = int(draw.integers(plan.cells))
    onset = int(draw.uniform(0, 0.3) * plan.days)
    size = float(draw.uniform(*KINDS[kind].sizes))
    scope = KINDS[kind].scope
    flaw = Flaw(kind=kind, module=number, size=size, cell=cell if scope == "cell" else None, onset=onset)
    if scope != "cell" or "deaf" not in kinds or draw.random() > 1 / 3:
        return (flaw,)
    return flaw, Flaw(kind="deaf", module=number, size=float(draw.uniform(*KINDS["deaf"].sizes)), onset=onset)
