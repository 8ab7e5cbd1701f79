"""Validation on measured cells: charge counted on NASA's, knee and life on MATR's. Nothing is learned from the cell
that is judged.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

from pipeline.chemistry import Floats
from pipeline.methods.forecast import Course, life
from pipeline.methods.knee import knee, knee_now
from pipeline.validation.bars import Target, frozen
from pipeline.validation.row import Row, judged

STATED_CUTOFF = 2.7
"""Volts down to which the NASA set counts the capacity that it gives, whatever the cell was emptied to."""
END = 0.1
LIVES = (0.5, 0.7, 0.85)
"""Shares of the life at which its end is forecast; the bars are the errors of a power law, which are to be beaten."""


def _frozen(name: str) -> tuple[str, Target]:
    return frozen(name, "measured")


def counted(path: Path) -> list[Row]:
    """Capacity by counting charge to the stated cut-off against the given one, mean error in %, a row a cell."""
    rows = []
    for (cell,), runs in pl.read_parquet(path).sort("time_s").group_by("battery", maintain_order=True):
        errors = [_miscounted(run) for _, run in runs.group_by("cycle", maintain_order=True)]
        groups = [np.array([error]) for error in errors]
        rows.append(judged(*_frozen(f"NASA {cell}, capacity by counting, mean error"), groups, _mean))
    return sorted(rows, key=lambda row: row.name)


def _miscounted(run: pl.DataFrame) -> float:
    """By how many percent the trapezoids miss; the crossing lies on a line between two readings."""
    seconds, volts, amps = (run[n].to_numpy().astype(float) for n in ("time_s", "voltage_v", "current_a"))
    at = int(np.argmax(volts <= STATED_CUTOFF))
    charge = np.concatenate([[0.0], np.cumsum(-(amps[1:] + amps[:-1]) / 2 * np.diff(seconds))]) / 3600
    part = (volts[at - 1] - STATED_CUTOFF) / (volts[at - 1] - volts[at])
    total = charge[at - 1] + part * (charge[at] - charge[at - 1])
    return float(100 * abs(total / float(run["capacity_ah"][0]) - 1))


def lives(path: Path) -> Iterator[Row]:
    """Error of the forecast end of life at three ages, and how often p10 to p90 holds it, each from the other cells."""
    cells = courses(path)
    for share in LIVES:
        off, held = _forecast(cells, share)
        yield judged(*_frozen(f"MATR, end of life told at {share:.0%}, mean error"), off, _mean)
        yield judged(*_frozen(f"MATR, p10 to p90 at {share:.0%} hold it"), held, _mean, "")


def _forecast(cells: dict[str, Course], share: float) -> tuple[list[Floats], list[Floats]]:
    off, held = [], []
    for name, course in cells.items():
        now, ends = course.age <= share * course.age[-1], course.age[-1]
        others = [other for key, other in cells.items() if key != name]
        told = life(course.age[now], course.loss[now], END, others)
        off.append(np.array([100 * abs(told.p50 - ends) / ends if told else 100.0]))
        held.append(np.array([float(told is not None and told.p10 <= ends <= told.p90)]))
    return off, held


def knees(path: Path) -> list[Row]:
    """How far from the knee (bend fitted to the whole life) it is told while it comes, in % of the life."""
    cells = courses(path)
    found = {name: bend for name, c in cells.items() if (bend := knee(c.age, 1 - c.loss)) and bend.accepted}
    at = {name: float(np.interp(bend.at, cells[name].age, cells[name].loss)) for name, bend in found.items()}
    off = []
    for name, bend in found.items():
        course, others = cells[name], np.array([loss for key, loss in at.items() if key != name])
        told = knee_now(course.age, course.loss, others)
        off.append(np.array([100 * abs(told - bend.at) / course.age[-1] if told else 100.0]))
    return [judged(*_frozen("MATR, knee, median error, % of life"), off, lambda e: float(np.median(e)))]


def courses(path: Path) -> dict[str, Course]:
    """Cells of the MATR set that lose 10 % of their first capacity: cycle and loss up to there."""
    known = {}
    for (cell,), rows in pl.read_parquet(path).group_by("cell", maintain_order=True):
        age, mah = rows["cycle"].to_numpy().astype(float), rows["mah"].to_numpy().astype(float)
        loss = 1 - np.array([np.median(mah[max(0, i - 2) : i + 1]) for i in range(len(mah))]) / np.median(mah[:2])
        ended = np.nonzero(loss >= END)[0]
        if len(ended):
            known[str(cell)] = Course(age[: ended[0] + 1], loss[: ended[0] + 1])
    return known


def _mean(errors: Floats) -> float:
    return float(np.mean(errors))
