"""What is sent when: new before old, never more than the window, again and again until the server has it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from cellherd import topics, wire
from collectors import entries, sender
from collectors.entries import Entry
from collectors.orders import Receipt, Replay
from collectors.outbox import Outbox
from collectors.pace import FIRST, MOST
from collectors.sender import FIRST_S, JITTER, SCAN, WINDOW, Sender
from tests.collectors.outboxes import bodies, outbox, reading, record

Key = tuple[str, int]


class Wire:
    """A broker that keeps what it is given, while it is there."""

    def __init__(self) -> None:
        self.there = True
        self.sent: list[tuple[str, bytes]] = []

    def publish(self, topic: str, payload: bytes) -> bool:
        if self.there:
            self.sent.append((topic, payload))
        return self.there

    def take(self) -> list[dict[Key, int]]:
        """What was sent since the last look: a message is its numbers with their voltages (0: a record)."""
        taken, self.sent = self.sent, []
        return [contents(*message) for message in taken]


def contents(topic: str, payload: bytes) -> dict[Key, int]:
    channel = topics.parse(topic).channel
    if channel == "e":
        body = wire.unpack_record(payload)
        return {(body["epoch"], body["seq"]): 0}
    source, lines = wire.unpack(wire.inflate(payload) if channel == "rz" else payload)
    return {(source.epoch, line.seq): int(str(line.row["voltage_mv"])) for line in lines}


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Outbox]:
    opened = outbox(tmp_path)
    yield opened
    opened.close()


def numbers(messages: list[dict[Key, int]]) -> list[list[int]]:
    return [[seq for _, seq in message] for message in messages]


def made(box: Outbox) -> tuple[Sender, Wire]:
    line = Wire()
    return Sender("hillside", box, line.publish, Random(1)), line


def receipt(box: Outbox, upto: int, **more: Any) -> Receipt:
    return Receipt(box.stream, box.last()[0], upto, **more)


def test_each_commit_leaves_at_once_with_one_message_a_module(box: Outbox) -> None:
    send, line = made(box)
    send.committed(box.commit([reading(1, "m1"), reading(2, "m2"), reading(3, "m1")]))
    send.turn(1.0)
    assert numbers(line.take()) == [[1, 3], [2]]
    send.turn(2.0)
    assert line.take() == []


def test_what_has_no_receipt_is_sent_again_ever_more_seldom(box: Outbox) -> None:
    send, line = made(box)
    send.committed(box.commit([reading(1), reading(2)]))
    times = []
    for tenth in range(10, 40_000):
        send.turn(tenth / 10)
        if line.take():
            times.append(tenth / 10)
    waits = [after - before for before, after in pairwise(times)]
    assert all(
        wait * (1 - JITTER) - 0.2 <= seen <= wait * (1 + JITTER) + 0.2
        for seen, wait in zip(waits, (FIRST_S, 20, 40, 80, 160, 300, 300, 300), strict=False)
    ), waits
    send.receipt(receipt(box, 1))
    send.turn(5000.0)
    assert numbers(line.take()) == [[2]], "only the rest is sent again"
    send.receipt(receipt(box, 0, also=((2, 2),)))
    send.turn(9000.0)
    assert (line.take(), box.depth()) == ([], 0)


def test_on_a_new_connection_everything_without_a_receipt_goes_at_once(box: Outbox) -> None:
    send, line = made(box)
    send.committed(box.commit([reading(1)]))
    send.turn(1.0)
    line.take()
    send.reconnected()
    send.turn(1.1)
    assert numbers(line.take()) == [[1]]


def told(box: Outbox, sent: list[dict[Key, int]]) -> Receipt:
    """The receipt for these messages."""
    return receipt(box, 0, also=tuple((seq, seq) for message in sent for _, seq in message))


def test_never_more_than_the_windows_are_on_their_way_and_old_rows_follow_what_is_new(box: Outbox) -> None:
    box.commit([reading(n, f"m{n % 20}") for n in range(200)])
    send, line = made(box)
    send.turn(1.0)
    old = line.take()
    assert len(old) == FIRST
    send.committed(box.commit([reading(n, f"m{n % 20}") for n in range(200, 220)]))
    send.turn(1.1)
    new = line.take()
    assert numbers(new) == [[seq] for seq in range(201, 201 + WINDOW)], "what is new overtakes"
    send.receipt(told(box, old))
    send.turn(1.2)
    assert line.take() == [], "no history while something new waits"
    send.receipt(told(box, new))
    send.turn(1.3)
    assert numbers(line.take())[:WINDOW] == [[seq] for seq in range(211, 211 + WINDOW)]


def drained(box: Outbox, line: Wire, send: Sender, after_s: float, turns: int) -> list[int]:
    """How many messages each turn sent, with receipts that take so long."""
    sent = []
    for turn in range(turns):
        now = 1.0 + turn * after_s
        send.turn(now)
        came = line.take()
        sent.append(len(came))
        send.turn(now + after_s - 0.01)
        assert line.take() == []
        send.receipt(told(box, came))
    return sent


def test_receipts_that_come_quickly_earn_history_more_room_and_a_new_connection_begins_anew(box: Outbox) -> None:
    box.commit([reading(n, f"m{n}") for n in range(400)])
    send, line = made(box)
    assert drained(box, line, send, 0.5, 6) == [FIRST, 2 * FIRST, MOST, MOST, MOST, MOST]
    send.reconnected()
    send.turn(9.0)
    assert len(line.take()) == FIRST


def test_a_receipt_counts_from_when_it_comes_not_from_the_turn_before(box: Outbox) -> None:
    box.commit([reading(n, f"m{n}") for n in range(400)])
    send, line = made(box)
    send.turn(1.0)
    send.receipt(told(box, line.take()), 9.0)
    send.turn(9.0)
    assert len(line.take()) == 1


@pytest.mark.parametrize("seed", range(3))
def test_what_was_sent_in_vain_while_the_server_was_away_arrives_once_it_is_back(box: Outbox, seed: int) -> None:
    """The broker took it all: what was tried often then is no poison, however much overtakes it afterwards."""
    line = Wire()
    send = Sender("hillside", box, line.publish, Random(seed))
    arrived: dict[int, float] = {}
    made: dict[int, float] = {}
    back = 1000.0
    for now in (half / 2 for half in range(2 * 1400)):
        if now % 5 == 0:
            rows = box.commit([reading(round(now), f"m{n}") for n in range(4)])
            made |= {row.seq: now for row in rows}
            send.committed(rows)
        send.turn(now)
        came = line.take()
        if now >= back and came:
            arrived |= {seq: now for message in came for _, seq in message if seq not in arrived}
            send.receipt(told(box, came), now + 0.1)
    assert not box.dropped
    assert {seq for seq, at in made.items() if at < 1390} <= {*arrived}


def test_receipts_that_take_long_or_do_not_come_leave_history_the_least_room(box: Outbox) -> None:
    box.commit([reading(n, f"m{n}") for n in range(400)])
    send, line = made(box)
    assert drained(box, line, send, 5.0, 3) == [FIRST, 1, 1]
    assert drained(box, line, send, 0.5, 5)[-1] == MOST
    send.turn(100.0)
    lost = line.take()
    assert len(lost) == MOST
    send.turn(100.0 + FIRST_S * (1 + JITTER))
    assert numbers(line.take()) == numbers(lost), "sent again"
    send.receipt(told(box, lost))
    send.turn(113.0)
    assert len(line.take()) == 1


def test_of_a_long_backlog_only_full_messages_leave_but_none_is_held_back_for_it(box: Outbox) -> None:
    """Nine modules, and one that spoke twice at the beginning: its message does not wait for more that never comes."""
    box.commit([reading(n, "quiet") for n in range(2)])
    box.commit([reading(n, f"m{n % 9}") for n in range(2 * SCAN)])
    send, line = made(box)
    sizes: list[int] = []
    for turn in range(100):
        send.turn(1.0 + turn)
        came = line.take()
        sizes += [len(message) for message in came]
        send.receipt(told(box, came))
    assert sizes[0] == 2
    assert sum(sizes) == 2 * SCAN + 2
    assert [size for size in sizes[:-9] if size < entries.PACK] == [2]


def test_old_rows_are_packed_and_deflated(box: Outbox) -> None:
    box.commit([reading(n) for n in range(150)])
    send, line = made(box)
    send.turn(1.0)
    assert [topic for topic, _ in line.sent] == ["fleet/hillside/rz/s1/m1"] * 3
    assert sum(len(payload) for _, payload in line.sent) < 150 * 150
    assert [len(message) for message in line.take()] == [60, 60, 30]


def test_readings_of_a_battery_at_rest_go_in_parts_that_are_no_bombs(box: Outbox) -> None:
    same = reading(1)
    box.commit([same] * 60)
    send, line = made(box)
    send.turn(1.0)
    assert sorted(seq for message in numbers(line.take()) for seq in message) == list(range(1, 61))


def test_a_newer_reading_takes_the_place_of_one_that_waits_and_that_one_follows_later(box: Outbox) -> None:
    send, line = made(box)
    line.there = False
    for n in range(3):
        send.committed(box.commit([reading(n)]))
        send.turn(n + 1.0)
    line.there = True
    send.reconnected()
    send.turn(9.0)
    first, *rest = numbers(line.take())
    assert sorted([*first, *(seq for message in rest for seq in message)]) == [1, 2, 3]


def test_urgent_rows_overtake_and_a_record_is_a_message_of_its_own(box: Outbox) -> None:
    send, line = made(box)
    send.committed(box.commit([reading(1), record("trips"), reading(2, urgent=True)]))
    send.turn(1.0)
    assert topics.parse(line.sent[0][0]).channel == "e"
    assert numbers(line.take()) == [[2], [3], [1]]


def test_a_message_that_would_be_too_large_goes_in_halves_and_a_reading_that_is_becomes_a_gap(box: Outbox) -> None:
    noise = Random(7).randbytes(18_000).hex()
    large = reading(1)
    rows = [Entry(large.about, {**large.body, "raw": {"dump": noise}}) for _ in range(3)]
    huge = Entry(large.about, {**large.body, "raw": {"dump": noise * 2}})
    box.commit([*rows, huge])
    send, line = made(box)
    send.turn(1.0)
    assert sorted(seq for message in numbers(line.take()) for seq in message) == [1, 2, 3]
    assert [body["reason"] for body in bodies(box, box.commit())] == ["rejected"]


def test_a_replay_brings_rows_back(box: Outbox) -> None:
    send, line = made(box)
    send.committed(box.commit([reading(n) for n in range(5)]))
    send.turn(1.0)
    line.take()
    send.receipt(receipt(box, 5))
    send.replay(Replay(box.stream, box.last()[0], 2, 3))
    send.turn(2.0)
    assert numbers(line.take()) == [[2, 3]]


def test_refused_rows_are_not_sent_again(box: Outbox) -> None:
    send, line = made(box)
    send.committed(box.commit([reading(1), reading(2, "m2")]))
    send.turn(1.0)
    line.take()
    send.receipt(receipt(box, 0, also=((2, 2),), bad={1: "range"}))
    send.committed(box.commit())
    for now in (50.0, 500.0):
        send.turn(now)
    told = {value for message in line.take() for value in message.values()}
    assert told == {0}, "only the gap that tells of it"


def test_one_bad_reading_is_found_in_a_full_message_and_its_neighbours_arrive(box: Outbox) -> None:
    send, line = made(box)
    box.commit([reading(n) for n in range(1, 61)])
    had: set[int] = set()
    for now in range(1, 99):
        send.turn(float(now))
        for seqs in numbers(line.take()):
            bad = 23 in seqs
            had |= set() if bad else set(seqs)
            also = tuple((seq, seq) for seq in sorted(had))
            send.receipt(receipt(box, 0, also=also, bad=dict.fromkeys(seqs, "range") if bad else {}))
    assert had == set(range(1, 61)) - {23}
    (gap,) = bodies(box, box.commit())
    assert (gap["reason"], gap["slots"], gap["from_seq"]) == ("rejected", 1, 23)


def test_readings_of_an_edge_that_is_not_enrolled_are_kept_for_a_replay(box: Outbox) -> None:
    send, line = made(box)
    send.committed(box.commit([reading(1), reading(2)]))
    send.turn(1.0)
    send.receipt(receipt(box, 0, bad={1: "unknown_module", 2: "unknown_module"}))
    line.take()
    send.replay(Replay(box.stream, box.last()[0], 1, 2))
    send.turn(2.0)
    assert numbers(line.take()) == [[1, 2]]


def test_what_never_arrives_while_a_hundred_later_messages_do_is_found_and_given_up(box: Outbox) -> None:
    send, line = made(box)
    send.committed(box.commit([reading(number, "m1") for number in (1, 2, 3)]))
    had: set[int] = set()
    told: list[dict[str, Any]] = []
    for turn in range(5 * sender.OVERTAKEN):
        rows = box.commit([reading(100 + turn, "m2")])
        told += [body for body in bodies(box, rows) if "reason" in body]
        send.committed(rows)
        send.turn(400.0 * turn + 1)
        had |= {seq for message in line.take() if 2 not in message.values() for _, seq in message}
        send.receipt(receipt(box, 0, also=tuple((seq, seq) for seq in sorted(had))))
    assert {1, 3} <= had, "its neighbours arrived"
    assert 2 not in {row.seq for row in box.pending(99)}, "it is not sent again"
    assert box.dropped == {"rejected": 1}
    assert [(gap["reason"], gap["slots"], gap["from_seq"]) for gap in told] == [("rejected", 1, 2)]


class OutboxAndServer(RuleBasedStateMachine):
    """Anything may be lost, doubled, late or out of order, and the edge may die at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.now = 1.0
        self.said = 0
        self.committed: dict[Key, int] = {}
        self.server: dict[Key, int] = {}
        self.network: list[dict[Key, int]] = []
        self.receipts: list[Receipt] = []
        self.open()

    def open(self) -> None:
        self.box = outbox(Path(self.folder.name))
        self.box._spool._db.execute("pragma synchronous=off")  # this machine does not lose power, only its process
        self.sender, self.line = made(self.box)

    @rule(modules=st.lists(st.sampled_from(["m1", "m2", "m3"]), min_size=1, max_size=4), urgent=st.booleans())
    def commit(self, modules: list[str], urgent: bool) -> None:
        said = [reading(self.said + i, module, urgent=urgent) for i, module in enumerate(modules)]
        rows = self.box.commit(said)
        for i, row in enumerate(rows):
            self.committed[row.epoch, row.seq] = self.said + i
        self.said += len(modules)
        self.sender.committed(rows)

    @rule(wait_s=st.sampled_from([0.1, 15.0, 400.0]), there=st.booleans())
    def turn(self, wait_s: float, there: bool) -> None:
        self.now += wait_s
        self.line.there = there
        self.sender.turn(self.now)
        self.network += self.line.take()

    @rule(pick=st.randoms(use_true_random=False), lost=st.booleans(), again=st.booleans())
    def deliver(self, pick: Random, lost: bool, again: bool) -> None:
        if self.network:
            message = self.network[pick.randrange(len(self.network))]
            if not again:
                self.network.remove(message)
            if not lost:
                self.server |= message

    @rule(pick=st.randoms(use_true_random=False))
    def say_receipt(self, pick: Random) -> None:
        epochs = sorted({epoch for epoch, _ in self.server})
        if epochs:
            self.receipts.append(self.receipt_of(epochs[pick.randrange(len(epochs))]))

    def receipt_of(self, epoch: str) -> Receipt:
        had = sorted(seq for known, seq in self.server if known == epoch)
        upto = next((n for n, seq in enumerate(had) if seq != n + 1), len(had))
        return Receipt(self.box.stream, epoch, upto, tuple((seq, seq) for seq in had[upto:]))

    @rule(pick=st.randoms(use_true_random=False), again=st.booleans())
    def hear_receipt(self, pick: Random, again: bool) -> None:
        if self.receipts:
            at = pick.randrange(len(self.receipts))
            self.sender.receipt(self.receipts[at] if again else self.receipts.pop(at))

    @rule(first=st.integers(1, 9), more=st.integers(0, 9))
    def replay(self, first: int, more: int) -> None:
        self.sender.replay(Replay(self.box.stream, self.box.last()[0], first, first + more))

    @rule()
    def reconnect(self) -> None:
        self.sender.reconnected()

    @rule()
    def crash(self) -> None:
        self.box.abandon()
        self.open()

    @invariant()
    def only_what_the_server_has_is_freed(self) -> None:
        waiting = {(row.epoch, row.seq) for row in self.box.pending(10_000)}
        assert self.committed.keys() - self.server.keys() <= waiting <= self.committed.keys()
        assert len(waiting) == self.box.depth()

    def teardown(self) -> None:
        self.line.there = True
        for _ in range(200):
            if not self.box.depth():
                break
            self.now += 400
            self.sender.turn(self.now)
            for message in self.line.take():
                self.server |= message
            for epoch in {epoch for epoch, _ in self.server}:
                self.sender.receipt(self.receipt_of(epoch))
        self.box.close()
        self.folder.cleanup()
        assert self.server == self.committed, "all that was committed arrives, as it was said"


TestOutboxAndServer = OutboxAndServer.TestCase
TestOutboxAndServer.settings = settings(max_examples=60, stateful_step_count=40)


def test_the_numbers_of_this_page_are_those_of_the_design() -> None:
    assert (WINDOW, FIRST_S, sender.LONGEST_S, entries.PACK) == (10, 10, 300, 60)
