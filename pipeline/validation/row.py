"""One line of a validation: what was asked, the bar, the figure with its interval, and whether it holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipeline.chemistry import Floats

RESAMPLED = 500
"""Times that the modules are drawn anew for an interval; the same ones each time."""


@dataclass(frozen=True, slots=True)
class Row:
    """`target` is (lowest, highest) allowed; `lo` and `hi` hold the figure in 95 % of the resampled fleets."""

    name: str
    target: tuple[float, float]
    figure: float
    lo: float
    hi: float
    unit: str = "%"

    @property
    def ok(self) -> bool:
        """Whether the figure is within its target; a figure that could not be had is not."""
        return self.target[0] <= self.figure <= self.target[1]


def judged(name: str, target: tuple[float, float], groups: list[Floats], figure: Callable[[Floats], float]) -> Row:
    """The figure over all modules' errors (an array a module), with a bootstrap over whole modules.

    Errors of one module go together, so that it is the modules that are drawn, and not the errors.
    """
    if not any(len(group) for group in groups):
        return Row(name, target, float("nan"), float("nan"), float("nan"))
    draw = np.random.default_rng(0)
    chosen = (draw.integers(len(groups), size=len(groups)) for _ in range(RESAMPLED))
    spread = [figure(np.concatenate([groups[i] for i in pick])) for pick in chosen]
    lo, hi = np.nanquantile(spread, [0.025, 0.975])
    return Row(name, target, figure(np.concatenate(groups)), float(lo), float(hi))


def rmse(errors: Floats) -> float:
    """Root mean square; NaN of nothing."""
    return float(np.sqrt(np.mean(errors**2))) if len(errors) else float("nan")
