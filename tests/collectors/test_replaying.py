"""What an outbox answers when the server asks for numbers again: rows, or a gap that is told once."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from cellherd import topics
from cellherd.config import EdgeConfig
from cellherd.runs import Run, without
from collectors import holes, replaying
from collectors.edge import Edge
from collectors.entries import Numbered
from collectors.outbox import Outbox
from collectors.witness import forget
from tests.collectors.brokers import EDGE
from tests.collectors.outboxes import NOW, HandClock, bodies, outbox, reading, seqs

PERIODS = {("s1", "m1"): 1000}
MIB = 2**20


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Outbox]:
    found = outbox(tmp_path)
    yield found
    found.close()


def committed(box: Outbox, count: int) -> list[Numbered]:
    first = box.last()[1]
    return box.commit([reading(n, ts=NOW + 1000 * n) for n in range(first, first + count)])


def cut(box: Outbox, first: int, last: int) -> None:
    """As if these rows had been dropped."""
    box.commit()
    box._spool.ask("delete from row where seq between ? and ?", (first, last))
    forget(box._spool.ask, 1, first, last)


def asked(box: Outbox, first: int, last: int, epoch: str | None = None) -> tuple[int, list[Numbered]]:
    """How many rows wait again, and the gaps that were told."""
    back = box.replay(box.stream, epoch or box.last()[0], first, last, PERIODS)
    return back, box.commit()


def told(box: Outbox, rows: list[Numbered]) -> list[tuple[object, ...]]:
    keys = ("reason", "from_seq", "to_seq", "of_epoch", "slots")
    return [tuple(body[key] for key in keys) for body in bodies(box, rows)]


def test_what_stands_waits_again_and_asking_twice_changes_nothing(box: Outbox) -> None:
    committed(box, 10)
    box.receipt(box.stream, box.last()[0], 10)
    assert asked(box, 3, 5) == (3, [])
    assert seqs(box.pending(99)) == [3, 4, 5]
    assert asked(box, 3, 5) == (0, [])
    assert seqs(box.pending(99)) == [3, 4, 5]


def test_numbers_that_are_yet_to_be_given_are_not_gone(box: Outbox) -> None:
    committed(box, 3)
    assert asked(box, 1, 2**62) == (0, [])
    assert asked(box, 100, 200) == (0, [])


def test_what_gave_way_after_its_receipt_is_one_gap_with_the_slots_of_its_module(box: Outbox) -> None:
    committed(box, 20)
    epoch = box.last()[0]
    box.receipt(box.stream, epoch, 20)
    cut(box, 5, 9)
    back, gaps = asked(box, 3, 12)
    assert back == 5
    assert [row.about.module for row in gaps] == ["m1"]
    assert told(box, gaps) == [("spool_cap", 5, 9, epoch, 5)]


def test_a_gap_for_what_is_gone_tells_its_times_by_the_clock_of_its_record(tmp_path: Path) -> None:
    """The clock was set while the rows lay there: they stand an hour before the gap that is told of them."""
    clock = HandClock()
    box = outbox(tmp_path, clock=clock)
    rows = committed(box, 20)
    epoch = box.last()[0]
    box.receipt(box.stream, epoch, 20)
    cut(box, 5, 9)
    clock.ts += 3_600_000
    _, (gap,) = asked(box, 5, 9)
    (body,) = bodies(box, [gap])
    first = next(row.about.bt for row in rows if row.seq == 5)
    assert body["from_ts"] - gap.about.ts == first - gap.about.bt
    assert body["to_ts"] - body["from_ts"] == 5 * 1000
    box.close()


def test_a_gap_is_told_once_however_often_it_is_asked_for(tmp_path: Path) -> None:
    box = outbox(tmp_path)
    committed(box, 20)
    epoch = box.last()[0]
    box.receipt(box.stream, epoch, 20)
    cut(box, 5, 9)
    box.replay(box.stream, epoch, 5, 9, PERIODS)
    box.replay(box.stream, epoch, 1, 20, PERIODS)
    assert seqs(box.commit()) == [21]
    assert asked(box, 5, 9) == (0, [])
    box.receipt(box.stream, epoch, 21)
    assert asked(box, 6, 7) == (1, []), "the gap record itself is sent again"
    assert seqs(box.pending(99)) == [21]
    box.close()
    again = outbox(tmp_path)
    again.receipt(again.stream, epoch, 21)
    assert asked(again, 5, 9, epoch) == (1, []), "known after a new start too"
    again.commit()
    again._spool.ask("delete from row where event='gap'")
    assert len(asked(again, 5, 9, epoch)[1]) == 1, "a gap record that is gone itself tells nothing"
    again.close()


def test_what_was_lost_without_a_receipt_counts_as_a_damage(box: Outbox) -> None:
    committed(box, 10)
    epoch = box.last()[0]
    cut(box, 4, 4)
    assert told(box, asked(box, 1, 10)[1]) == [("corrupt_row", 4, 4, epoch, 1)]


def test_an_epoch_that_is_forgotten_and_a_stream_of_another_file(box: Outbox) -> None:
    committed(box, 2)
    assert box.replay("0" * 32, "f" * 16, 1, 10, PERIODS) == 0
    assert box.commit() == []
    assert [one[:4] for one in told(box, asked(box, 1, 10, "f" * 16)[1])] == [("spool_cap", 1, 10, "f" * 16)]
    assert asked(box, 1, 10, "f" * 16) == (0, [])


def test_an_edge_whose_rows_are_in_memory_does_not_say_what_its_file_has_no_more(tmp_path: Path) -> None:
    edge = Edge(EdgeConfig(edge=EDGE), [], tmp_path, HandClock())
    order = {"v": 1, "id": "r1", "stream": edge._outbox.stream, "epoch": "f" * 16, "from": 1, "to": 9}
    for trouble, told in (("the disk refuses", 0), ("", 1)):
        edge._keeping.trouble = trouble
        edge._publisher.inbox.append((topics.replay(EDGE), json.dumps(order).encode()))
        edge._obey(0.0)
        assert len([row for row in edge._outbox.commit() if row.about.event == "gap"]) == told
    edge._outbox.close()
    edge._publisher.stop()


def test_rows_dropped_at_the_cap_are_not_told_a_second_time(tmp_path: Path) -> None:
    box = outbox(tmp_path, 2 * MIB, HandClock())
    epoch = box.last()[0]
    while not box.drops:
        committed(box, 500)
    lost = box.dropped["spool_cap"]
    assert lost
    last = box.last()[1]
    box.receipt(box.stream, epoch, last)
    back, gaps = asked(box, 1, last)
    assert gaps == []
    assert back == len(box.pending(10**6))
    assert len(box.pending(10**6)) == last - lost
    box.close()


def test_of_thousands_that_were_told_only_those_that_are_asked_for_are_looked_at(
    box: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A salvage may tell every other number: looking at all of them for each request held the edge up for seconds."""
    committed(box, 400)
    looked: list[int] = []
    for gone in range(2, 400, 2):
        cut(box, gone, gone)
        assert len(asked(box, gone, gone)[1]) == 1

    def counted(runs: Sequence[Run], others: Sequence[Run]) -> Iterator[Run]:
        looked.extend(first for first, _ in others)
        return without(runs, others)

    monkeypatch.setattr(replaying, "without", counted)
    assert asked(box, 100, 100) == (0, [])
    assert looked == [100]


def test_only_a_module_s_nearest_rows_are_looked_at(box: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    committed(box, 2000)
    epoch = box.last()[0]
    box.receipt(box.stream, epoch, 2000)
    cut(box, 1000, 1003)
    looked, accounted = [], holes._accounted
    monkeypatch.setattr(holes, "_accounted", lambda row, periods: looked.append(row[0]) or accounted(row, periods))
    _, gaps = asked(box, 1000, 1003)
    assert told(box, gaps) == [("spool_cap", 1000, 1003, epoch, 4)]
    assert set(looked) == {999, 1004}
