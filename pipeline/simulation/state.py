"""What the stepping works with: named arrays that NumPy and numba both take. M modules, N cells, S stacks, K steps."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.int64]

PROTECTIONS = 8
OFF = 1 << PROTECTIONS
"""Beside the protections' bits in `Trace.flags`: the BMS is off for a reset and says nothing."""
HOLD_S = 60.0
"""A protection holds at least so long."""
RESET_S = 180.0
"""How long a BMS is off when somebody resets it."""


class Build(NamedTuple):
    """What does not change during a day.

    cells (M, N): ah; fast, slow = ohm at 25 degC; leak = A lost inside.
    modules (M): stays = share of the slow drop kept in a step; hysteresis V; joule_per_k; cooling_s; wire ohm;
    rated A; limit A (discharge and charge); bleed A off a high cell; shuttle A from the highest to the lowest;
    draw A of the BMS itself; gain, offset_a of its shunt, counter_a more in
    its counter; recalibrates 0/1; present 0/1; reset_after_s (0 = its
    protections release by themselves); stack = index.
    stacks: first (S + 1) module of each; charge_v; obeys, tops_up 0/1.
    chemistry: curve; points, see chemistry.Chemistry; sides, trips, releases, cuts_charge of the protections.
    """

    ah: Floats
    fast: Floats
    slow: Floats
    leak: Floats
    stays: Floats
    hysteresis: Floats
    joule_per_k: Floats
    cooling_s: Floats
    wire: Floats
    rated: Floats
    limit: Floats
    bleed: Floats
    shuttle: Floats
    draw: Floats
    gain: Floats
    offset_a: Floats
    counter_a: Floats
    recalibrates: Floats
    present: Floats
    reset_after_s: Floats
    stack: Integers
    first: Integers
    charge_v: Floats
    obeys: Floats
    tops_up: Floats
    curve: Floats
    points: Any
    sides: Floats
    trips: Floats
    releases: Floats
    cuts_charge: Floats


class Points(NamedTuple):
    """Voltages of the chemistry at which somebody acts, V a cell."""

    taper: float
    derate: float
    derate_end: float
    low: float
    low_end: float
    full_mean: float
    full_top: float
    full_release: float
    empty_release: float
    top_up: float
    top_up_end: float
    balance: float
    balance_over: float


class State(NamedTuple):
    """What a step changes. cells (M, N): soc, slow = V, branch = hysteresis -1..1, bled A. modules (M): temp degC,
    counted = the BMS's state of charge, off_s = seconds left of a reset; age (M, PROTECTIONS) = seconds a protection
    stands, -1 if it does not. stacks (S): full, empty, topping 0/1.
    """

    soc: Floats
    slow: Floats
    branch: Floats
    bled: Floats
    temp: Floats
    counted: Floats
    off_s: Floats
    age: Floats
    full: Floats
    empty: Floats
    topping: Floats


class Drive(NamedTuple):
    """What comes from outside in each step (S, K): wanted A of a stack, charging positive; ambient degC."""

    wanted: Floats
    ambient: Floats


class Trace(NamedTuple):
    """What is written down. Samples (M, J[, N]): volts, amps, temp, counted, soc (mean), balancing (mask).

    flags (M, K): standing protections as bits, and OFF. Sums of the day: moved Ah either way, net Ah (M).
    """

    volts: NDArray[np.float32]
    amps: Floats
    temp: Floats
    counted: Floats
    soc: Floats
    balancing: Integers
    flags: NDArray[np.uint16]
    moved: Floats
    net: Floats


class Pace(NamedTuple):
    """Seconds of a step, steps of a sample, and steps of the day."""

    seconds: float
    every: int
    steps: int


def trace(modules: int, cells: int, pace: Pace) -> Trace:
    """An empty trace of a day."""
    samples = pace.steps // pace.every
    single = (modules, samples)
    return Trace(
        volts=np.zeros((modules, samples, cells), np.float32),
        amps=np.zeros(single),
        temp=np.zeros(single),
        counted=np.zeros(single),
        soc=np.zeros(single),
        balancing=np.zeros(single, np.int64),
        flags=np.zeros((modules, pace.steps), np.uint16),
        moved=np.zeros(modules),
        net=np.zeros(modules),
    )
