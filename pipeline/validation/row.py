"""One line of a validation: what was asked, the bar, the figure with its interval, and whether it holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import inf, nan, sqrt

import numpy as np

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


def at_least(target: float) -> tuple[float, float]:
    """The target of a figure that may not be lower."""
    return target, inf


def at_most(target: float) -> tuple[float, float]:
    """The target of a figure that may not be higher."""
    return -inf, target


def share(name: str, target: tuple[float, float], hits: float, of: float) -> Row:
    """A share of independent cases with Wilson's 95 % interval (1927)."""
    if not of:
        return Row(name, target, nan, 0.0, 1.0, "")
    z, p = 1.96, hits / of
    middle, width = (p + z * z / (2 * of)), z * sqrt(p * (1 - p) / of + z * z / (4 * of * of))
    scale = 1 + z * z / of
    return Row(name, target, p, max(0.0, (middle - width) / scale), min(1.0, (middle + width) / scale), "")


def macro_f1(pairs: Iterable[tuple[str, str]]) -> tuple[float, Mapping[str, float]]:
    """The mean F1 over the classes of the truth, and each class's own, from (truth, told); NaN of nothing."""
    rows = list(pairs)
    each = {}
    for name in sorted({truth for truth, _ in rows}):
        hits = sum(truth == told == name for truth, told in rows)
        all_of = sum(truth == name for truth, _ in rows) + sum(told == name for _, told in rows)
        each[name] = 2 * hits / all_of
    return (sum(each.values()) / len(each) if each else nan), each


def scored(name: str, target: tuple[float, float], pairs: dict[str, list[tuple[str, str]]]) -> Row:
    """Macro-F1 over the (truth, told) of all modules, with a bootstrap over whole modules as in `judged`."""
    groups = [pairs[unit] for unit in sorted(pairs)]
    if not groups:
        return Row(name, target, nan, 0.0, 1.0, "")
    draw = np.random.default_rng(0)
    chosen = (draw.integers(len(groups), size=len(groups)) for _ in range(RESAMPLED))
    spread = [macro_f1(pair for i in pick for pair in groups[i])[0] for pick in chosen]
    lo, hi = np.nanquantile(spread, [0.025, 0.975])
    figure, _ = macro_f1(pair for group in groups for pair in group)
    return Row(name, target, figure, float(lo), float(hi), "")
