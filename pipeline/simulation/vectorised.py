"""A day of the fleet, step by step, over all modules and cells at once. `compiled` does the same, faster, with numba.

A step: what charger and BMS allow, how parallel modules share it, what that does to each cell, what the BMS makes of
it. One step lasts ten seconds at most: with longer ones the steep end of the curve trips the BMS for nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.simulation import laws
from pipeline.simulation.state import HOLD_S, OFF, PROTECTIONS, RESET_S, Build, Drive, Floats, Pace, State, Trace

_BITS = 1 << np.arange(63)


def live(build: Build, state: State, drive: Drive, trace: Trace, pace: Pace) -> None:
    """Live through a day: changes `state`, fills `trace`."""
    at = laws.slot(state.soc)
    for k in range(pace.steps):
        inner = laws.ocv(build.curve, at, state.soc) + build.hysteresis[:, None] * state.branch + state.slow
        kept = laws.slope(build.curve, at) * pace.seconds / (3600 * build.ah)
        ohm = build.fast * laws.cold(state.temp)[:, None]
        joined = build.present * (state.off_s <= 0)
        wanted = _allowed(build, state, (inner, ohm + kept, joined), drive.wanted[:, k])
        amps = _shared(build, state, (inner, ohm + kept, joined), wanted)
        at = _charge(build, state, amps, pace.seconds)
        volts = laws.ocv(build.curve, at, state.soc) + build.hysteresis[:, None] * state.branch + state.slow
        rest = volts.min(axis=1)
        volts += ohm * amps[:, None]
        watt = amps * amps * ohm.sum(axis=1)
        ambient = drive.ambient[build.stack, k]
        rate = laws.warmed(state.temp, watt, ambient, build.joule_per_k, build.cooling_s)
        state.temp[:] += rate * pace.seconds
        _protect(build, state, (volts, amps), pace.seconds)
        _balance(build, state, volts)
        _latch(build, state, (volts, rest, wanted, joined), drive.wanted[:, k])
        _count(build, state, amps, volts, pace.seconds)
        _note(state, trace, (volts, amps), (k, pace))


def _allowed(build: Build, state: State, feel: tuple[Floats, Floats, Floats], asked: Floats) -> Floats:
    """What each stack may take or give, A: charger's taper, the BMS's limits, full, empty, charging from the grid."""
    inner, ohm, joined = feel
    p, first = build.points, build.first[:-1]
    count = np.maximum(np.add.reduceat(joined, first), 1)
    rated = np.add.reduceat(build.rated * joined, first)
    wanted = np.where(state.topping > 0, np.maximum(asked, 0.05 * rated), asked)
    part = (wanted / count)[build.stack]
    mean = ohm.mean(axis=1)
    loaded = inner + ohm * part[:, None]
    heeds = build.obeys[build.stack] > 0
    lowest = np.where(heeds, loaded.min(axis=1), loaded.mean(axis=1))
    top, low = loaded.max(axis=1) - mean * part, lowest - mean * part
    bms = laws.tapered(np.maximum(part, 0), p.derate_end - top, p.derate_end - p.derate, mean)
    bms = np.where(heeds & (joined > 0), bms, np.inf)
    give = laws.tapered(np.maximum(-part, 0), low - p.low_end, p.low - p.low_end, mean)
    give = np.where(joined > 0, give, np.inf)
    stack_inner = np.add.reduceat(inner.mean(axis=1) * joined, first) / count
    stack_ohm = np.add.reduceat(mean * joined, first) / count
    window = build.charge_v - np.minimum(p.taper, build.charge_v - 0.07)
    charger = laws.tapered(np.maximum(wanted / count, 0), build.charge_v - stack_inner, window, stack_ohm)
    take = np.minimum(charger, np.minimum.reduceat(bms, first)) * (1 - state.full)
    give = np.minimum.reduceat(give, first)
    give = np.where(np.isinf(give), 0.0, give) * (1 - state.empty)
    take = np.minimum(take * count, _open(build, state, joined))
    there = np.add.reduceat(joined, first) > 0
    allowed: Floats = np.where(there, np.where(wanted > 0, take, -give * count), 0.0)
    return allowed


def _open(build: Build, state: State, joined: Floats) -> Floats:
    """What the modules of each stack whose charging path is open ask for at most, A; who asks no BMS knows no bound."""
    cut = ((state.age >= 0) * build.cuts_charge).any(axis=1)
    asks = np.add.reduceat(0.9 * build.limit * joined * ~cut, build.first[:-1])
    bound: Floats = np.where(build.obeys > 0, asks, np.inf)
    return bound


def _shared(build: Build, state: State, feel: tuple[Floats, Floats, Floats], wanted: Floats) -> Floats:
    """The current of each module, A: parallel modules share by voltage and resistance; a cut path takes none."""
    inner, ohm, joined = feel
    stood = state.age >= 0
    charge_cut = (stood * build.cuts_charge).any(axis=1)
    discharge_cut = (stood * (1 - build.cuts_charge)).any(axis=1)
    volts, eases = inner.sum(axis=1), joined / (ohm.sum(axis=1) + build.wire)
    amps: Floats = eases * (_bus(build, volts, eases, wanted) - volts)
    eases = eases * ~(((amps > 0) & charge_cut) | ((amps < 0) & discharge_cut))
    amps = eases * (_bus(build, volts, eases, wanted) - volts)
    amps[((amps > 0) & charge_cut) | ((amps < 0) & discharge_cut)] = 0.0
    return amps


def _bus(build: Build, volts: Floats, eases: Floats, wanted: Floats) -> Floats:
    """The voltage of each module's bus that makes its stack's currents add up."""
    first = build.first[:-1]
    total = np.maximum(np.add.reduceat(eases, first), 1e-9)
    bus: Floats = ((wanted + np.add.reduceat(eases * volts, first)) / total)[build.stack]
    return bus


def _charge(build: Build, state: State, amps: Floats, seconds: float) -> Any:
    """Move the cells' charge and what lags behind it. Returns where on the curve they are now."""
    inside = (amps - build.draw)[:, None] - state.bled - build.leak
    state.soc[:] += inside * seconds / (3600 * build.ah)
    ohm = build.slow * laws.cold(state.temp)[:, None]
    state.slow[:] = laws.relaxed(state.slow, inside, ohm, build.stays[:, None])
    state.branch[:] = laws.lagged(state.branch, inside, build.ah, seconds)
    return laws.slot(state.soc)


def _protect(build: Build, state: State, feel: tuple[Floats, Floats], seconds: float) -> None:
    """Trip, hold, release; a latched protection waits until somebody resets the BMS."""
    volts, amps = feel
    top, low, temp, rate = volts.max(axis=1), volts.min(axis=1), state.temp, amps / build.limit
    sensed = np.stack([top, low, temp, temp, temp, temp, rate, -rate], axis=1) * build.sides
    held = np.where(state.age >= 0, state.age + seconds, -1.0)
    latched = (build.reset_after_s > 0)[:, None]
    released = (held >= HOLD_S) & (sensed < build.releases * build.sides) & ~latched
    trips = (sensed > build.trips * build.sides) & (build.present > 0)[:, None] & (state.off_s <= 0)[:, None]
    held = np.where(released, -1.0, np.where((held < 0) & trips, 0.0, held))
    reset = latched[:, 0] & (held.max(axis=1) >= build.reset_after_s)
    state.age[:] = np.where(reset[:, None], -1.0, held)
    state.off_s[:] = np.where(reset, RESET_S, np.maximum(state.off_s - seconds, 0.0))


def _balance(build: Build, state: State, volts: Floats) -> None:
    """Which cells are bled from the next step on, and whose charge is shuttled."""
    p = build.points
    low, top = volts.min(axis=1), volts.max(axis=1)
    over = (volts > p.balance) & (volts > (low + p.balance_over)[:, None])
    state.bled[:] = over * build.bleed[:, None]
    rows = np.flatnonzero((build.shuttle > 0) & (top > p.balance) & (top > low + p.balance_over))
    state.bled[rows, volts[rows].argmax(axis=1)] += build.shuttle[rows]
    state.bled[rows, volts[rows].argmin(axis=1)] -= 0.9 * build.shuttle[rows]


def _latch(build: Build, state: State, feel: tuple[Floats, Floats, Floats, Floats], asked: Floats) -> None:
    """Full and empty last until the battery is clearly neither; so does charging from the grid."""
    volts, rest, wanted, joined = feel
    p, first = build.points, build.first[:-1]
    count = np.maximum(np.add.reduceat(joined, first), 1)
    rated = np.maximum(np.add.reduceat(build.rated * joined, first), 1e-6)
    mean = np.add.reduceat(volts.mean(axis=1) * joined, first) / count
    top = np.maximum.reduceat(volts.max(axis=1) * joined, first)
    low = np.minimum.reduceat(np.where(joined > 0, rest, np.inf), first)
    ends = (asked > 0) & (wanted < 0.03 * rated) & ((mean > p.full_mean) | (top > p.full_top))
    state.full[:] = np.where(state.full > 0, mean >= p.full_release, ends)
    stops = (asked < 0) & (wanted <= 0) & (wanted > -0.02 * rated) & (wanted > asked)
    state.empty[:] = np.where(state.empty > 0, low < p.empty_release, stops)
    starts = (low < p.top_up) & (build.tops_up > 0)
    state.topping[:] = np.where(state.topping > 0, low < p.top_up_end, starts)


def _count(build: Build, state: State, amps: Floats, volts: Floats, seconds: float) -> None:
    """The BMS counts charge with its own errors and starts anew where it knows: full and empty."""
    p = build.points
    counted = state.counted + (amps * build.gain + build.offset_a + build.counter_a) * seconds / (3600 * build.rated)
    sure = build.recalibrates > 0
    full = sure & (state.full[build.stack] > 0) & (volts.mean(axis=1) > p.taper)
    empty = sure & (volts.min(axis=1) < p.low)
    counted = np.where(full, 1.0, np.where(empty, np.minimum(counted, 0.03), counted))
    state.counted[:] = np.minimum(np.maximum(counted, 0.0), 1.0)


def _note(state: State, trace: Trace, feel: tuple[Floats, Floats], when: tuple[int, Pace]) -> None:
    """Write the step down, and the sample if it ends one."""
    volts, amps = feel
    k, pace = when
    trace.flags[:, k] = (state.age >= 0) @ _BITS[:PROTECTIONS] + OFF * (state.off_s > 0)
    trace.moved[:] += np.abs(amps) * pace.seconds / 3600
    trace.net[:] += amps * pace.seconds / 3600
    if (k + 1) % pace.every == 0:
        j = k // pace.every
        trace.volts[:, j] = volts
        trace.amps[:, j] = amps
        trace.temp[:, j] = state.temp
        trace.counted[:, j] = state.counted
        trace.soc[:, j] = state.soc.mean(axis=1)
        trace.balancing[:, j] = (state.bled != 0) @ _BITS[: volts.shape[1]]
