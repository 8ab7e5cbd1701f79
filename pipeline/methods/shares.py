"""How much of a loss came with the years, and how much with the cycles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.methods.regression import Floats

ALIKE = 0.9
"""Correlation of the two stresses beyond which no one can tell them apart."""


@dataclass(frozen=True, slots=True)
class Shares:
    """Loss per unit of calendar and of cyclic stress, both >= 0, and the calendar's share of the loss with its
    90 % interval over batteries."""

    calendar: float
    cyclic: float
    share: float
    lo: float
    hi: float


def shares(calendar: Floats, cyclic: Floats, loss: Floats, resamples: int = 500) -> Shares | None:
    """Split the loss (n,) of a cohort's n batteries by their stresses (n,): f(T, SOC) t^0.5 and g(DoD, C) EFC^b.

    None where the stresses go together (correlation >= 0.9) or there are fewer than 8 batteries.
    """
    if len(loss) < 8 or abs(np.corrcoef(calendar, cyclic)[0, 1]) >= ALIKE:
        return None
    rng, n = np.random.default_rng(0), len(loss)
    drawn = [rng.integers(0, n, n) for _ in range(resamples)]
    spread = [_share(calendar[i], cyclic[i], loss[i])[2] for i in drawn]
    k_cal, k_cyc, share = _share(calendar, cyclic, loss)
    lo, hi = np.quantile(spread, [0.05, 0.95])
    return Shares(k_cal, k_cyc, share, float(lo), float(hi))


def _share(calendar: Floats, cyclic: Floats, loss: Floats) -> tuple[float, float, float]:
    """Non-negative least squares of two columns: both, or the better one alone."""
    columns = np.column_stack([calendar, cyclic])
    both = np.linalg.lstsq(columns, loss, rcond=None)[0]
    if (both < 0).any():
        alone = np.maximum((columns * loss[:, None]).sum(axis=0) / (columns**2).sum(axis=0), 0)
        better = int(np.argmin([np.sum((loss - alone[i] * columns[:, i]) ** 2) for i in (0, 1)]))
        both = np.where(np.arange(2) == better, alone, 0.0)
    parts = both * columns.sum(axis=0)
    return float(both[0]), float(both[1]), float(parts[0] / parts.sum()) if parts.sum() > 0 else float("nan")
