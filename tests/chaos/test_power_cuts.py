"""Outbox, receipts and ingester on disks that forget what was not synced: nothing is lost and nothing doubled.

The outbox, the sender, the ingester's intake, journal and ledger are the real ones; broker and store are a list each.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from cellherd.config import FleetConfig
from collectors import orders
from collectors.outbox import Outbox
from collectors.sender import Sender
from pipeline.ingest.service import Ingester
from pipeline.ingest.subscriber import Line, Message
from pipeline.journal import files
from tests.chaos.forgetful import Disk, PowerCutError, watched, why_not
from tests.chaos.keeper import lines
from tests.collectors.outboxes import MIB, HandClock, reading

EDGE = "lab"
FLEET = FleetConfig.model_validate(
    {"installer": [{"id": "us"}], "site": [{"id": "here", "installer": "us", "edge": EDGE}],
     "journal": {"reserve_mb": 0}}
)  # fmt: skip
SMALL_CAP = 4 * MIB
Key = tuple[str, int]
Said = tuple[str, int]
"""Module and the voltage that numbers a reading."""


def contents(entry: Any) -> dict[Key, tuple[str, str, object]]:
    """The new rows of a journal entry: event, module, and the voltage or a gap's slots."""
    found = {}
    for event, epoch, line in lines(entry):
        body = line["body"] if event else line["row"]
        assert isinstance(body, Mapping)
        found[epoch, int(str(line["seq"]))] = event, str(line["module"]), body.get("slots" if event else "voltage_mv")
    return found


class Store:
    """The ingester's stores: every segment once, whenever they like. Its own disk forgets nothing."""

    def __init__(self) -> None:
        self.upto, self.at = 0, 0
        self.rows: Counter[tuple[Key, tuple[str, str, object]]] = Counter()

    def start(self, _series: str, upto: int, moved: Callable[[int], None]) -> None:
        self.upto, self.moved = upto, moved

    def announce(self, upto: int) -> None:
        self.upto = upto

    def take(self, folder: Path) -> None:
        for number in files.segments(folder):
            if self.at < number <= self.upto:
                for entry in files.entries(folder, number):
                    self.rows.update(contents(entry).items())
                self.at = number
        self.moved(self.at)


class Deaf:
    """In place of the line to the broker: what the committer says to it is kept."""

    def __init__(self, _line: Line) -> None:
        self.receipts: list[tuple[str, bytes]] = []

    def done(self, _messages: list[Message], receipts: list[tuple[str, bytes]]) -> None:
        self.receipts += receipts


class PowerCuts(RuleBasedStateMachine):
    """Edge and server lose their power at any write or sync; messages and receipts are lost, doubled and late."""

    def __init__(self) -> None:
        super().__init__()
        self.last = ExitStack()
        folder = Path(self.last.enter_context(tempfile.TemporaryDirectory()))
        self.edge_disk, self.server_disk = Disk(folder / "edge"), Disk(folder / "server")
        self.edge_disk.folder.mkdir()
        noted = self.last.enter_context(watched(self.edge_disk, self.server_disk))
        self.now, self.clock = 1.0, HandClock()
        for patch in (
            mock.patch("pipeline.journal.files.os", noted),
            mock.patch("cellherd.paths.os", noted),
            mock.patch("pipeline.ingest.committer.monotonic", self.monotonic),
            mock.patch("pipeline.ingest.service.Subscriber", Deaf),
        ):
            self.last.enter_context(patch)
        self.said = 0
        self.committed: dict[Key, Said] = {}
        self.perhaps: set[Said] = set()
        """Readings whose commit the power cut: they may be there or not."""
        self.network: list[tuple[str, bytes]] = []
        self.receipts: list[tuple[str, bytes]] = []
        self.store = Store()
        self.open_edge()
        self.open_server()

    def monotonic(self) -> float:
        return self.now

    def open_edge(self) -> None:
        self.box = Outbox(self.edge_disk.folder / "outbox.db", self.clock, SMALL_CAP)
        self.sender = Sender(EDGE, self.box, self.publish, Random(1))

    def publish(self, topic: str, payload: bytes) -> bool:
        self.network.append((topic, payload))
        return True

    def open_server(self) -> None:
        self.ingester = Ingester(FLEET, self.server_disk.folder, self.store, Line("127.0.0.1", 1))
        running = self.ingester
        self.store.start(running.ledger.series(), running.journal.number - 1, running.journal.delete)

    def close_server(self) -> None:
        running = self.ingester
        for part in (running.journal, running.ledger, running.letters, running._lock):
            part.close()

    @rule(modules=st.lists(st.sampled_from(["m1", "m2"]), min_size=1, max_size=4), urgent=st.booleans())
    def commit(self, modules: list[str], urgent: bool) -> None:
        said = [(module, self.said + i) for i, module in enumerate(modules)]
        self.said += len(modules)
        self.perhaps |= {*said}
        rows = self.box.commit([reading(number, module, urgent=urgent) for module, number in said])
        self.perhaps -= {*said}
        self.committed |= {(row.epoch, row.seq): one for row, one in zip(rows, said, strict=False)}
        self.sender.committed(rows)

    @rule(wait_s=st.sampled_from([0.1, 15.0, 400.0]))
    def turn(self, wait_s: float) -> None:
        self.now += wait_s
        self.clock.go(round(wait_s * 1000))
        self.sender.turn(self.now)

    @rule()
    def go_well(self) -> None:
        """Everything is sent, taken and heard."""
        self.turn(0.1)
        some, self.network = self.network, []
        self.serve(some)
        while self.receipts:
            self.hear_receipt(Random(0), again=False)

    @rule()
    def reconnect(self) -> None:
        self.sender.reconnected()

    @rule(count=st.integers(0, 5), pick=st.randoms(use_true_random=False), lost=st.booleans(), again=st.booleans())
    def deliver(self, count: int, pick: Random, lost: bool, again: bool) -> None:
        """The ingester takes some of what is on its way, makes it durable, and gives receipts."""
        some = [self.network[pick.randrange(len(self.network))] for _ in range(count if self.network else 0)]
        if not again:
            self.network = [one for one in self.network if one not in some]
        self.serve([] if lost else some)

    def serve(self, some: list[tuple[str, bytes]]) -> None:
        self.now += 0.3
        self.ingester.committer._turn([Message(*one, self.clock.wall(), 1, 1, 1) for one in some])
        assert isinstance(self.ingester.subscriber, Deaf)
        self.receipts += self.ingester.subscriber.receipts
        self.ingester.subscriber.receipts.clear()

    @rule(pick=st.randoms(use_true_random=False), again=st.booleans())
    def hear_receipt(self, pick: Random, again: bool) -> None:
        if self.receipts:
            at = pick.randrange(len(self.receipts))
            topic, payload = self.receipts[at] if again else self.receipts.pop(at)
            order = orders.parse(EDGE, topic, payload)
            assert isinstance(order, orders.Receipt)
            self.sender.receipt(order)

    @rule()
    def seal(self) -> None:
        self.ingester.committer._seal()

    @rule()
    def stores(self) -> None:
        self.store.take(self.server_disk.folder / "journal")

    @rule(pick=st.randoms(use_true_random=False), after=st.integers(0, 12), urgent=st.booleans())
    def edge_cut(self, pick: Random, after: int, urgent: bool) -> None:
        """The edge's power fails in the midst of a commit, or right after it."""
        self.edge_disk.fuse = after
        try:
            self.commit(["m1", "m2"], urgent)
        except sqlite3.OperationalError:
            assert self.edge_disk.dark
        lay_out = self.edge_disk.cut(pick)
        self.box.abandon()
        lay_out()
        self.open_edge()

    @rule(pick=st.randoms(use_true_random=False), after=st.integers(0, 12), how=st.sampled_from(["serve", "seal"]))
    def server_cut(self, pick: Random, after: int, how: str) -> None:
        """The server's power fails in the midst of its work, or right after it."""
        self.server_disk.fuse = after
        self.ingester.committer._stopping.set()  # a disk without power is tried once, not for ever
        try:
            self.serve(self.network[:3]) if how == "serve" else self.ingester.committer._seal()
        except (PowerCutError, sqlite3.OperationalError):
            assert self.server_disk.dark
        lay_out = self.server_disk.cut(pick)
        self.close_server()
        lay_out()
        self.open_server()

    def durable(self) -> Counter[tuple[Key, tuple[str, str, object]]]:
        """Rows in the store, and in the journal behind it."""
        folder, found = self.server_disk.folder / "journal", self.store.rows.copy()
        for number in files.segments(folder):
            if number > self.store.at:
                for entry in files.entries(folder, number):
                    found.update(contents(entry).items())
        return found

    @invariant()
    def nothing_committed_is_lost_and_nothing_doubled(self) -> None:
        waiting = {(row.epoch, row.seq) for row in self.box.pending(100_000)}
        there = self.durable()
        had = Counter(key for key, _ in there.elements())
        assert not [key for key, times in had.items() if times > 1], "journalled twice"
        assert not self.committed.keys() - waiting - had.keys(), "lost"

    def teardown(self) -> None:
        try:
            self.everything_arrives()
        finally:
            self.box.abandon()
            self.close_server()
            self.last.close()

    def everything_arrives(self) -> None:
        for _ in range(300):
            if not self.box.depth():
                break
            self.now += 400.0
            self.go_well()
        self.seal()
        self.stores()
        assert not self.box.depth()
        told = Counter((module, number) for (_, (event, module, number)) in self.store.rows.elements() if not event)
        assert max(told.values(), default=1) == 1, "a reading stands under two numbers"
        assert {*self.committed.values()} <= {*told} <= {*self.committed.values()} | self.perhaps


if reason := why_not():
    pytestmark = pytest.mark.skip(reason=reason)
TestPowerCuts = PowerCuts.TestCase
TestPowerCuts.settings = settings(max_examples=100, stateful_step_count=30)
