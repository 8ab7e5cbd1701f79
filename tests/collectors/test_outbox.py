"""The outbox: nothing committed is lost or numbered twice, whatever is dropped is told, what is broken is noticed."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from collectors import outbox as outbox_module
from collectors import spool
from collectors.entries import PACK, Batch, Entry, Instant, Numbered, batches, gaps
from collectors.outbox import Outbox
from tests.collectors.outboxes import (
    BOOT,
    MIB,
    NOW,
    HandClock,
    bodies,
    everything,
    outbox,
    reading,
    record,
    seqs,
)

HOUSE = Path(__file__).parents[2]


def test_the_file_is_set_up_to_survive_a_power_cut(tmp_path: Path) -> None:
    box = outbox(tmp_path, 8 * MIB)
    said = {
        name: box._spool._db.execute(f"pragma {name}").fetchone()[0]
        for name in ("journal_mode", "synchronous", "wal_autocheckpoint", "journal_size_limit", "max_page_count")
    }
    box.close()
    full = 2
    assert said == {
        "journal_mode": "wal",
        "synchronous": full,
        "wal_autocheckpoint": 64,
        "journal_size_limit": MIB,
        "max_page_count": 8 * MIB // 4096,
    }


def test_numbers_count_from_one_over_all_modules_and_every_opening_is_an_epoch_of_its_own(tmp_path: Path) -> None:
    box = outbox(tmp_path)
    first = box.commit([reading(1, "m1"), reading(2, "m2"), record("trips")])
    stream = box.stream
    box.close()
    box = outbox(tmp_path)
    second = box.commit([reading(3)])
    assert (seqs(first), seqs(second)) == ([1, 2, 3], [1])
    assert first[0].epoch != second[0].epoch
    assert box.stream == stream
    assert box.epochs() == [(first[0].epoch, 3), (second[0].epoch, 1)]
    assert [(row.epoch, row.seq) for row in box.pending(9)] == [(r.epoch, r.seq) for r in (*first, *second)]
    assert box.depth() == 4
    box.close()


def test_only_a_receipt_frees_a_row(tmp_path: Path) -> None:
    box = outbox(tmp_path)
    epoch = box.commit([reading(n) for n in range(1, 11)])[0].epoch
    assert box.receipt(box.stream, epoch, 3) == 3
    assert box.receipt(box.stream, epoch, 0, [[6, 7]]) == 2
    assert seqs(box.pending(99)) == [4, 5, 8, 9, 10]
    assert box.receipt(box.stream, epoch, 3, [[6, 7]]) == 0, "a receipt that comes twice frees nothing more"
    assert box.receipt(box.stream, epoch, 5) == 2
    assert box.receipt("0" * 32, epoch, 99) == 0, "a receipt for another file"
    assert box.receipt(box.stream, "0" * 16, 99) == 0, "a receipt for an epoch that is not kept"
    assert (seqs(box.pending(99)), box.depth()) == ([8, 9, 10], 3)
    box.close()
    box = outbox(tmp_path)
    assert (seqs(box.pending(99)), box.depth()) == ([8, 9, 10], 3)
    box.close()


def test_a_receipt_beyond_the_last_number_frees_nothing_that_comes_later(tmp_path: Path) -> None:
    box = outbox(tmp_path)
    epoch = box.commit([reading(1)])[0].epoch
    box.receipt(box.stream, epoch, 10**9, [[5, 10**12]])
    box.commit([reading(2)])
    assert seqs(box.pending(9)) == [2]
    box.close()


def test_a_refused_reading_is_kept_not_sent_again_and_told_as_a_gap(tmp_path: Path) -> None:
    box = outbox(tmp_path)
    rows = box.commit([reading(1), reading(2), record("trips")])
    assert box.refused(box.stream, rows[0].epoch, [2, 3]) == 2
    assert box.refused(box.stream, rows[0].epoch, [2, 3]) == 0
    told = box.commit()
    assert seqs(box.pending(9)) == [1, 4]
    (gap,) = bodies(box, told)
    assert (gap["reason"], gap["slots"], gap["from_seq"], gap["to_seq"]) == ("rejected", 1, 2, 2)
    assert everything(tmp_path / "outbox.db")[2] == 1
    box.close()


def test_the_server_can_have_rows_again(tmp_path: Path) -> None:
    box = outbox(tmp_path)
    epoch = box.commit([reading(n) for n in range(1, 11)])[0].epoch
    box.receipt(box.stream, epoch, 8)
    assert box.replay(box.stream, epoch, 3, 5) == 3
    assert seqs(box.pending(99)) == [3, 4, 5, 9, 10]
    assert box.replay(box.stream, epoch, 0, 99) == 5
    assert seqs(box.pending(99)) == list(range(1, 11))
    assert (box.depth(), box.replay("0" * 32, epoch, 1, 9)) == (10, 0)
    box.receipt(box.stream, epoch, 10)
    assert (box.pending(9), box.depth()) == ([], 0)
    box.close()


def small(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Outbox:
    monkeypatch.setattr(spool, "CHUNK", 50)
    return outbox(folder, MIB)


def fill(box: Outbox, first: int, last: int) -> None:
    for n in range(first, last, 10):
        box.commit([reading(i, f"m{i % 3}", ts=NOW + i) for i in range(n, n + 10)])


def test_at_the_cap_rows_with_a_receipt_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    box = small(tmp_path, monkeypatch)
    fill(box, 0, 900)
    box.receipt(box.stream, box.last()[0], 0, [[101, 700]])
    fill(box, 900, 2200)
    assert (box.drops, box.depth()) == (0, 1600)
    assert len(everything(tmp_path / "outbox.db")) < 2200
    box.close()


def test_at_the_cap_the_oldest_readings_go_before_events_and_every_one_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = small(tmp_path, monkeypatch)
    box.commit([record("trips"), reading(-1, urgent=True)])
    fill(box, 0, 4000)
    rows = box.pending(10_000)
    found = bodies(box, rows)
    gaps = [body for body in found if "slots" in body]
    readings = [body for body in found if "voltage_mv" in body]
    assert {body["reason"] for body in gaps} == {"spool_cap"}
    assert len(readings) + sum(body["slots"] for body in gaps) == 4001, "every slot is a reading or part of a gap"
    assert (found[0]["name"], found[1]["voltage_mv"]) == ("trips", -1), "events stay longest"
    assert readings[1]["voltage_mv"] > 2000, "the newest readings are the ones that stay"
    assert box.drops == 4001 - len(readings)
    sizes = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert sizes < 3 * MIB
    box.close()
    assert outbox(tmp_path).drops == 4001 - len(readings)


def test_gaps_that_are_dropped_live_on_in_other_gaps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    box = small(tmp_path, monkeypatch)
    about = record("x").about
    for n in range(6000):
        body = {"from_ts": n, "to_ts": n + 1, "from_seq": None, "to_seq": None, "reason": "timeout", "slots": 2}
        if n % 20 == 0:
            box.commit([Entry(replace(about, event="gap"), body, urgent=True)] * 20)
    gaps = bodies(box, box.pending(10_000))
    assert box.drops > 0
    assert sum(gap["slots"] for gap in gaps) == 12_000
    assert {gap["reason"] for gap in gaps} == {"timeout"}
    box.close()


def test_what_a_dropped_gap_told_of_numbers_is_told_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a disk that others fill, rows go, then the gaps that tell of them, then those that tell of these."""
    room = [64 * MIB]
    box = Outbox(tmp_path / "outbox.db", HandClock(), 64 * MIB, room=lambda: room[0])
    given = {(row.epoch, row.seq) for n in range(50) for row in box.commit([reading(n, f"m{n % 3}")])}
    for _ in range(4):
        room[0] = -MIB
        given |= {(row.epoch, row.seq) for row in box.commit([reading(99)])}
        room[0] = 64 * MIB
        box.renew()
    rows = box.pending(999)
    found = bodies(box, rows)
    told = {(g["of_epoch"], seq) for g in found if "slots" in g for seq in range(g["from_seq"], g["to_seq"] + 1)}
    assert given <= told | {(row.epoch, row.seq) for row in rows}
    assert sum("voltage_mv" in body for body in found) + sum(g.get("slots", 0) for g in found) == 54
    box.close()


def test_what_went_for_the_rows_of_another_outbox_is_told_with_them(tmp_path: Path) -> None:
    room = [64 * MIB]
    box = Outbox(tmp_path / "outbox.db", HandClock(), 64 * MIB, room=lambda: room[0])
    given = {(row.epoch, row.seq) for n in range(50) for row in box.commit([reading(n)])}
    other = Outbox(None, HandClock(), 64 * MIB, identity=(box.stream, box.client))
    given |= {(row.epoch, row.seq) for row in other.commit([reading(n) for n in range(50, 60)])}
    room[0] = -MIB
    assert box.adopt(other) == 10
    other.abandon()
    box.abandon()  # as a process that is killed
    again = outbox(tmp_path)
    rows = again.pending(999)
    found = [body for body in bodies(again, rows) if "slots" in body]
    told = {(gap["of_epoch"], seq) for gap in found for seq in range(gap["from_seq"], gap["to_seq"] + 1)}
    assert sum(gap["slots"] for gap in found) >= 50
    assert given <= told | {(row.epoch, row.seq) for row in rows}
    again.close()


def test_times_of_a_gap_bound_its_slots_and_go_by_the_clock_of_its_record() -> None:
    """A record that is lost beside a reading holds no slot, and the clock has been set since."""
    lost = [
        Numbered("e", seq, False, replace(about, ts=about.ts - 60_000, bt=about.bt + 500 * seq))
        for seq, about in ((1, record("x").about), (2, reading(1).about), (3, reading(2).about), (9, record("y").about))
    ]
    now = Instant(NOW + 5000, 1_005_000, "ntp", BOOT)
    (entry,) = gaps(((row, {}) for row in lost), "spool_cap", now)
    assert (entry.body["from_ts"], entry.body["to_ts"], entry.body["slots"]) == (NOW + 1000, NOW + 1500, 2)
    assert (entry.body["from_seq"], entry.body["to_seq"]) == (1, 9)


def test_a_row_whose_bits_flipped_becomes_a_gap_and_its_neighbours_go_on(tmp_path: Path) -> None:
    box = outbox(tmp_path)
    box.commit([reading(n) for n in range(1, 6)])
    box.close()
    db = sqlite3.connect(tmp_path / "outbox.db")
    with db:
        db.execute("update row set body=replace(body, '33', '34') where seq=2")
        db.execute("update row set body=cast(x'7bff7d' as text) where seq=3")
        db.execute("update row set module='M 1' where seq=4")
    db.close()
    box = outbox(tmp_path)
    read = [body["voltage_mv"] for batch in batches(box.pending(9)) for _, body in box.read(batch)]
    gaps = [(row.about.module, body["reason"], body["slots"]) for row in box.commit() for body in bodies(box, [row])]
    assert read == [1, 5]
    assert sorted(gaps) == [("edge", "corrupt_row", 1), ("m1", "corrupt_row", 2)]
    assert not box.commit(), "told once"
    box.close()


BEFORE = """
create table old as select n, id, boot, opened_ts, opened_bt, clk, 4 as last_seq, mark, 1 as waiting from epoch;
drop table epoch; drop table gone; drop table spare; drop table roll;
create table epoch (n integer primary key, id text not null unique, boot text not null,
    opened_ts integer not null, opened_bt integer not null, clk text not null,
    last_seq integer not null default 0, mark integer not null default 0, waiting integer not null default 0);
insert into epoch select * from old;
drop table old;
update row set state=(case seq when 4 then 1 when 5 then 2 when 6 then 3 else 0 end);
delete from row where seq in (2, 7);
update epoch set waiting=(select count(*) from row where state=0 and seq>mark);
pragma user_version=0;
"""
"""Makes of a file one of before: no witnesses, states 1 to 3, and the line behind its rows."""


def test_a_file_of_before_gets_its_witnesses_and_loses_nothing(tmp_path: Path) -> None:
    box = outbox(tmp_path)
    box.commit([reading(n) for n in range(1, 11)])
    box.receipt(box.stream, box.last()[0], 1)
    box.close()
    db = sqlite3.connect(tmp_path / "outbox.db")
    db.executescript(BEFORE)
    db.close()
    box = outbox(tmp_path)
    assert seqs(box.pending(99)) == [3, 8, 9, 10]
    assert [body["voltage_mv"] for body in bodies(box, box.pending(99))] == [3, 8, 9, 10]
    box.receipt(box.stream, box.epochs()[0][0], 1, [(3, 3), (8, 10)])
    assert box.depth() == 0
    box.close()
    assert outbox(tmp_path).depth() == 0


def test_rows_with_a_receipt_are_kept_for_a_month(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_module, "TRIM_EVERY", 1)
    clock = HandClock()
    box = outbox(tmp_path, clock=clock)
    box.commit([reading(n) for n in range(5)])
    box.receipt(box.stream, box.last()[0], 4)
    clock.go(29 * 86_400_000)
    box.commit([reading(5, ts=clock.ts)])
    assert len(everything(tmp_path / "outbox.db")) == 6
    clock.go(2 * 86_400_000)
    box.commit([reading(6, ts=clock.ts)])
    assert set(everything(tmp_path / "outbox.db")) == {4, 5, 6}, "what has no receipt stays"
    box.close()
    assert outbox(tmp_path).epochs()[0][1] == 7


def test_a_message_is_of_one_module_one_epoch_and_one_clock(tmp_path: Path) -> None:
    box = outbox(tmp_path)
    jumped = reading(9)
    after_a_jump = Entry(replace(jumped.about, ts=NOW + 1001), {})
    box.commit([*(reading(n, f"m{n % 2}") for n in range(130)), record("trips"), record("trips"), after_a_jump])
    found = batches(box.pending(999))
    assert [len(batch.seqs) for batch in found] == [PACK, PACK, 5, 5, 1, 1, 1]
    assert [batch.about.module for batch in found[:2]] == ["m0", "m1"]
    assert sorted(seq for batch in found for seq in batch.seqs) == list(range(1, 134))
    box.close()


WRITER = """
import sys
from dataclasses import replace
from pathlib import Path
sys.path.insert(0, {house!r})
from collectors import outbox as outbox_module
from collectors.sender import Sender
from tests.collectors.outboxes import NOW, HandClock, outbox, reading
outbox_module.TRIM_EVERY, outbox_module.KEEP_MS = 2, 1
clock = HandClock(ts=NOW + 1000)
box = outbox(Path({folder!r}), clock=clock)
sender = Sender("hillside", box, lambda topic, payload: True)
for n in range(int(sys.argv[1]), int(sys.argv[1]) + 40, 4):
    sender.committed(box.commit([reading(i) for i in range(n, n + 4)]))
    print("committed", n + 3, flush=True)
    sender.turn(float(n + 1))
    if n % 8 == 0:
        print("receipt", n + 1, flush=True)
        epoch, last = box.last()
        box.receipt(box.stream, epoch, last - 2)
"""


@pytest.mark.parametrize(
    "point",
    [
        "outbox.before_commit:3",
        "outbox.after_commit:3",
        "sender.after_publish:3",
        "outbox.before_receipt:2",
        "outbox.trim:2",
    ],
)
def test_killed_at_any_point_nothing_committed_is_lost_and_nothing_stands_twice(tmp_path: Path, point: str) -> None:
    program = WRITER.format(house=str(HOUSE), folder=str(tmp_path))
    said: list[str] = []
    for start in (0, 40):
        run = subprocess.run(
            [sys.executable, "-c", program, str(start)],
            env={**os.environ, "CELLHERD_FAILPOINT": point},
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == -signal.SIGKILL, run.stderr
        assert f"committed {start + 7}" in run.stdout
        said += run.stdout.splitlines()
    committed = {
        n
        for line in said
        if line.startswith("committed")
        for n in range(int(line.split()[1]) - 3, int(line.split()[1]) + 1)
    }
    receipted = {
        n
        for line in said
        if line.startswith("receipt")
        for n in range(int(line.split()[1]) // 40 * 40, int(line.split()[1]) + 1)
    }
    box = outbox(tmp_path)
    waiting = [body["voltage_mv"] for body in bodies(box, box.pending(999))]
    kept = everything(tmp_path / "outbox.db")
    assert len(waiting) == len(set(waiting)) == box.depth()
    assert committed - receipted <= set(waiting)
    assert set(kept.values()) == {1}
    assert len(box.epochs()) == 3
    box.close()


def test_reading_one_message_does_not_walk_through_the_backlog(tmp_path: Path) -> None:
    box = outbox(tmp_path)
    rows = box.commit([reading(n) for n in range(5000)])
    batch = Batch(rows[0].epoch, tuple(row.seq for row in rows[:300:5]), rows[0].about)
    steps = []
    box._spool._db.set_progress_handler(lambda: steps.append(1), 1000)
    assert len(box.read(batch)) == 60
    assert len(steps) < 10, "thousands of steps of SQLite's machine; through all rows it would be about 40"
    box.close()
