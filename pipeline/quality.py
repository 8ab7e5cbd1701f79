"""How far a module's day can be trusted: the bits of `module_day.dq` and what each says."""

from __future__ import annotations

from enum import IntFlag


class Quality(IntFlag):
    """Data-quality bits of one module and day. Their values are stored: add at the end, never renumber."""

    GAP = 1 << 0
    STUCK_SOC = 1 << 1
    SOC_JUMP = 1 << 2
    SOC_DRIFT = 1 << 3
    STUCK_T = 1 << 4
    T_OUT = 1 << 5
    V_SUM = 1 << 6
    V_OUT = 1 << 7
    I_OFFSET = 1 << 8
    I_ZERO = 1 << 9
    CLOCK = 1 << 10
    N_CELLS = 1 << 11
    FROZEN = 1 << 12
    RATE = 1 << 13
    I_GAIN = 1 << 14


SAID: dict[Quality, str] = {
    Quality.GAP: "readings are missing",
    Quality.STUCK_SOC: "the state of charge stands still although charge flows",
    Quality.SOC_JUMP: "the state of charge jumps",
    Quality.SOC_DRIFT: "the state of charge shown does not fit the cells or the charge that passed",
    Quality.STUCK_T: "a temperature stands still while the others move",
    Quality.T_OUT: "a temperature is out of any range, far from the others, or jumps",
    Quality.V_SUM: "the cells do not add up to the module's voltage",
    Quality.V_OUT: "a cell voltage is out of any range",
    Quality.I_OFFSET: "the current is off by a constant",
    Quality.I_ZERO: "the current reads zero while the voltage moves",
    Quality.CLOCK: "the clock was wrong, or a time came twice",
    Quality.N_CELLS: "cells come and go",
    Quality.FROZEN: "the cells stand still while current flows",
    Quality.RATE: "readings came at another pace than before",
    Quality.I_GAIN: "the current is off by a factor",
}

CELLS_DOUBTFUL = Quality.V_SUM | Quality.V_OUT | Quality.N_CELLS | Quality.FROZEN
"""With any of these a verdict on cells is withheld."""

GATES: dict[str, Quality] = {
    "capacity": Quality.GAP | Quality.CLOCK | Quality.I_ZERO | Quality.RATE | Quality.N_CELLS,
    "resistance": Quality.FROZEN | Quality.V_OUT | Quality.I_ZERO | Quality.CLOCK,
    "jumps": Quality.FROZEN | Quality.V_OUT,
    "cells": CELLS_DOUBTFUL,
    "soc_bands": Quality.STUCK_SOC | Quality.SOC_DRIFT | Quality.SOC_JUMP,
    "efficiency": Quality.GAP | Quality.CLOCK | Quality.I_ZERO | Quality.I_OFFSET | Quality.I_GAIN,
    "temperature": Quality.STUCK_T | Quality.T_OUT,
}
"""Which bits forbid a day to which estimator; with those of soc_bands a band is told by voltage alone."""

POOR = Quality.GAP | Quality.CLOCK | Quality.I_ZERO | Quality.FROZEN | Quality.V_OUT | Quality.V_SUM | Quality.N_CELLS


def grade(dq: int) -> str:
    """good: nothing to object to; poor: cells, currents or times cannot be trusted; fair: anything else."""
    if dq & POOR:
        return "poor"
    return "fair" if dq else "good"


def open_to(estimator: str, dq: int) -> bool:
    """Whether a day with these bits may be used by an estimator of GATES."""
    return not dq & GATES[estimator]


def said(dq: int) -> list[str]:
    """What the bits mean, for people."""
    return [text for bit, text in SAID.items() if dq & bit]
