"""Validation of the knee as it comes: made courses of health over years, with a knee and without one.

Loss grows by the simulator's pessimistic law at drawn use; weekly medians scatter as the nights' do. No fleet is
simulated: a knee takes years, and what a week's median is worth has been measured already.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from pipeline.analyses.trend import bend
from pipeline.chemistry import Floats
from pipeline.simulation.ageing import Wear, new, steeper, wear_out
from pipeline.simulation.seeds import stream
from pipeline.validation.bars import frozen
from pipeline.validation.row import Row, judged

WEEKS, END = 1040, 0.30
NOISE, SEASON = 0.004, 0.002
"""Of a weekly median, as a share of health: what scatters, and what goes with the seasons."""
LOOKS = 8
"""Weeks from one look at a course to the next."""


class Course(NamedTuple):
    """Days, true health and health as seen, (n,) each, to the end of life; the day of the knee, inf without one."""

    days: Floats
    seen: Floats
    knee: float


def courses(seed: int, count: int, *, bent: bool) -> Iterator[Course]:
    """Made courses of `count` modules, each from its own random numbers."""
    for number in range(count):
        draw = stream(seed, "course", number, int(bent))
        wear = Wear(*(np.array([draw.uniform(*r)]) for r in ((15, 30), (0.4, 0.7), (0.6, 0.9), (0.1, 0.4), (0.6, 1.1))))
        at = np.array([draw.uniform(0.12, 0.20) if bent else np.inf])
        times, pace, age = np.array([draw.uniform(3, 6)]), np.exp(draw.normal(0, 0.25, 1)), new(1)
        loss = np.zeros(WEEKS)
        for week in range(WEEKS):
            wear_out(age, wear, 7, pace * steeper(age.loss, at, times), "naumann")
            loss[week] = age.loss[0]
        kept = max(60, int(np.searchsorted(loss, END)))
        days = 7.0 * np.arange(kept)
        turned = np.searchsorted(loss[:kept], at[0])
        noise = NOISE * draw.standard_normal(kept) + SEASON * np.sin(2 * np.pi * days / 365 + draw.uniform(0, 6.28))
        seen: Floats = np.asarray(1 - loss[:kept] + noise, np.float64)
        yield Course(np.asarray(days, np.float64), seen, 7.0 * turned if turned < kept else np.inf)


def knees(seed: int, count: int) -> list[Row]:
    """How late the knee is first told, in % of the life, and how often one is told where none is."""
    late = [np.array([_delay(course)]) for course in courses(seed, count, bent=True) if np.isfinite(course.knee)]
    false = [np.array([float(_told(course) is not None)]) for course in courses(seed, count, bent=False)]
    return [
        judged(*frozen("knee: delay, median, % of life"), late, _median),
        judged(*frozen("knee: told where there is none"), false, _mean, ""),
    ]


def _median(delays: Floats) -> float:
    return float(np.median(delays))


def _mean(shares: Floats) -> float:
    return float(np.mean(shares))


def _delay(course: Course) -> float:
    """Percent of the life from the knee to the first look that tells one; a knee told too early counts as well."""
    told = _told(course)
    return float(100 * abs((told if told is not None else course.days[-1]) - course.knee) / course.days[-1])


def _told(course: Course) -> float | None:
    """The day of the first look that tells a knee."""
    for upto in range(52, len(course.days) + 1, LOOKS):
        now = course.days[upto - 1]
        if bend(course.days[:upto] - now, course.seen[:upto]):
            return float(now)
    return None
