"""How well were classes told? A module may truly have several, and be said to have several."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.chemistry import Floats
from pipeline.validation.row import Row, judged

HIT, FALSE, MISSED = 0.0, 1.0, 2.0
EVEN = "even"


@dataclass(frozen=True, slots=True)
class Case:
    """A module: what is truly so, what was said, and what may be said or not, for it lies at the border."""

    true: frozenset[str]
    said: frozenset[str]
    either: frozenset[str] = frozenset()


def macro_f1(name: str, target: float, cases: Iterable[Case], order: Sequence[str]) -> Row:
    """F1 a class, averaged over the classes that there truly are; without any class a module is `even`."""
    groups = [_outcomes(case, order) for case in cases]
    return judged(name, (target, 1.0), groups, lambda rows: _f1(rows, len(order)))


def by_class(cases: Iterable[Case], order: Sequence[str]) -> Mapping[str, tuple[int, int, int]]:
    """Hits, false and missed ones of each class."""
    rows = np.concatenate([np.zeros((0, 2)), *(_outcomes(case, order) for case in cases)])
    return {
        name: (_count(rows, at, HIT), _count(rows, at, FALSE), _count(rows, at, MISSED))
        for at, name in enumerate(order)
    }


def share(name: str, target: tuple[float, float], yes: Sequence[bool]) -> Row:
    """A share of cases."""
    return judged(name, target, [np.array([float(one)]) for one in yes], lambda e: float(np.mean(e)))


def rate(name: str, most: float, counts: Sequence[int], months: float) -> Row:
    """Counts by module as a rate a 100 modules and month."""
    groups = [np.array([100 * count / months]) for count in counts]
    return replace(judged(name, (0.0, most), groups, lambda e: float(np.mean(e))), unit="")


def _outcomes(case: Case, order: Sequence[str]) -> Floats:
    """Rows (class, outcome) of a module."""
    true, said = case.true or {EVEN}, (case.said - (case.either - case.true)) or {EVEN}
    found = [
        (float(at), HIT if one in true and one in said else FALSE if one in said else MISSED)
        for at, one in enumerate(order)
        if one in true or one in said
    ]
    return np.array(found).reshape(-1, 2)


def _count(rows: Floats, at: int, outcome: float) -> int:
    return int(((rows[:, 0] == at) & (rows[:, 1] == outcome)).sum())


def _f1(rows: Floats, classes: int) -> float:
    told = []
    for at in range(classes):
        hit, false, missed = (_count(rows, at, outcome) for outcome in (HIT, FALSE, MISSED))
        if hit + missed:
            told.append(2 * hit / (2 * hit + false + missed))
    return float(np.mean(told)) if told else float("nan")
