"""One battery's uncertain slope leans on its cohort's, as much as it is uncertain itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.methods.regression import Floats

FREEDOM, ROUNDS = 4.0, 30
"""Of the t that like modules scatter by, and of the search for its mode, which halves the way left each time."""


@dataclass(frozen=True, slots=True)
class Cohort:
    """What like batteries do: the mean, its standard error, and how much they truly differ (variance)."""

    mean: float
    error: float
    between: float


def cohort(values: Floats, errors: Floats) -> Cohort:
    """Random-effects mean of values (n,) with standard errors (n,), all > 0. DerSimonian and Laird (1986)."""
    weight = errors**-2
    fixed = float(np.sum(weight * values) / np.sum(weight))
    q = float(np.sum(weight * (values - fixed) ** 2))
    scale = float(np.sum(weight) - np.sum(weight**2) / np.sum(weight))
    between = max(0.0, (q - (len(values) - 1)) / scale) if scale > 0 else 0.0
    both = 1 / (errors**2 + between)
    return Cohort(float(np.sum(both * values) / np.sum(both)), float(np.sum(both) ** -0.5), between)


def shrunk(value: float, error: float, around: Cohort) -> tuple[float, float]:
    """The value drawn to its cohort, and its new standard error; a cohort without scatter takes it wholly.

    The cohort's scatter has long tails (Student's t), so that one far out, which is surely none of its cohort, stays
    where it is. O'Hagan, "On outlier rejection phenomena in Bayes inference", 1979.
    """
    prior = around.between + around.error**2
    if prior <= 0:
        return around.mean, around.error
    drawn, weight = value, error**-2
    for _ in range(ROUNDS):
        spread = (FREEDOM * prior + (drawn - around.mean) ** 2) / (FREEDOM + 1)
        weight = error**-2 + 1 / spread
        drawn = (value / error**2 + around.mean / spread) / weight
    return drawn, weight**-0.5
