"""One figure of a validation: what it is, what it should be, what it was, and whether that is enough."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import sqrt


@dataclass(frozen=True, slots=True)
class Figure:
    """`lo` and `hi` bound the figure by 95 %; `at_most` turns the target round. NaN: nothing to judge it by."""

    name: str
    target: float
    figure: float
    lo: float
    hi: float
    at_most: bool = False

    @property
    def ok(self) -> bool:
        """Whether the target is met; a figure that could not be taken does not meet it."""
        return self.figure <= self.target if self.at_most else self.figure >= self.target


def share(name: str, target: float, hits: float, of: float, *, at_most: bool = False) -> Figure:
    """A share of independent cases with Wilson's interval (1927)."""
    if not of:
        return Figure(name, target, float("nan"), 0.0, 1.0, at_most)
    z, p = 1.96, hits / of
    middle, width = (p + z * z / (2 * of)), z * sqrt(p * (1 - p) / of + z * z / (4 * of * of))
    scale = 1 + z * z / of
    return Figure(name, target, p, max(0.0, (middle - width) / scale), min(1.0, (middle + width) / scale), at_most)


def macro_f1(pairs: Iterable[tuple[str, str]]) -> tuple[float, Mapping[str, float]]:
    """The mean F1 over the classes of the truth, and each class's own, from (truth, told)."""
    rows = list(pairs)
    each = {}
    for name in sorted({truth for truth, _ in rows}):
        hits = sum(truth == told == name for truth, told in rows)
        all_of = sum(truth == name for truth, _ in rows) + sum(told == name for _, told in rows)
        each[name] = 2 * hits / all_of
    return (sum(each.values()) / len(each) if each else float("nan")), each
