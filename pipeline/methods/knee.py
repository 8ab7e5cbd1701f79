"""The knee: where a battery's loss begins to run away."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.methods.regression import Fit, Floats, better, least_squares

GRID = 25
FINE = 21
SOFTNESS = 0.01
"""Width of the bend as a share of the range."""
EDGE = 0.1
"""A bend within this share of either end cannot be told from noise."""
GAIN = 10.0
"""How much better (BIC) than a straight line the bend must be."""
STEEPER = 1.8
"""How many times faster the loss must be after the bend."""


@dataclass(frozen=True, slots=True)
class Knee:
    """Where the bend is (x), slopes before and after, and whether the evidence is enough to speak of one."""

    at: float
    before: float
    after: float
    accepted: bool


def knee(x: Floats, y: Floats, needed: float = GAIN) -> Knee | None:
    """Bend two lines to health y (n,) over age x (n,), ascending; None for under 12 points.

    Bacon and Watts (1971); as used on cells by Fermin-Cueto et al. (2020).
    """
    if len(x) < 12:
        return None
    straight = least_squares(np.column_stack([np.ones_like(x), x]), y)
    span = x[-1] - x[0]
    grid = np.linspace(x[0] + EDGE * span, x[-1] - EDGE * span, GRID)
    best = grid[np.argmin(_residuals(x, y, grid))]
    fine = np.linspace(best - span / GRID, best + span / GRID, FINE)
    at = float(fine[np.argmin(_residuals(x, y, fine))])
    bent = _bent(x, y, at)
    if straight is None or bent is None:
        return None
    slope, change = (float(c) for c in bent.coefficients[1:])
    before, after = slope - change, slope + change
    gain = better(straight, bent) - np.log(len(x))  # where it bends is one more number that was looked for
    sure = -change > bent.covariance[2, 2] ** 0.5
    steeper = after < 0 and after <= STEEPER * before
    return Knee(at, before, after, bool(gain > needed and sure and steeper))


def _bent(x: Floats, y: Floats, at: float) -> Fit | None:
    return least_squares(_columns(x, np.array([at]))[0], y)


def _columns(x: Floats, at: Floats) -> Floats:
    """(k, n, 3) for bends at (k,): level, slope, change of slope."""
    off = x - at[:, None]
    soft = SOFTNESS * (x[-1] - x[0])
    return np.stack([np.ones_like(off), off, off * np.tanh(off / soft)], axis=-1)


def _residuals(x: Floats, y: Floats, at: Floats) -> Floats:
    """Sums of squares (k,) that bends at (k,) leave, all at once, with x as a share of its span."""
    span = x[-1] - x[0]
    columns = _columns((x - x[0]) / span, (at - x[0]) / span)
    turned = columns.transpose(0, 2, 1)
    fitted = np.linalg.pinv(turned @ columns, hermitian=True) @ (turned @ y)[..., None]
    return np.asarray(np.sum((y - (columns @ fitted)[..., 0]) ** 2, axis=1))


def knee_now(x: Floats, loss: Floats, siblings: Floats) -> float | None:
    """Has the knee come? Where it came (x), told as it happens; None while it has not, or nobody can say.

    x (n,) ascending, loss (n,) as a share of the first capacity, siblings (m,) the losses at which knees of like
    batteries lay. One battery's own past bends too gently to tell its knee in time (a bend fitted to a 5 % loss lies
    17 % of the life too early, on 57 LFP cells of the MATR set); where the knees of its siblings lay tells it better.
    """
    if len(siblings) == 0:
        return None
    reached = np.nonzero(loss >= np.median(siblings))[0]
    if not len(reached):
        return None
    upto = int(reached[0]) + 1
    early, late = _rate(x[: upto // 2], loss[: upto // 2]), _rate(x[upto * 3 // 4 : upto], loss[upto * 3 // 4 : upto])
    return float(x[upto - 1]) if late >= STEEPER * max(early, 0.0) and late > 0 else None


def _rate(x: Floats, loss: Floats) -> float:
    return float(np.polyfit(x, loss, 1)[0]) if len(x) > 1 else np.nan
