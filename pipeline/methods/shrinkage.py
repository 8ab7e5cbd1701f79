"""One battery's uncertain slope leans on its cohort's, as much as it is uncertain itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.methods.regression import Floats


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
    """The value drawn to its cohort, and its new standard error; a cohort without scatter takes it wholly."""
    prior = around.between + around.error**2
    if prior <= 0:
        return around.mean, around.error
    weight = 1 / error**2 + 1 / prior
    return (value / error**2 + around.mean / prior) / weight, weight**-0.5
