"""One line of a validation: what was asked, the bar, the figure with its interval, and whether it holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import nan, sqrt

import numpy as np

from pipeline.analyses.rare import chi2_quantile
from pipeline.chemistry import Floats

RESAMPLED = 500
"""Times that the modules are drawn anew for an interval; the same ones each time."""


@dataclass(frozen=True, slots=True)
class Row:
    """`target` is (lowest, highest) allowed, both included; `lo` and `hi` bound the figure by 95 %.

    A figure of "" as its unit is a share or a score from 0 to 1. NaN: there was nothing to judge it by.
    """

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


def judged(
    name: str, target: tuple[float, float], groups: list[Floats], figure: Callable[[Floats], float], unit: str = "%"
) -> Row:
    """The figure over all modules' errors (an array a module), with a bootstrap over whole modules.

    Errors of one module go together, so that it is the modules that are drawn, and not the errors.
    """
    if not any(len(group) for group in groups):
        return Row(name, target, float("nan"), float("nan"), float("nan"), unit)
    draw = np.random.default_rng(0)
    chosen = (draw.integers(len(groups), size=len(groups)) for _ in range(RESAMPLED))
    spread = [figure(np.concatenate([groups[i] for i in pick])) for pick in chosen]
    lo, hi = np.nanquantile(spread, [0.025, 0.975])
    return Row(name, target, figure(np.concatenate(groups)), float(lo), float(hi), unit)


def rmse(errors: Floats) -> float:
    """Root mean square; NaN of nothing."""
    return float(np.sqrt(np.mean(errors**2))) if len(errors) else float("nan")


def share(name: str, target: tuple[float, float], hits: float, of: float) -> Row:
    """A share of independent cases with Wilson's 95 % interval (1927)."""
    if not of:
        return Row(name, target, nan, 0.0, 1.0, "")
    z, p = 1.96, hits / of
    middle, width = (p + z * z / (2 * of)), z * sqrt(p * (1 - p) / of + z * z / (4 * of * of))
    scale = 1 + z * z / of
    return Row(name, target, p, max(0.0, (middle - width) / scale), min(1.0, (middle + width) / scale), "")


def rate(name: str, target: tuple[float, float], count: int, months: float, unit: str = "per 100 module-months") -> Row:
    """A count for each 100 modules and month, with Garwood's 95 % interval of a Poisson count (1936).

    Or for each 100 modules and whatever `months` is given in, with that as the unit.
    """
    low = chi2_quantile(0.025, count) / 2 if count else 0.0
    high = chi2_quantile(0.975, count + 1) / 2
    figure, lo, hi = (100 * n / months if months else nan for n in (count, low, high))
    return Row(name, target, figure, lo, hi, unit)
