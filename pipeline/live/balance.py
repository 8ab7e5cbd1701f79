"""A cell that is off counts as failed only after the balance sessions that its brand grants it.

EcoFlow: charge to full and leave it on the charger, up to three times; what is still 100 mV off then has failed.
"""

from __future__ import annotations

from pipeline.limits import HOUR
from pipeline.live.features import Run
from pipeline.live.levels import levels, number
from pipeline.live.profile import Profile
from pipeline.live.state import Module

FULL_PM = 990
_BIT = {level.fault: 1 << place for place, level in enumerate(levels())}
FAILING, APART = _BIT["cell_group_failing"], _BIT["cell_imbalance_warning"]


def after_sessions(module: Module, run: Run, profile: Profile, *, hole: bool) -> Run:
    """The run as such a brand judges it: a cell that is off is an imbalance until the sessions are over.

    A session is a stay at full of `float_h` hours; they count from when the cell was first seen off, and anew for
    another cell. Changes `module`.
    """
    if not profile.failing_sessions or run.bad_clock:
        return run
    _count(module, run, hole=hole)
    cell = run.first.far_at
    if run.trip & FAILING and cell is not None and (module.apart is None or module.apart[0] != cell):
        module.apart = (cell, 0)
    elif run.clear & FAILING:
        module.apart = None
    clear = run.clear if run.faults is None else run.clear & ~APART | (APART if run.clear & FAILING else 0)
    if not run.trip & FAILING or (module.apart is not None and module.apart[1] >= profile.failing_sessions):
        return run._replace(clear=clear)
    return run._replace(trip=run.trip & ~FAILING | APART, clear=clear)


def _count(module: Module, run: Run, *, hole: bool) -> None:
    full = (run.first.soc_pm or 0) >= FULL_PM and run.dir != -1
    if module.full_since and (hole or not full):
        stayed = (module.last.ts if module.last else 0) - module.full_since
        if module.apart is not None and stayed >= number("cell_imbalance_warning", "float_h") * HOUR:
            module.apart = (module.apart[0], module.apart[1] + 1)
        module.full_since = 0
    if full and not module.full_since:
        module.full_since = run.first.ts
