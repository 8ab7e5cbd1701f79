"""Which numbers of a counter have come: a set of whole numbers kept as runs, since nearly all come in order."""

from __future__ import annotations

import struct
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator

from cellherd.runs import Run


class Intervals:
    """A set of int64 as sorted runs that neither touch nor overlap."""

    __slots__ = ("_first", "_last")

    def __init__(self, runs: Iterable[Run] = ()) -> None:
        self._first: list[int] = []
        self._last: list[int] = []
        for first, last in runs:
            self.add(first, last)

    def add(self, first: int, last: int) -> None:
        """Put first..last in, joining the runs that it touches."""
        firsts, lasts = self._first, self._last
        if lasts and first == lasts[-1] + 1:  # the next in order: the usual case
            lasts[-1] = last
            return
        begin = bisect_left(lasts, first - 1)
        end = bisect_right(firsts, last + 1)
        if begin < end:
            first, last = min(first, firsts[begin]), max(last, lasts[end - 1])
        firsts[begin:end] = [first]
        lasts[begin:end] = [last]

    def add_all(self, numbers: Iterable[int]) -> None:
        """Put single numbers in, one after the other."""
        firsts, lasts = self._first, self._last
        for number in numbers:
            at = bisect_left(lasts, number - 1)
            if at < len(lasts) - 1 and lasts[at] == number - 1 and firsts[at + 1] > number + 1:
                lasts[at] = number  # behind a run that nothing joins: usual where an outbox's modules alternate
            else:
                self.add(number, number)

    def __contains__(self, number: int) -> bool:
        at = bisect_left(self._last, number)
        return at < len(self._first) and self._first[at] <= number

    def among(self, numbers: Iterable[int]) -> tuple[int, ...]:
        """Those of the numbers that are in."""
        firsts, lasts, runs = self._first, self._last, len(self._last)
        return tuple([n for n in numbers if (at := bisect_left(lasts, n)) < runs and firsts[at] <= n])

    def __len__(self) -> int:
        """How many runs there are, not how many numbers."""
        return len(self._first)

    def __iter__(self) -> Iterator[Run]:
        return zip(self._first, self._last, strict=True)

    def run_of(self, number: int) -> Run:
        """The run that holds the number. Raises KeyError if none does."""
        at = bisect_left(self._last, number)
        if at == len(self._first) or self._first[at] > number:
            raise KeyError(number)
        return self._first[at], self._last[at]

    def after_run(self, number: int) -> int:
        """The first number from `number` on that is not in."""
        at = bisect_left(self._last, number)
        return self._last[at] + 1 if at < len(self._first) and self._first[at] <= number else number

    def begins(self, number: int) -> int | None:
        """The first number from `number` on that is in, None if there is none."""
        at = bisect_left(self._last, number)
        return max(number, self._first[at]) if at < len(self._first) else None

    def upto(self) -> int:
        """Up to which number everything from 1 on is in; 0 if 1 is not."""
        return self._last[0] if self._first and self._first[0] <= 1 else 0

    def after(self) -> int:
        """The highest number, 0 of an empty set."""
        return self._last[-1] if self._last else 0

    def to_bytes(self) -> bytes:
        """As little-endian int64 pairs, for a database."""
        return struct.pack(f"<{2 * len(self)}q", *self._first, *self._last)

    @classmethod
    def from_bytes(cls, blob: bytes) -> Intervals:
        """Undo `to_bytes`."""
        found = cls()
        numbers = struct.unpack(f"<{len(blob) // 8}q", blob)
        found._first, found._last = list(numbers[: len(numbers) // 2]), list(numbers[len(numbers) // 2 :])
        return found


def holes(last: int, *known: Intervals) -> Iterator[Run]:
    """The runs of 1..last that are in none of these sets, in order."""
    at = 1
    while at <= last:
        begin = max(one.after_run(at) for one in known)
        if begin > at:
            at = begin
            continue
        ends = [begins - 1 for one in known if (begins := one.begins(at)) is not None]
        yield at, min([last, *ends])
        at = min([last, *ends]) + 1
