"""The steps of `vectorised` as loops that numba compiles: the same laws in the same order, stack by stack.

Which thing a function decides, and why, stands beside its namesake there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from numba import njit

from pipeline.simulation import laws
from pipeline.simulation.state import HOLD_S, OFF, PROTECTIONS, RESET_S, Build, Drive, Pace, State, Trace

F = TypeVar("F", bound=Callable[..., Any])


def _fast(function: F) -> F:
    return cast(F, njit(cache=True, nogil=True, error_model="numpy", forceinline=True)(function))


_slot, _ocv, _slope, _cold = _fast(laws.slot), _fast(laws.ocv), _fast(laws.slope), _fast(laws.cold)
_relaxed, _lagged, _warmed, _tapered = _fast(laws.relaxed), _fast(laws.lagged), _fast(laws.warmed), _fast(laws.tapered)


def live(build: Build, state: State, drive: Drive, trace: Trace, pace: Pace) -> None:
    """Live through a day: changes `state`, fills `trace`."""
    _live(build, state, drive, trace, pace)


@_fast
def _live(build: Any, state: Any, drive: Any, trace: Any, pace: Any) -> None:
    modules, cells = state.soc.shape
    inner, ohm, volts = np.empty((modules, cells)), np.empty((modules, cells)), np.empty((modules, cells))
    kept = np.empty((modules, cells))
    for m in range(modules):
        for c in range(cells):
            _settle(build, state, (inner, kept), (m, c), pace.seconds)
    feel = np.empty((modules, 8))
    amps = np.zeros(modules)
    for stack in range(len(build.first) - 1):
        span = (build.first[stack], build.first[stack + 1])
        for k in range(pace.steps):
            asked = drive.wanted[stack, k]
            for m in range(span[0], span[1]):
                _feel(build, state, (inner, ohm, kept, feel), m)
            wanted = _allowed(build, state, (inner, ohm, feel), (stack, span[0], span[1]), asked)
            _shared(build, state, (feel, amps), span, wanted)
            for m in range(span[0], span[1]):
                _charge(build, state, (m, amps[m], pace.seconds), (volts, inner, kept), feel)
                ambient = drive.ambient[stack, k]
                watt = amps[m] * amps[m] * feel[m, 1]
                warmth = _warmed(state.temp[m], watt, ambient, build.joule_per_k[m], build.cooling_s[m])
                state.temp[m] += warmth * pace.seconds
                _protect(build, state, feel, (m, amps[m], pace.seconds))
                _balance(build, state, volts, feel, m)
            _latch(build, state, feel, (stack, span[0], span[1]), (asked, wanted))
            for m in range(span[0], span[1]):
                _count(build, state, feel, (m, amps[m], pace.seconds))
                _note(state, trace, volts, (m, amps[m], k), pace)


# What _feel and _charge leave of a module in `feel`: sums and extremes over its cells.
# 0 mean V inside, 1 ohm, 2 ohm by the step's end, 3 joined, 4 highest V, 5 lowest V, 6 mean V, 7 lowest V at rest


@_fast
def _feel(build: Any, state: Any, out: Any, m: int) -> None:
    inner, ohm, kept, feel = out
    cells = inner.shape[1]
    colder = _cold(state.temp[m])
    volts = fast = end = 0.0
    for c in range(cells):
        volts += inner[m, c]
        now = build.fast[m, c] * colder
        ohm[m, c] = now + kept[m, c]
        fast += now
        end += ohm[m, c]
    feel[m, 0], feel[m, 1], feel[m, 2] = volts / cells, fast, end
    feel[m, 3] = build.present[m] * (state.off_s[m] <= 0)


@_fast
def _settle(build: Any, state: Any, out: Any, cell: Any, seconds: float) -> None:
    inner, kept = out
    m, c = cell
    soc = state.soc[m, c]
    at = _slot(soc)
    inner[m, c] = _ocv(build.curve, at, soc) + build.hysteresis[m] * state.branch[m, c] + state.slow[m, c]
    kept[m, c] = _slope(build.curve, at) * seconds / (3600 * build.ah[m, c])


@_fast
def _allowed(build: Any, state: Any, of: Any, where: Any, asked: Any) -> Any:
    inner, ohm, feel = of
    stack, first, last = where
    p, cells = build.points, inner.shape[1]
    there = rated = stack_inner = stack_ohm = 0.0
    for m in range(first, last):
        there += feel[m, 3]
        rated += build.rated[m] * feel[m, 3]
        stack_inner += feel[m, 0] * feel[m, 3]
        stack_ohm += feel[m, 2] / cells * feel[m, 3]
    if there == 0:
        return 0.0
    wanted = max(asked, 0.05 * rated) if state.topping[stack] > 0 else asked
    part = wanted / there
    take = give = np.inf
    asks = 0.0 if build.obeys[stack] > 0 else np.inf
    for m in range(first, last):
        if feel[m, 3] == 0:
            continue
        mean, top, low, total = feel[m, 2] / cells, -np.inf, np.inf, 0.0
        for c in range(cells):
            loaded = inner[m, c] + ohm[m, c] * part
            top, low = max(top, loaded), min(low, loaded)
            total += loaded
        if build.obeys[stack] > 0:
            room = p.derate_end - (top - mean * part)
            take = min(take, _tapered(max(part, 0.0), room, p.derate_end - p.derate, mean))
            asks += 0.0 if _cut(build, state, m, True) else 0.9 * build.limit[m]
        else:
            low = total / cells
        give = min(give, _tapered(max(-part, 0.0), low - mean * part - p.low_end, p.low - p.low_end, mean))
    charge_v = build.charge_v[stack]
    window = charge_v - min(p.taper, charge_v - 0.07)
    take = min(take, _tapered(max(part, 0.0), charge_v - stack_inner / there, window, stack_ohm / there))
    if wanted > 0:
        return min(take * (1 - state.full[stack]) * there, asks)
    return -give * (1 - state.empty[stack]) * there


@_fast
def _cut(build: Any, state: Any, m: int, charging: bool) -> bool:
    for i in range(PROTECTIONS):  # noqa: SIM110 - numba knows no any() over a generator
        if state.age[m, i] >= 0 and (build.cuts_charge[i] > 0) == charging:
            return True
    return False


@_fast
def _shared(build: Any, state: Any, of: Any, span: Any, wanted: float) -> None:
    feel, amps = of
    first, last = span
    cells = state.soc.shape[1]
    eases = np.ones(last - first)
    bus = _bus(build, feel, span, wanted, eases)
    for m in range(first, last):
        amps[m] = feel[m, 3] / (feel[m, 2] + build.wire[m]) * (bus - feel[m, 0] * cells)
        if amps[m] != 0 and _cut(build, state, m, amps[m] > 0):
            eases[m - first] = 0.0
    bus = _bus(build, feel, span, wanted, eases)
    for m in range(first, last):
        ease = feel[m, 3] / (feel[m, 2] + build.wire[m]) * eases[m - first]
        amps[m] = ease * (bus - feel[m, 0] * cells)
        if amps[m] != 0 and _cut(build, state, m, amps[m] > 0):
            amps[m] = 0.0


@_fast
def _bus(build: Any, feel: Any, span: Any, wanted: Any, eases: Any) -> Any:
    total = driven = 0.0
    cells = build.ah.shape[1]
    for m in range(span[0], span[1]):
        ease = feel[m, 3] / (feel[m, 2] + build.wire[m]) * eases[m - span[0]]
        total += ease
        driven += ease * feel[m, 0] * cells
    return (wanted + driven) / max(total, 1e-9)


@_fast
def _charge(build: Any, state: Any, step: Any, out: Any, feel: Any) -> None:
    volts, inner, kept = out
    m, amps, seconds = step
    cells = volts.shape[1]
    colder = _cold(state.temp[m])
    top, low, rest, total = -np.inf, np.inf, np.inf, 0.0
    for c in range(cells):
        inside = amps - build.draw[m] - state.bled[m, c] - build.leak[m, c]
        state.soc[m, c] += inside * seconds / (3600 * build.ah[m, c])
        slow = build.slow[m, c] * colder
        state.slow[m, c] = _relaxed(state.slow[m, c], inside, slow, build.stays[m])
        state.branch[m, c] = _lagged(state.branch[m, c], inside, build.ah[m, c], seconds)
        _settle(build, state, (inner, kept), (m, c), seconds)
        open_v = inner[m, c]
        volts[m, c] = open_v + build.fast[m, c] * colder * amps
        top, low, rest = max(top, volts[m, c]), min(low, volts[m, c]), min(rest, open_v)
        total += volts[m, c]
    feel[m, 4], feel[m, 5], feel[m, 6], feel[m, 7] = top, low, total / cells, rest


@_fast
def _protect(build: Any, state: Any, feel: Any, step: Any) -> None:
    m, amps, seconds = step
    rate, temp = amps / build.limit[m], state.temp[m]
    sensed = (feel[m, 4], feel[m, 5], temp, temp, temp, temp, rate, -rate)
    awake = build.present[m] > 0 and state.off_s[m] <= 0
    latched = build.reset_after_s[m] > 0
    oldest = -1.0
    for i in range(PROTECTIONS):
        value = sensed[i] * build.sides[i]
        age = state.age[m, i]
        if age >= 0:
            age += seconds
            if age >= HOLD_S and value < build.releases[i] * build.sides[i] and not latched:
                age = -1.0
        elif value > build.trips[i] * build.sides[i] and awake:
            age = 0.0
        state.age[m, i] = age
        oldest = max(oldest, age)
    if latched and oldest >= build.reset_after_s[m]:
        state.age[m] = -1.0
        state.off_s[m] = RESET_S
    else:
        state.off_s[m] = max(state.off_s[m] - seconds, 0.0)


@_fast
def _balance(build: Any, state: Any, volts: Any, feel: Any, m: int) -> None:
    p, top, low = build.points, feel[m, 4], feel[m, 5]
    highest = lowest = 0
    for c in range(volts.shape[1]):
        v = volts[m, c]
        state.bled[m, c] = build.bleed[m] if v > p.balance and v > low + p.balance_over else 0.0
        if v > volts[m, highest]:
            highest = c
        if v < volts[m, lowest]:
            lowest = c
    if build.shuttle[m] > 0 and top > p.balance and top > low + p.balance_over:
        state.bled[m, highest] += build.shuttle[m]
        state.bled[m, lowest] -= 0.9 * build.shuttle[m]


@_fast
def _latch(build: Any, state: Any, feel: Any, where: Any, flow: Any) -> None:
    stack, first, last = where
    asked, wanted = flow
    p = build.points
    there = rated = mean = top = 0.0
    low = np.inf
    for m in range(first, last):
        there += feel[m, 3]
        rated += build.rated[m] * feel[m, 3]
        mean += feel[m, 6] * feel[m, 3]
        top = max(top, feel[m, 4] * feel[m, 3])
        if feel[m, 3] > 0:
            low = min(low, feel[m, 7])
    mean, rated = mean / max(there, 1.0), max(rated, 1e-6)
    if state.full[stack] > 0:
        state.full[stack] = 1.0 if mean >= p.full_release else 0.0
    elif asked > 0 and wanted < 0.03 * rated and (mean > p.full_mean or top > p.full_top):
        state.full[stack] = 1.0
    if state.empty[stack] > 0:
        state.empty[stack] = 1.0 if low < p.empty_release else 0.0
    elif asked < 0 and wanted <= 0 and wanted > -0.02 * rated and wanted > asked:
        state.empty[stack] = 1.0
    if state.topping[stack] > 0:
        state.topping[stack] = 1.0 if low < p.top_up_end else 0.0
    elif low < p.top_up and build.tops_up[stack] > 0:
        state.topping[stack] = 1.0


@_fast
def _count(build: Any, state: Any, feel: Any, step: Any) -> None:
    m, amps, seconds = step
    p = build.points
    told = amps * build.gain[m] + build.offset_a[m] + build.counter_a[m]
    counted = state.counted[m] + told * seconds / (3600 * build.rated[m])
    if build.recalibrates[m] > 0:
        if state.full[build.stack[m]] > 0 and feel[m, 6] > p.taper:
            counted = 1.0
        elif feel[m, 5] < p.low:
            counted = min(counted, 0.03)
    state.counted[m] = min(max(counted, 0.0), 1.0)


@_fast
def _note(state: Any, trace: Any, volts: Any, step: Any, pace: Any) -> None:
    m, amps, k = step
    flags = OFF if state.off_s[m] > 0 else 0
    for i in range(PROTECTIONS):
        if state.age[m, i] >= 0:
            flags |= 1 << i
    trace.flags[m, k] = flags
    trace.moved[m] += abs(amps) * pace.seconds / 3600
    trace.net[m] += amps * pace.seconds / 3600
    if (k + 1) % pace.every:
        return
    j, mask, soc = k // pace.every, 0, 0.0
    for c in range(volts.shape[1]):
        trace.volts[m, j, c] = volts[m, c]
        soc += state.soc[m, c]
        if state.bled[m, c] != 0:
            mask |= 1 << c
    trace.amps[m, j], trace.temp[m, j], trace.counted[m, j] = amps, state.temp[m], state.counted[m]
    trace.soc[m, j], trace.balancing[m, j] = soc / volts.shape[1], mask
