"""How far to the end? A forecast from the battery's own course, and an interval from what became of its siblings.

A line through the past overestimates the life of an LFP cell more than twofold. Loss grows as a power of age instead,
with the exponent that level and slope of the moment ask for; how wrong that is at the same loss, other batteries of the
kind have shown (split conformal, Vovk 2005: nothing is learned from the battery that is judged).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.methods.regression import Floats

RECENT = 0.3
"""Share of the past that tells the present slope."""
EXPONENT = (0.3, 8.0)
OUTWARD = 0.03
"""How far beyond p10 and p90 of the siblings the interval reaches: batteries of other batches are not quite alike, and
without it p10 to p90 held the truth in 0.72 to 0.81 of the measured cells instead of in 0.80."""
FEWEST = 8
"""Siblings that an interval needs; with fewer there is none to give."""


@dataclass(frozen=True, slots=True)
class Life:
    """Age at the end of life: p10, p50, p90, in the unit of age."""

    p10: float
    p50: float
    p90: float


def remaining(age: Floats, loss: Floats, end: float) -> float | None:
    """From the last age until loss reaches `end`, by the power law through level and slope of now; None if no loss.

    age (n,) ascending and > 0 at its end, loss (n,) as a share, `end` in the same measure.
    """
    recent = age >= age[-1] * (1 - RECENT)
    if np.count_nonzero(recent) < 3:
        return None
    slope, start = np.polyfit(age[recent], loss[recent], 1)
    level = start + slope * age[-1]
    if level >= end:
        return 0.0
    if level <= 0 or slope <= 0:
        return None
    exponent = float(np.clip(slope * age[-1] / level, *EXPONENT))
    return float(age[-1] * ((end / level) ** (1 / exponent) - 1))


@dataclass(frozen=True, slots=True)
class Course:
    """A sibling whose life is known: its age and loss, (n,) each, up to its end of life."""

    age: Floats
    loss: Floats


def factors(siblings: list[Course], level: float, end: float) -> Floats:
    """True remaining life over forecast remaining life of each sibling when it had lost `level`."""
    found = []
    for course in siblings:
        reached = np.nonzero(course.loss >= level)[0]
        if not len(reached) or reached[0] < 3:
            continue
        now = int(reached[0]) + 1
        forecast = remaining(course.age[:now], course.loss[:now], end)
        if forecast:
            found.append((course.age[-1] - course.age[now - 1]) / forecast)
    return np.array(found)


def life(age: Floats, loss: Floats, end: float, siblings: list[Course]) -> Life | None:
    """When loss will reach `end`: the forecast, set right and widened by what became of siblings at the same loss.

    None where it cannot be determined: no loss yet, or fewer than FEWEST siblings that came as far.
    """
    forecast = remaining(age, loss, end)
    recent = loss[age >= age[-1] * (1 - RECENT / 10)]
    known = factors(siblings, float(np.median(recent)), end)
    if forecast is None or len(known) < FEWEST:
        return None
    reach = min(0.5, (0.4 + OUTWARD) * (1 + 1 / len(known)))  # few siblings know their own tails too well
    low, mid, high = np.quantile(known, [0.5 - reach, 0.5, 0.5 + reach])
    return Life(*(float(age[-1] + forecast * factor) for factor in (low, mid, high)))
