"""Least squares with honest intervals."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
LONGEST = 16.0
"""The most that errors which last widen a variance: beyond it a line was the wrong thing to fit."""


@dataclass(frozen=True, slots=True)
class Fit:
    """What least squares found: coefficients (k,), their covariance (k, k), degrees of freedom, sum of the squared
    errors, and by how much their order widens a variance (`lasting`).
    """

    coefficients: Floats
    covariance: Floats
    freedom: int
    residual: float
    lasting: float

    def interval(self, which: int, level: float = 0.95) -> tuple[float, float]:
        """The two-sided interval of one coefficient by Student's t."""
        reach = t_quantile((1 + level) / 2, self.freedom) * float(np.sqrt(self.covariance[which, which]))
        return float(self.coefficients[which]) - reach, float(self.coefficients[which]) + reach


def least_squares(columns: Floats, y: Floats) -> Fit | None:
    """Fit y (n,) by columns (n, k). None where there are too few rows, or columns say the same thing."""
    n, k = columns.shape
    if n <= k or np.linalg.matrix_rank(columns) < k:
        return None
    coefficients = np.linalg.lstsq(columns, y, rcond=None)[0].astype(np.float64)
    errors = y - columns @ coefficients
    residual = float(np.sum(errors**2))
    covariance = np.linalg.inv(columns.T @ columns) * (residual / (n - k))
    return Fit(coefficients, covariance.astype(np.float64), n - k, residual, lasting(errors))


def better(simple: Fit, rich: Fit) -> float:
    """By how much a fit of more columns to the same rows is the better one, each of them paid for (BIC, Schwarz 1978):
    above 10 it is so beyond doubt, below 0 they explain less than chance would.
    """
    more = len(rich.coefficients) - len(simple.coefficients)
    n, tiny = simple.freedom + len(simple.coefficients), float(np.finfo(float).tiny)
    return float(n * np.log((simple.residual + tiny) / (rich.residual + tiny)) - more * np.log(n))


def lasting(errors: Floats) -> float:
    """By how much more the mean, or the slope, of errors in their order varies where each goes with the one before it:
    (1 + r) / (1 - r), from 1 to `LONGEST`; r is their lag-one correlation, put right for few of them (Kendall 1954).

    Bayley and Hammersley, "The effective number of independent observations in an autocorrelated time series", 1946.
    """
    n, power = len(errors), float(np.sum(errors**2))
    if n < 4 or power <= 0:
        return 1.0
    r = float(np.sum(errors[1:] * errors[:-1])) / power
    r = min(r + (1 + 4 * r) / n, (LONGEST - 1) / (LONGEST + 1))
    return max(1.0, (1 + r) / (1 - r))


def t_quantile(p: float, freedom: int) -> float:
    """Student's t quantile for p > 0.5 to about 1e-3 from 3 degrees of freedom on (Hill 1970, algorithm 396)."""
    if freedom < 3:
        exact = {1: np.tan(np.pi * (p - 0.5)), 2: (2 * p - 1) * np.sqrt(2 / (4 * p * (1 - p)))}
        return float(exact[max(freedom, 1)])
    z, v = NormalDist().inv_cdf(p), float(freedom)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / v ** (i + 1) for i, term in enumerate(terms))
