"""Numbers of an outbox as runs, since nearly all come in order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

Run: TypeAlias = tuple[int, int]
"""First and last number of a run, both in it."""


def runs_of(numbers: Iterable[int]) -> Iterator[Run]:
    """Join neighbours that follow one another into runs, in the order given."""
    first = last = None
    for number in numbers:
        if first is None or last is None or number != last + 1:
            if first is not None and last is not None:
                yield first, last
            first = number
        last = number
    if first is not None and last is not None:
        yield first, last


def without(runs: Iterable[Run], others: Sequence[Run]) -> Iterator[Run]:
    """What of these runs the others do not hold; both are sorted."""
    rest = iter(others)
    other = next(rest, None)
    for run in runs:
        first, last = run
        while other and other[1] < first:
            other = next(rest, None)
        while other and other[0] <= last:
            if first < other[0]:
                yield first, other[0] - 1
            first = other[1] + 1
            if other[1] > last:
                break
            other = next(rest, None)
        if first <= last:
            yield first, last
