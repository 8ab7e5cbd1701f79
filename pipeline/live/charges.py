"""How charges and discharges end: too early, or with the cells apart, and that again and again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from pipeline.limits import DAY, MINUTE
from pipeline.live.events import LATE_MS, Event
from pipeline.live.features import Run
from pipeline.live.holds import device_faults, entered, left
from pipeline.live.levels import number
from pipeline.live.profile import Profile
from pipeline.live.state import Charge, Episode, Module, Waiting

LEAST_MS = 10 * MINUTE
"""What is shorter is no charge."""
HOLDS_MV = 60
"""So far above empty the middle cell is where the others still hold charge when one is empty."""
OVER = {f"{what}_overvoltage_{kind}" for what in ("cell", "pack") for kind in ("warning", "protection")}
OF_LAST, TIMES = number("early_charge_cutoff", "of_last"), number("early_charge_cutoff", "charges")
NAMED_PM = 600
"""The share of ends in which one cell must lead to be named."""


def charge_ends(module: Module, run: Run, profile: Profile, *, hole: bool) -> Iterator[Event]:
    """Events when a charge or discharge has ended; changes `module`."""
    if run.dir == 2:
        return
    direction, since, _, sample = module.flow
    soc = run.last.soc_pm
    if run.dir == 0 and soc is not None and 300 <= soc <= 800 and _flat(run.last.med, profile):
        module.middle_mv = run.last.spread
    if run.dir == direction and not hole:
        module.flow = (direction, since, 0, run.last)
        return
    module.flow = (run.dir, run.first.ts, 0, run.last)
    if sample is None or hole or sample.ts - since < LEAST_MS or direction == 0:
        return
    said = device_faults(run.faults)
    cut = run.first.charge_on == 0 if direction == 1 else run.first.discharge_on == 0
    cut = (cut or bool(said & OVER)) and "user_limit_reached" not in said
    at = sample.hi_at if direction == 1 else sample.lo_at
    ended = Charge(
        sample.ts, sample.soc_pm, sample.lo, sample.hi, sample.spread, at, cut, sample.current_ma, sample.med
    )
    if direction == 1:
        yield from _charged(module, run, profile, ended)
    else:
        yield from _discharged(module, run, profile, ended)


def _charged(module: Module, run: Run, profile: Profile, ended: Charge) -> Iterator[Event]:
    within = ended.ts - number("early_charge_cutoff", "within_days") * DAY
    module.charges = [*(one for one in module.charges if one.ts > within), ended][-2 * OF_LAST :]
    cut = [one for one in module.charges if one.cut][-OF_LAST:]
    early = [one for one in cut if _early(one, profile)]
    over = ended.soc_pm is not None and ended.soc_pm > 950
    yield from _series(module, run, profile, "early_charge_cutoff", (early, ended, over))
    middle = module.middle_mv
    full = [one for one in module.charges if (one.hi or 0) >= profile.full_mv][-OF_LAST:]
    apart = [one for one in full if (one.spread or 0) >= profile.top_mv and _flowed(one, profile)]
    known = middle is not None and middle <= number("top_of_charge_drift", "middle_mv")
    yield from _series(
        module, run, profile, "top_of_charge_drift",
        (apart if known else [], ended, ended in full and ended not in apart and len(apart) < TIMES),
    )  # fmt: skip


def _flat(mv: int | None, profile: Profile) -> bool:
    """Whether the middle cell is where one of a half full module is, whatever its counter says."""
    return mv is None or profile.middle_low_mv <= mv <= profile.middle_high_mv


def _flowed(one: Charge, profile: Profile) -> bool:
    return (one.ma or 0) * 1000 >= profile.top_rate_pm * profile.capacity_mah


def _early(one: Charge, profile: Profile) -> bool:
    low, high = 750, 950
    spread = number("early_charge_cutoff", "spread_mv")
    return low <= (one.soc_pm or 0) <= high and (one.hi or 0) >= profile.near_limit_mv and (one.spread or 0) >= spread


def _discharged(module: Module, run: Run, profile: Profile, ended: Charge) -> Iterator[Event]:
    module.discharges = [*module.discharges, ended][-OF_LAST:]
    middle, fault = module.middle_mv, "cell_capacity_mismatch"
    empty = [one for one in module.discharges if one.lo is not None and one.lo <= profile.empty_mv]
    apart = [one for one in empty if _alone(one, profile.empty_mv, number(fault, "bottom_mv"))]
    known = middle is not None and middle <= number(fault, "middle_mv")
    yield from _series(
        module, run, profile, fault, (apart if known else [], ended, ended in empty and ended not in apart)
    )


def _alone(one: Charge, empty_mv: int, apart_mv: int) -> bool:
    """One cell was empty and the middle one far from it: a single strong cell proves nothing about a weak one."""
    others = one.hi if one.med is None else one.med
    return (others or 0) >= empty_mv + HOLDS_MV and (others or 0) - (one.lo or 0) >= apart_mv


def _series(
    module: Module, run: Run, profile: Profile, fault: str, of: tuple[Sequence[Charge], Charge, bool]
) -> Iterator[Event]:
    """Enter where it came for the third time of the last five, leave where the last one was good.

    What is good is the caller's to say: near a limit charges end now above it, now below, and the top's leaves only
    when fewer than three of five were apart.
    """
    bad, ended, good = of
    if fault in module.standing:
        if good:
            yield left(module, fault, ended.ts, run)
        return
    if len(bad) < TIMES or ended not in bad:
        return
    late = run.arrival - run.first.ts > LATE_MS
    began = Waiting(ended.ts, module.last or run.first, [], [], device=False, late=late, identity=run.identity)
    event = entered(module, profile, fault, began, None, until=run.first.ts)
    place, times = Counter(one.at for one in bad).most_common(1)[0]
    cell = place if times * 1000 >= len(bad) * NAMED_PM else None
    ends = [{"ts": one.ts, "soc_pm": one.soc_pm, "spread_mv": one.spread, "cell": one.at} for one in bad]
    module.standing[fault] = of_cell(module.standing[fault], cell)
    yield replace(
        event, cell=cell, value=float(ended.spread or 0), value_unit="mV", evidence={**event.evidence, "ends": ends}
    )


def of_cell(old: Episode, cell: int | None) -> Episode:
    """The same episode of another cell."""
    return Episode(old.since, old.origin, old.name, old.cuts, cell, old.late)
