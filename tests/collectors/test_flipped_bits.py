"""One bit goes bad anywhere in a small outbox or its log: every number is sent as it was, or told as a gap."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest

from collectors import ballast, outbox, shedding, spool
from collectors.entries import batches
from collectors.safekeeping import FILE, Safekeeping
from tests.collectors.outboxes import MIB, HandClock
from tests.collectors.test_safekeeping import PERIODS, two_modules

PARTS = (FILE, f"{FILE}-wal")
PAGE, LOG_HEADER, FRAME = 4096, 32, 4120
STEP = int(os.environ.get("CELLHERD_FLIP_STEP", "397"))
"""One bit of every so manyth byte; of the heads of files, pages and frames, and pointers to cells, every fourth."""


@dataclass
class Server:
    """What an outbox got rid of: the rows that came, and the numbers that gaps told."""

    came: dict[tuple[str, int], Any] = field(default_factory=dict)
    told: set[tuple[str, int]] = field(default_factory=set)

    def take(self, epoch: str, seq: int, body: dict[str, Any], event: str) -> None:
        known = self.came.setdefault((epoch, seq), body)
        assert known == body, "one number, two rows"
        if event == "gap" and body.get("from_seq") is not None:
            self.told |= {(body["of_epoch"], gone) for gone in range(body["from_seq"], body["to_seq"] + 1)}


@dataclass
class Scenario:
    """Files that are cleanly closed, or as a killed edge leaves them, and what the server had by then."""

    closed: dict[str, bytes]
    killed: dict[str, bytes]
    server: Server
    last: dict[str, int]
    last_commit: list[tuple[int, int]]


def opened(folder: Path) -> Safekeeping:
    return Safekeeping(folder, HandClock(), 8 * MIB, PERIODS, lambda: None)


def send(box: outbox.Outbox, server: Server, keep: Any = lambda seq: True) -> None:
    """Send what waits; the server gives receipts for what `keep` holds."""
    for batch in batches(box.pending(9999)):
        for row, body in box.read(batch):
            if keep(row.seq):
                server.take(batch.epoch, row.seq, body, row.about.event)
                box.receipt(box.stream, batch.epoch, 0, [(row.seq, row.seq)])
    box.commit()


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> Scenario:
    """Two epochs with rows done with and deleted, done with out of order, dropped and told, and waiting."""
    patch = pytest.MonkeyPatch()
    patch.setattr(ballast, "BALLAST", MIB)
    patch.setattr(spool, "CHUNK", 7)
    patch.setattr(shedding, "THIN_AFTER_MS", 10**15)
    running, server = tmp_path_factory.mktemp("running"), Server()
    for opening in range(3):
        box = opened(running).outbox
        for slot in range(10):
            box.commit(two_modules(10 * opening + slot))
        send(box, server, lambda seq: seq <= 6 or seq in (9, 10, 14))
        box._spool.begin()
        for _ in range(1 + opening % 2):
            box._spool.drop_done()
        if opening == 1:
            rows = box._spool._stored(box._spool.epochs[0], "n=? and seq in (11, 12)", ())
            box._spool.drop(box._spool.epochs[0], rows)
            box._owed += outbox.gaps(((row, {}) for row, _, _ in rows), "spool_cap", box.instant())
        rows = box.commit(two_modules(100 + opening))
        if opening < 2:
            box.close()
    killed = {part: (running / part).read_bytes() for part in PARTS}
    last = dict(box.epochs())
    box.abandon()
    closed = {FILE: (running / FILE).read_bytes()}
    patch.undo()
    return Scenario(closed, killed, server, last, [(opening, row.seq) for row in rows])


def spots(data: bytes, log: bool) -> Iterator[int]:
    """Places of bytes; a log says much twice, and each of its frames is summed at each start."""
    step = STEP * 3 if log and STEP > 1 else STEP
    for at in range(len(data)):
        in_page = (at - LOG_HEADER) % FRAME - 24 if log else at % PAGE
        head = in_page < (8 if log else 48) or at < (LOG_HEADER if log else 150)
        if at % (min(4, STEP) if head else step) == 0:
            yield at


def drained(folder: Path, server: Server) -> Safekeeping:
    """An edge's life until nothing waits any more, as its process would go on after an error."""
    keeping = opened(folder)
    for now in range(40):
        try:
            keeping.mend(100.0 * now)
            keeping.outbox.commit(keeping.notes)
            keeping.notes.clear()
            send(keeping.outbox, server)
            if not keeping.outbox.depth() and not keeping.trouble:
                return keeping
        except sqlite3.Error as error:
            keeping.failed(error, 100.0 * now)
    raise AssertionError("it never got rid of its rows")


def flipped(scenario: Scenario, folder: Path, part: str, at: int, bit: int) -> str:
    """What is wrong after one bit went bad; "" if nothing is."""
    for path in folder.iterdir():
        path.unlink()
    for name, data in (scenario.closed if part == FILE else scenario.killed).items():
        spoiled = bytearray(data)
        if name == part:
            spoiled[at] ^= 1 << bit
        (folder / name).write_bytes(spoiled)
    server = Server(dict(scenario.server.came), set(scenario.server.told))
    try:
        keeping = drained(folder, server)
    except AssertionError as error:
        return str(error)
    keeping.outbox.abandon()
    silent = [
        (n, seq)
        for n, (epoch, last) in enumerate(scenario.last.items())
        for seq in range(1, last + 1)
        if (epoch, seq) not in server.came and (epoch, seq) not in server.told
    ]
    if part != FILE and silent and silent == [*scenario.last_commit][-len(silent) :]:
        return ""  # it looks like a commit that a power cut tore, and its slots are told as the time off
    return f"silent: {silent}" if silent else ""


@pytest.mark.parametrize("part", PARTS)
def test_a_flipped_bit_hides_no_row(
    scenario: Scenario, part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ballast, "BALLAST", 4096)
    data, random = (scenario.closed if part == FILE else scenario.killed)[part], Random(1)
    wrong = {
        (at, bit): why
        for at in spots(data, part != FILE)
        if (why := flipped(scenario, tmp_path, part, at, bit := random.randrange(8)))
    }
    assert not wrong
