"""The checker itself: it finds a loss, a doubling and a wrong gap that are planted, and nothing where all is right."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import pytest

from tests.chaos.books import TOLERANCE_MS, Item, lives, wrong
from tests.chaos.checker import Books, _record
from tests.collectors.outboxes import NOW

PERIOD = 500
START, AGAIN = 10_000, 25_000


def life(begin: int, slots: int, jitter: int = 0) -> list[Item]:
    """Readings slot by slot, each some ms late."""
    return [Item(begin + n * PERIOD + (n * 37 % (jitter + 1)), 1, "reading") for n in range(slots)]


def book() -> list[Item]:
    """Two lives with a time off between them, and in each a gap."""
    first = [*life(START, 10, 60), Item(START + 5000, 4, "gap"), *life(START + 7000, 6, 60)]
    off = Item(START + 10_000 + 45 * 0, (AGAIN - START - 10_000) // PERIOD, "absence", AGAIN)
    second = [*life(AGAIN, 8, 60), Item(AGAIN + 4000, 2, "gap"), *life(AGAIN + 5000, 5, 60)]
    last = first[-1].bt + PERIOD
    return [*first, replace(off, bt=last, slots=int((AGAIN - last) // PERIOD)), *second]


def found(items: list[Item]) -> list[str]:
    return list(wrong(items, [START, AGAIN], PERIOD))


def test_a_book_that_is_right_is_left_alone_in_any_order() -> None:
    assert found(book()) == []
    assert found(book()[::-1]) == []


@pytest.mark.parametrize("at", [3, 12, 20])
def test_a_lost_reading_is_found(at: int) -> None:
    items = book()
    del items[at]
    assert found(items)


@pytest.mark.parametrize("at", [3, 12, 20])
def test_a_doubled_reading_is_found(at: int) -> None:
    items = book()
    assert found([*items, items[at]])


@pytest.mark.parametrize(
    ("at", "slots", "bt"), [(10, 3, 0), (10, 5, 0), (10, 4, PERIOD), (10, 4, -PERIOD), (10, 4, TOLERANCE_MS * 2 + 1)]
)
def test_a_gap_that_is_too_short_too_long_or_elsewhere_is_found(at: int, slots: int, bt: int) -> None:
    items = book()
    assert items[at].sort == "gap"
    items[at] = replace(items[at], slots=slots, bt=items[at].bt + bt)
    assert found(items)


@pytest.mark.parametrize(("by", "slots"), [(-2000, 4), (2000, -4), (0, 3), (0, -3)])
def test_a_time_off_that_begins_elsewhere_or_counts_wrongly_is_found(by: int, slots: int) -> None:
    items = book()
    at = next(n for n, item in enumerate(items) if item.sort == "absence")
    items[at] = replace(items[at], bt=items[at].bt + by, slots=items[at].slots + slots)
    assert found(items)


def test_a_time_off_that_nobody_told_or_that_is_told_twice_is_found() -> None:
    items = book()
    (off,) = [item for item in items if item.sort == "absence"]
    assert any("nothing tells" in text for text in found([item for item in items if item is not off]))
    assert any("told 2 times" in text for text in found([*items, off]))


def test_what_happened_in_one_slot_stands_in_its_order() -> None:
    """A gap begins with its slot; a reading at the same moment is of the slot before, whichever was written first."""
    end = 10 * PERIOD
    late, gap = Item(START + end + 3, 1, "reading"), Item(START + end, 2, "gap")
    items = [*life(START, 9), late, gap, Item(START + end + 1000, 1, "reading")]
    (mine,) = lives(items, [START]).values()
    assert [item.sort for item in mine[-3:]] == ["reading", "gap", "reading"]
    early = [*life(START, 10), Item(START + end, 2, "gap"), Item(START + end + 1000 - TOLERANCE_MS, 1, "reading")]
    assert list(wrong(early, [START], PERIOD)) == []


def test_behind_a_hole_of_lost_rows_the_book_holds_again() -> None:
    hole = Item(START + 2000, 5, "lost", until=START + 4000)
    items = [*life(START, 4), hole, *life(START + 4500, 12, 120)]
    assert list(wrong(items, [START], PERIOD)) == []
    del items[8]
    assert list(wrong(items, [START], PERIOD)), "a loss behind the hole"


def test_a_hole_across_lives_leaves_their_ends_alone_and_no_others() -> None:
    hole = Item(START + 2000, 40, "lost", until=AGAIN + 500)
    rest = [item for item in book() if item.sort != "absence" and not START + 2000 <= item.bt <= AGAIN + 500]
    assert found([hole, *rest]) == []
    assert found([hole, *rest[:1], *rest[2:]]), "a loss in front of the hole"
    assert found([hole, *rest[:-3], *rest[-2:]]), "a loss behind it"


def test_a_time_off_told_only_into_memory_is_excused_and_one_told_wrongly_is_not() -> None:
    untold = [item for item in book() if item.sort != "absence"]
    starts = [START, AGAIN]
    assert list(wrong(untold, starts, PERIOD, hurt={2}))
    assert list(wrong(untold, starts, PERIOD, hurt={2}, in_memory={2})) == []
    assert list(wrong(untold, starts, PERIOD, hurt={2}, in_memory={1})), "another life's"
    short = [replace(item, slots=item.slots - 4) if item.sort == "absence" else item for item in book()]
    assert list(wrong(short, starts, PERIOD, hurt={2}, in_memory={2}))


def test_a_life_is_known_by_the_time_off_that_it_tells_where_its_note_went_for_room() -> None:
    """On a full disk notes go before gaps; the lives on both sides must not be taken for one."""
    found, (off,) = Books(starts=defaultdict(list, e1=[START])), [item for item in book() if item.sort == "absence"]
    times = {"from_ts": NOW + off.bt, "to_ts": NOW + off.written, "from_seq": None, "to_seq": None}
    line = {"bt": AGAIN, "ts": NOW + AGAIN, "body": {"reason": "edge_off", "slots": off.slots, **times}}
    _record(found, "gap", "0" * 16, ("e1", "s1", "m1"), line)
    assert found.starts["e1"] == [START, AGAIN]
    assert found.items["e1", "s1", "m1"] == [off]
    assert list(wrong(book(), [START], PERIOD)), "as one life they are wrong"
