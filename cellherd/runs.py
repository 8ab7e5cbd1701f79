"""Numbers of an outbox as runs, since nearly all come in order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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
