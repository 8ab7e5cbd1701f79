"""Runs of numbers behave as the set of the same numbers."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellherd.runs import runs_of
from pipeline.ingest.intervals import Intervals

SMALL_RUNS = st.lists(st.tuples(st.integers(1, 60), st.integers(0, 8)).map(lambda run: (run[0], run[0] + run[1])))


@given(SMALL_RUNS)
def test_runs_hold_what_a_set_holds_and_never_touch(runs: list[tuple[int, int]]) -> None:
    numbers = {n for first, last in runs for n in range(first, last + 1)}
    kept = Intervals(runs)
    assert {n for n in range(80) if n in kept} == numbers
    assert [n for first, last in kept for n in range(first, last + 1)] == sorted(numbers)
    ends = list(kept)
    assert all(left[1] + 1 < right[0] for left, right in pairwise(ends))


@given(SMALL_RUNS)
def test_upto_is_where_the_first_number_is_missing(runs: list[tuple[int, int]]) -> None:
    numbers = {n for first, last in runs for n in range(first, last + 1)}
    assert Intervals(runs).upto() == next(n for n in range(1, 100) if n not in numbers) - 1
    assert Intervals(runs).after() == max(numbers, default=0)


@given(st.lists(st.integers(1, 2**63 - 1)))
def test_numbers_in_any_order_come_back_from_bytes(numbers: list[int]) -> None:
    kept = Intervals()
    kept.add_all(numbers)
    again = Intervals.from_bytes(kept.to_bytes())
    assert list(again) == list(kept)
    assert all(number in again for number in numbers)


@given(SMALL_RUNS, st.lists(st.integers(1, 80)))
def test_single_numbers_join_the_runs_that_they_touch(runs: list[tuple[int, int]], numbers: list[int]) -> None:
    kept, there = Intervals(runs), {n for first, last in runs for n in range(first, last + 1)}
    assert kept.among(numbers) == tuple(n for n in numbers if n in there)
    kept.add_all(numbers)
    assert list(kept) == list(runs_of(sorted(there | {*numbers})))


@given(st.sets(st.integers(1, 40)))
def test_the_run_of_a_number_is_the_widest_around_it(numbers: set[int]) -> None:
    kept = Intervals((n, n) for n in numbers)
    for number in numbers:
        first, last = kept.run_of(number)
        assert set(range(first, last + 1)) <= numbers
        assert not {first - 1, last + 1} & numbers


def test_a_number_that_never_came_has_no_run() -> None:
    with pytest.raises(KeyError):
        Intervals([(1, 3), (6, 9)]).run_of(4)


@given(st.lists(st.integers(1, 30)))
def test_runs_of_a_list_say_the_list_again(numbers: list[int]) -> None:
    assert [n for first, last in runs_of(numbers) for n in range(first, last + 1)] == numbers
