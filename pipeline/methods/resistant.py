"""Lines that do not follow what lies far off."""

from __future__ import annotations

import numpy as np

from pipeline.methods.regression import Floats

ROUNDS, FAR = 8, 4.685
"""Tukey's biweight, in scales: 95 % of least squares' efficiency where errors are normal."""


def biweight_line(x: Floats, y: Floats, finest: float) -> tuple[float, float]:
    """The slope of y (n,) on x (n,) and its standard error; nan where x stands still or fewer than three agree.

    Begins with the median slope from the middle. `finest` is the least scale of what is off: a step of the sensors.
    Beaton and Tukey (1974); the error as Huber's of an M-estimate (Robust Statistics, 1981, 7.6).
    """
    dx, dy = x - np.median(x), y - np.median(y)
    wide = np.abs(dx) > np.std(x) / 2
    if not wide.any():
        return float("nan"), float("nan")
    slope, middle = float(np.median(dy[wide] / dx[wide])), float(np.median(dy))
    for _ in range(ROUNDS):
        off = dy - slope * dx - middle
        scale = max(1.4826 * float(np.median(np.abs(off))), finest)
        near = np.clip(1 - (off / (FAR * scale)) ** 2, 0, None)
        weight = near**2
        if (near > 0).sum() < 3 or not (sxx := _spread(dx, dx, weight)):
            return float("nan"), float("nan")
        slope = _spread(dx, dy, weight) / sxx
        middle = float(np.average(dy - slope * dx, weights=weight))
    felt = float(np.mean(np.where(near > 0, near * (5 * near - 4), 0.0)))
    noise = float(np.sum((off * weight) ** 2)) / (len(x) - 2)
    return slope, float(np.sqrt(noise / np.sum((dx - dx.mean()) ** 2))) / max(felt, 1e-9)


def _spread(x: Floats, y: Floats, weight: Floats) -> float:
    return float(np.sum(weight * (x - np.average(x, weights=weight)) * (y - np.average(y, weights=weight))))
