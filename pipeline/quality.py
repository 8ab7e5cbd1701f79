"""How far a module's day can be trusted: the bits of `module_day.dq` and what each says."""

from __future__ import annotations

from enum import IntFlag


class Quality(IntFlag):
    """Data-quality bits of one module and day. Their values are stored: add at the end, never renumber."""

    GAP = 1 << 0
    STUCK_SOC = 1 << 1
    SOC_JUMP = 1 << 2
    SOC_DRIFT = 1 << 3
    T_OUT = 1 << 5
    V_SUM = 1 << 6
    V_OUT = 1 << 7
    CLOCK = 1 << 10
    N_CELLS = 1 << 11


SAID: dict[Quality, str] = {
    Quality.GAP: "readings are missing",
    Quality.STUCK_SOC: "the state of charge stands still although charge flows",
    Quality.SOC_JUMP: "the state of charge jumps",
    Quality.SOC_DRIFT: "the module says 100 % while it is not full",
    Quality.T_OUT: "a temperature is out of any range",
    Quality.V_SUM: "the cells do not add up to the module's voltage",
    Quality.V_OUT: "a cell voltage is out of any range",
    Quality.CLOCK: "the clock was wrong, or a time came twice",
    Quality.N_CELLS: "cells come and go",
}

CELLS_DOUBTFUL = Quality.V_SUM | Quality.V_OUT | Quality.N_CELLS
"""With any of these a verdict on cells is withheld."""


def said(dq: int) -> list[str]:
    """What the bits mean, for people."""
    return [text for bit, text in SAID.items() if dq & bit]
