"""From where a battery stands and how fast it fades: when it reaches a limit, and how it stands on a date."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.methods.forecast import EXPONENT
from pipeline.methods.regression import Floats

DRAWS = 2000
"""Of level, slope and shape; the same ones each time."""
SLOWEST = 1e-6
"""Loss a year, as a share, below which nothing ends."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Health (share of nominal) and its slope (share a year, negative while fading) with standard errors, and age (a).

    `soh_sigma` is to hold what is not known of the level as an absolute one: a warranty asks for that.
    """

    soh: float
    soh_sigma: float
    slope: float
    error: float
    years: float


def until(now: Standing, limit: float) -> Floats:
    """Years from now until health falls to `limit`: DRAWS of them; infinite where one does not fade, 0 where it has."""
    level, rate = _drawn(now)
    room, never = level - limit, rate <= SLOWEST
    rate = np.maximum(rate, SLOWEST)
    straight = room / rate
    loss = np.maximum(1 - level, 1e-3)
    power = np.clip(rate * now.years / loss, *EXPONENT)
    bent = now.years * (np.maximum((1 - limit) / loss, 1e-9) ** (1 / power) - 1)
    years = np.where(np.arange(DRAWS) % 2 == 0, straight, bent)
    return np.where(room <= 0, 0.0, np.where(never, np.inf, years))


def health_in(now: Standing, years: float) -> Floats:
    """Health so many years from now: DRAWS of it."""
    level, rate = _drawn(now)
    rate = np.maximum(rate, 0.0)
    loss = np.maximum(1 - level, 1e-3)
    power = np.clip(rate * now.years / loss, *EXPONENT)
    bent = 1 - loss * ((now.years + years) / now.years) ** power
    bent = np.where(rate > SLOWEST, bent, level)
    return np.where(np.arange(DRAWS) % 2 == 0, level - rate * years, bent)


def _drawn(now: Standing) -> tuple[Floats, Floats]:
    """Levels and losses a year: half of the draws go straight on from them, half by the power law through both."""
    draw = np.random.default_rng(0).standard_normal((2, DRAWS))
    return now.soh + now.soh_sigma * draw[0], -(now.slope + now.error * draw[1])
