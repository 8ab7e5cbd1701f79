"""Rare events: exact tails of Poisson, binomial and chi-squared, and false discovery among many tests.

Counts here are small and tests few, so plain sums are exact and fast enough.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

MANY = 200
"""From so many events on the chi-squared quantile is taken from Wilson and Hilferty (1931); below it is exact."""


def poisson_tail(n: int, mean: float) -> float:
    """P(X >= n) of a Poisson variable."""
    if n <= 0:
        return 1.0
    if mean <= 0:
        return 0.0
    if n > mean:
        return min(1.0, _upwards(math.exp(n * math.log(mean) - mean - math.lgamma(n + 1)), n, mean))
    below = math.fsum(math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) for k in range(n))
    return max(0.0, 1.0 - below)


def _upwards(first: float, n: int, mean: float) -> float:
    """The sum of P(X = n), P(X = n + 1), .. until nothing is added any more."""
    total = term = first
    k = n
    while term > total * 1e-16:
        k += 1
        term *= mean / k
        total += term
    return total


def binomial_tail(n: int, trials: int, p: float) -> float:
    """P(X >= n) of `trials` trials with chance p: the exact conditional test of two rates."""
    if n <= 0 or p >= 1:
        return 1.0
    if p <= 0:
        return 0.0
    whole = math.lgamma(trials + 1)
    logs = (
        whole - math.lgamma(k + 1) - math.lgamma(trials - k + 1) + k * math.log(p) + (trials - k) * math.log1p(-p)
        for k in range(n, trials + 1)
    )
    return min(1.0, math.fsum(map(math.exp, logs)))


@cache
def chi2_quantile(share: float, n: int) -> float:
    """The `share` quantile of chi-squared with 2 n degrees of freedom, from its Poisson tail."""
    if n >= MANY:
        return 2 * n * (1 - 1 / (9 * n) + _probit(share) * math.sqrt(1 / (9 * n))) ** 3
    low, high = 0.0, 4.0 * n + 60
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if poisson_tail(n, middle / 2) < share else (low, middle)
    return (low + high) / 2


def _probit(share: float) -> float:
    low, high = -10.0, 10.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if 0.5 * math.erfc(-middle / math.sqrt(2)) < share else (low, middle)
    return (low + high) / 2


def false_discovery(p: Sequence[float]) -> list[float]:
    """q values of Benjamini and Hochberg (1995), in the order of `p`."""
    order = sorted(range(len(p)), key=lambda i: p[i], reverse=True)
    q, least = [1.0] * len(p), 1.0
    for place, i in enumerate(order):
        least = min(least, p[i] * len(p) / (len(p) - place))
        q[i] = least
    return q
