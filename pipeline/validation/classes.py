"""How well were classes told? A module may truly have several, and be said to have several."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.chemistry import Floats
from pipeline.validation.bars import Target
from pipeline.validation.row import Row, judged

HIT, FALSE, MISSED = 0.0, 1.0, 2.0
EVEN = "even"


@dataclass(frozen=True, slots=True)
class Case:
    """A module, or a lockout: what is truly so, what was said, and what may be said or not, at the border."""

    true: frozenset[str]
    said: frozenset[str]
    either: frozenset[str] = frozenset()


def macro_f1(name: str, target: Target, modules: Iterable[Sequence[Case]], order: Sequence[str]) -> Row:
    """F1 a class, averaged over the classes that there truly are; a case without any class is `even`."""
    groups = [np.concatenate([_outcomes(case, order) for case in cases]) for cases in modules]
    return judged(name, target, groups, lambda rows: _f1(rows, len(order)), "")


def scored(name: str, target: Target, pairs: Mapping[str, Sequence[tuple[str, str]]]) -> Row:
    """The same of the (truth, told) by module, where each case is of one class."""
    cases = [[Case(frozenset({true}), frozenset({told})) for true, told in pairs[unit]] for unit in sorted(pairs)]
    return macro_f1(name, target, cases, sorted({name for said in pairs.values() for pair in said for name in pair}))


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
