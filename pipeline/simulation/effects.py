"""What a flaw changes in the battery or its surroundings. What it changes in the readings only is in `readings`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from pipeline.simulation.plan import Flaw, FleetPlan
from pipeline.simulation.seeds import stream
from pipeline.simulation.state import Build, Drive, State


@dataclass(frozen=True, slots=True)
class Scene:
    """A day before it is lived: everything a flaw may touch. The arrays are this day's own."""

    plan: FleetPlan
    day: int
    build: Build
    state: State
    drive: Drive


Effect: TypeAlias = Callable[[Scene, Flaw, int], None]
"""Told the scene, the flaw and the module's place in the scene."""


def disturb(scene: Scene, flaws: tuple[Flaw, ...], fresh: frozenset[Flaw]) -> None:
    """Let the flaws that there are do their work; `fresh` ones are there since today."""
    for flaw in flaws:
        at = flaw.module - scene.plan.first
        if flaw.kind in LASTING:
            LASTING[flaw.kind](scene, flaw, at)
        if flaw in fresh and flaw.kind in SUDDEN:
            SUDDEN[flaw.kind](scene, flaw, at)


def _low_capacity(scene: Scene, flaw: Flaw, at: int) -> None:
    scene.build.ah[at, flaw.cell] *= 1 - flaw.size


def _as_full(scene: Scene, flaw: Flaw, at: int) -> None:
    """What the small cell lacks to be full is what it lacked before: balancing at the top goes by that."""
    cell = flaw.cell or 0
    left = 1 - (1 - float(scene.state.soc[at, cell])) / (1 - flaw.size)
    scene.state.soc[at, cell] = max(left, 0.02)


def _high_resistance(scene: Scene, flaw: Flaw, at: int) -> None:
    scene.build.fast[at, flaw.cell] *= flaw.size


def _leak(scene: Scene, flaw: Flaw, at: int) -> None:
    scene.build.leak[at, flaw.cell] += flaw.size


def _lacking(scene: Scene, flaw: Flaw, at: int) -> None:
    cell = flaw.cell or 0
    scene.state.soc[at, cell] = max(scene.state.soc[at, cell] - flaw.size, 0.02)


def _unbalanced(scene: Scene, _flaw: Flaw, at: int) -> None:
    scene.build.bleed[at] = scene.build.shuttle[at] = 0.0


def _miscounting(scene: Scene, flaw: Flaw, at: int) -> None:
    scene.build.recalibrates[at] = 0.0
    scene.build.counter_a[at] += flaw.size


def _smaller(scene: Scene, flaw: Flaw, at: int) -> None:
    scene.build.ah[at] *= 1 - flaw.size


def _other_model(scene: Scene, flaw: Flaw, at: int) -> None:
    for values in (scene.build.ah, scene.build.rated, scene.build.limit, scene.build.joule_per_k):
        values[at] *= flaw.size
    for values in (scene.build.fast, scene.build.slow, scene.build.wire):
        values[at] /= flaw.size


def _high_charger(scene: Scene, flaw: Flaw, at: int) -> None:
    stack = scene.build.stack[at]
    scene.build.charge_v[stack] = flaw.size
    scene.build.obeys[stack] = 0.0


def _deaf(scene: Scene, flaw: Flaw, at: int) -> None:
    stack = scene.build.stack[at]
    scene.build.charge_v[stack] += flaw.size
    scene.build.obeys[stack] = 0.0


def _reset(scene: Scene, flaw: Flaw, at: int) -> None:
    _high_charger(scene, flaw, at)
    first, last = scene.build.first[scene.build.stack[at]], scene.build.first[scene.build.stack[at] + 1]
    wait = stream(scene.plan.seed, "reset", flaw.module, scene.day).uniform(1200, 5400)
    scene.build.reset_after_s[first:last] = wait


def _place(scene: Scene, flaw: Flaw, at: int) -> None:
    own = scene.drive.ambient[scene.build.stack[at]]
    own += flaw.size - own.mean()


def _surges(scene: Scene, flaw: Flaw, at: int) -> None:
    """About six times a day, for ten to thirty seconds, where the battery has charge to give."""
    stack = scene.build.stack[at]
    own, draw = scene.drive.wanted[stack], stream(scene.plan.seed, "surge", flaw.module, scene.day)
    limit = scene.build.limit[scene.build.first[stack] : scene.build.first[stack + 1]].sum()
    steps = own.size
    for start in draw.integers(steps, size=draw.poisson(6)):
        own[start : start + int(draw.integers(1, 4))] = -flaw.size * limit


def _in_store(scene: Scene, flaw: Flaw, at: int) -> None:
    stack = scene.build.stack[at]
    scene.drive.wanted[stack] = 0.0
    scene.build.tops_up[stack] = 0.0
    scene.build.draw[scene.build.first[stack] : scene.build.first[stack + 1]] += flaw.size


def _nearly_empty(scene: Scene, _flaw: Flaw, at: int) -> None:
    stack = scene.build.stack[at]
    members = slice(scene.build.first[stack], scene.build.first[stack + 1])
    scene.state.soc[members] += 0.12 - scene.state.soc[members].mean()
    scene.state.counted[members] = 0.12


def _silent(scene: Scene, _flaw: Flaw, at: int) -> None:
    scene.build.present[at] = 0.0


def _long_cable(scene: Scene, flaw: Flaw, at: int) -> None:
    scene.build.wire[at] += flaw.size


def _away(scene: Scene, flaw: Flaw, at: int) -> None:
    if scene.day < flaw.onset + round(flaw.size):
        scene.build.present[at] = 0.0


LASTING: dict[str, Effect] = {
    "low_capacity": _low_capacity,
    "high_resistance": _high_resistance,
    "leak": _leak,
    "balancer_off": _unbalanced,
    "soc_drift": _miscounting,
    "module_mismatch": _smaller,
    "mixed_stack": _other_model,
    "charger_high": _high_charger,
    "deaf": _deaf,
    "reset_chain": _reset,
    "cold_garage": _place,
    "hot_room": _place,
    "surge_loads": _surges,
    "idle_drain": _in_store,
    "missing_module": _silent,
    "bad_connection": _long_cable,
    "reconnect": _away,
}
"""Done anew each day, for each day starts from the sound build."""
SUDDEN: dict[str, Effect] = {
    "low_capacity": _as_full,
    "imbalance": _lacking,
    "balancer_off": _lacking,
    "idle_drain": _nearly_empty,
}
"""Done once, on the first day that is simulated with the flaw."""


def own_arrays(build: Build) -> Build:
    """A copy that a day may change."""
    own = {name: getattr(build, name) for name in Build._fields}
    return Build(**{name: value.copy() if isinstance(value, np.ndarray) else value for name, value in own.items()})
