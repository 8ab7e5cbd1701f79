"""Faults that only show over time: SOC that stands still, heat without load, jumping leads, frozen sensors, resets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from cellherd.faults import catalogue
from pipeline.limits import DAY, HOUR
from pipeline.live.charges import charge_ends, of_cell
from pipeline.live.events import LATE_MS, Event, cuts_of, numbers_of
from pipeline.live.features import PLAUSIBLE_DC, Run
from pipeline.live.holds import device_faults, entered, left
from pipeline.live.levels import JUMP, levels, number
from pipeline.live.profile import Profile
from pipeline.live.state import Module, Waiting

IDLE = 0
FULL_HOUR_MS = 3_600_000
RESET_MS = (30_000, 300_000)
"""A module that is silent for so long and then back with the same charge was probably switched off and on by hand."""
SAME_MV, SAME_PM = 30, 10
_JUMP_BIT = 1 << next(i for i, level in enumerate(levels()) if level.fault == JUMP)


def recall(module: Module, run: Run, profile: Profile, kept: set[str], *, hole: bool) -> Iterator[Event]:
    """Events of the rules with a memory; changes `module`, and puts into `kept` what they see standing."""
    if run.bad_clock:
        return
    yield from _reset(module, run)
    yield from _soc_stuck(module, run, profile, hole=hole)
    yield from charge_ends(module, run, profile, hole=hole)
    yield from _heat(module, run, profile, kept)
    yield from _jumping(module, run, profile)
    yield from _frozen_sensor(module, run, profile, kept)


def _begins(run: Run, since: int) -> Waiting:
    late = run.arrival - run.first.ts > LATE_MS
    return Waiting(since, run.first, run.cells, run.temps, device=False, late=late, identity=run.identity)


def _reset(module: Module, run: Run) -> Iterator[Event]:
    """The protection is gone after a short silence, charge and cells are as before: it ends at once.

    Cells are compared at rest only: one that charges again at once has other voltages and the same charge.
    """
    before, now = module.last, run.first
    if before is None or not module.said or not RESET_MS[0] <= now.ts - before.ts <= RESET_MS[1]:
        return
    silent = now.ts - before.ts > 3 * module.period
    gone = [name for name in module.said if name not in device_faults(run.faults)]
    gone = [name for name in gone if catalogue()[name].severity in ("protection", "lockout")]
    pairs = [(before.soc_pm, now.soc_pm, SAME_PM)]
    if None in pairs[0] or module.flow[0] == run.dir == IDLE:
        pairs += [(before.lo, now.lo, SAME_MV), (before.hi, now.hi, SAME_MV)]
    same = all(a is None or b is None or abs(a - b) <= most for a, b, most in pairs)
    if not (silent and gone and same and run.faults is not None):
        return
    module.resets = [at for at in module.resets if at > now.ts - 7 * DAY] + [now.ts]
    episode = module.standing.get(gone[0])
    evidence = {"silent_ms": now.ts - before.ts, "numbers": numbers_of(now, run.cells, run.temps)}
    yield Event(
        module.place, module.unit, module.kind, "note", gone[0], now.ts, episode.since if episode else now.ts,
        "derived", cuts_of(gone[0], now.charge_on, now.discharge_on), run.arrival - now.ts > LATE_MS,
        code="probable_manual_reset", evidence=evidence, identity=run.identity,
    )  # fmt: skip
    yield from (left(module, name, now.ts, run) for name in gone if name in module.standing)


def _soc_stuck(module: Module, run: Run, profile: Profile, *, hole: bool) -> Iterator[Event]:
    """The percentage stands still although a tenth of the capacity has flowed; at its ends it may."""
    if run.first.soc_pm is None:
        return
    percent, fault = run.first.soc_pm // 10, "soc_stuck"
    anchor = module.soc_anchor
    moved = anchor is None or abs(percent - anchor[0]) > number(fault, "soc_within_pct")
    if moved and _ours(module, fault):
        yield left(module, fault, run.first.ts, run)
    if anchor is None or moved or hole:
        anchor = (percent, run.first.ts, 0)
    at_end = percent >= 99 or percent <= 1
    charge = 0 if at_end else anchor[2] + run.charge
    module.soc_anchor = anchor = (anchor[0], anchor[1], charge)
    passed = abs(charge) // FULL_HOUR_MS
    least = profile.capacity_mah * number(fault, "capacity_passed_pm") // 1000
    if passed >= least and fault not in module.standing:
        found = entered(module, profile, fault, _begins(run, anchor[1]), None, until=run.last.ts)
        yield replace(found, value=float(passed), threshold=float(least), value_unit="mAh")


def _heat(module: Module, run: Run, profile: Profile, kept: set[str]) -> Iterator[Event]:
    """Cells get warmer with nothing flowing, and not just because something flowed before."""
    fault = "overheating_without_load"
    if run.dir != IDLE or run.first.tmax is None:
        module.warmth.clear()
        return
    span = 1000 * number(fault, "in_s")
    begin = run.first.ts - span
    if not (module.warmth and _same_degree(module, run)):
        older = [spot for spot in module.warmth if spot[0] <= begin]
        recent = [spot for spot in module.warmth if spot[0] > begin]
        module.warmth[:] = [*older[-1:], *recent, (run.first.ts, run.first.tmax)]
    at, warm = module.warmth[-1]
    rise = warm - min(before for _, before in module.warmth)
    if rise <= number(fault, "rise_dc") or at - module.flow[1] < 2 * span:
        return
    kept.add(fault)
    if fault not in module.standing:
        found = entered(module, profile, fault, _begins(run, run.first.ts), None)
        yield replace(found, value=float(rise), threshold=float(number(fault, "rise_dc")), value_unit="0.1 degC")


def _ours(module: Module, fault: str) -> bool:
    """Whether a fault stands because a rule of ours said so: what the device says, the device ends."""
    return fault in module.standing and module.standing[fault].origin == "derived"


def _same_degree(module: Module, run: Run) -> bool:
    """Whether the warmest sensor shows the degree of the reading before: a run that was only cut."""
    before, now = module.last, run.first
    return (
        before is not None and before.tmax is not None and now.tmax is not None and before.tmax // 10 == now.tmax // 10
    )


def _jumping(module: Module, run: Run, profile: Profile) -> Iterator[Event]:
    """One cell's reading leaps away and back, again and again, while the current is quiet.

    Cells that come together after a charge, or fall apart at its end, go one way: that is no lead.
    """
    fault, span = "cell_reading_erratic", 1000 * number("cell_reading_erratic", "in_s")
    if run.trip & _JUMP_BIT:
        recent = [at for at in module.jumps if abs(at) > run.last.ts - span]
        leap = run.first.ts if (run.first.jump or 0) > 0 else -run.first.ts
        module.jumps = (recent + [leap] * run.n)[-20:]
        away = sum(at > 0 for at in module.jumps)
        both = min(away, len(module.jumps) - away) >= number(fault, "each_way")
        if len(module.jumps) >= number(fault, "jumps") and both and fault not in module.standing:
            far = max((run.first, run.last, module.last or run.last), key=lambda sample: sample.off or 0)
            found = entered(module, profile, fault, _begins(run, abs(module.jumps[0])), None, until=run.last.ts)
            noise = max(abs(run.first.jump or 0), abs(run.last.jump or 0))
            found = replace(found, value=float(noise), threshold=float(number(fault, "noise_mv")), value_unit="mV")
            module.standing[fault] = of_cell(module.standing[fault], far.far_at)
            yield replace(found, cell=far.far_at)
    elif module.jumps and _ours(module, fault) and run.last.ts - abs(module.jumps[-1]) >= HOUR:
        yield left(module, fault, abs(module.jumps[-1]), run)


def _frozen_sensor(module: Module, run: Run, profile: Profile, kept: set[str]) -> Iterator[Event]:
    """One sensor says the same to the digit for a day while the others moved."""
    fault = "temperature_sensor_fault"
    if sum(value is not None for value in run.temps or ()) < 2:
        return
    moved = _degrees(run.temps) != _degrees([value for value, *_ in module.sensors])  # else a run that was only cut
    if moved:
        module.sensors = _followed(module, run)
    span, others = number(fault, "frozen_h") * HOUR, number(fault, "others_moved_dc")
    frozen = [
        i for i, (value, since, low, high) in enumerate(module.sensors)
        if value is not None and run.first.ts - since >= span and high - low >= others
    ]  # fmt: skip
    if not frozen:
        return
    if fault in module.standing:
        kept.add(fault)
    elif moved:
        kept.add(fault)
        found = entered(module, profile, fault, _begins(run, run.first.ts), None)
        value = float(module.sensors[frozen[0]][0] or 0)
        yield replace(found, value=value, value_unit="0.1 degC", evidence={**found.evidence, "sensor": frozen[0]})


def _degrees(temps: Sequence[int | None]) -> tuple[int, ...]:
    """The whole degrees of the warmest and the coldest sensor; one that stands still may be either, but not both."""
    low, high = PLAUSIBLE_DC
    known = [value for value in temps if value is not None and low <= value <= high]
    return (max(known) // 10, min(known) // 10) if known else ()


def _followed(module: Module, run: Run) -> list[tuple[int | None, int, int, int]]:
    """What each sensor says, since when, and between what the middle one was meanwhile."""
    known = sorted(value for value in run.temps if value is not None)
    middle = known[len(known) // 2]
    anew = (None, run.first.ts, middle, middle)
    before = module.sensors if len(module.sensors) == len(run.temps) else [anew] * len(run.temps)
    return [
        (value, since, min(low, middle), max(high, middle)) if value is not None and value == old
        else (value, run.first.ts, middle, middle)
        for value, (old, since, low, high) in zip(run.temps, before, strict=True)
    ]  # fmt: skip
