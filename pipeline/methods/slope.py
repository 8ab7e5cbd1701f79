"""Slopes that a few wild points do not turn."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

from pipeline.methods.regression import Floats


def theil_sen(x: Floats, y: Floats, apart: float = 0.0) -> float:
    """The median slope over all pairs more than `apart` (in x's unit) from one another; nan without such a pair.

    Theil (1950), Sen (1968). Pairs that stand close say more of the noise than of the slope.
    """
    return float(theil_sens(x, y[None, :], apart)[0])


def theil_sens(x: Floats, y: Floats, apart: float = 0.0) -> Floats:
    """`theil_sen` of each row of y (k, n) over the same x (n,): (k,)."""
    later, earlier = np.tril_indices(len(x), -1)
    dx = x[later] - x[earlier]
    far = dx > apart
    if not far.any():
        return np.full(len(y), np.nan)
    slopes: Floats = np.median((y[:, later] - y[:, earlier])[:, far] / dx[far], axis=1)
    return slopes


def mann_kendall(y: Floats) -> float:
    """Is there any trend at all? The two-sided p-value of Mann's test (1945), ties corrected; 1 for under 4 values."""
    n = len(y)
    if n < 4:
        return 1.0
    score = float(np.sum(np.sign(y[:, None] - y[None, :])[np.tril_indices(n, -1)]))
    ties = np.unique(y, return_counts=True)[1]
    variance = (n * (n - 1) * (2 * n + 5) - float(np.sum(ties * (ties - 1) * (2 * ties + 5)))) / 18
    if variance <= 0:
        return 1.0
    z = max(abs(score) - 1, 0) / variance**0.5
    return 2 * (1 - NormalDist().cdf(z))


def year_on_year(
    days: Floats, y: Floats, resamples: int = 1000, block: int = 30, year: int = 365
) -> tuple[float, float, float]:
    """Slope a year with its 95 % interval from pairs one year apart, so that seasons cancel: (median, lo, hi).

    days (n,) whole and ascending, y (n,); at least one pair is needed, else nan. The interval is a circular block
    bootstrap with blocks of `block` pairs. `year` is the days between two of a pair: 364 for weekly values, and the
    slopes are then those of 364 days. Jordan et al., "The robust PV degradation methodology", 2018.
    """
    found = np.searchsorted(days, days - year)
    hit = (found < len(days)) & (days[np.minimum(found, len(days) - 1)] == days - year)
    slopes = y[hit] - y[found[hit]]
    if not len(slopes):
        return (float("nan"),) * 3
    n = len(slopes)
    starts = np.random.default_rng(0).integers(0, n, size=(resamples, -(-n // block)))
    rows = (starts[:, :, None] + np.arange(block)).reshape(resamples, -1)[:, :n] % n
    lo, hi = np.quantile(np.median(slopes[rows], axis=1), [0.025, 0.975])
    return float(np.median(slopes)), float(lo), float(hi)
