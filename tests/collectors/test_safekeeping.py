"""Whatever happens to the outbox's file or its disk: it starts alone, keeps what can be kept, and tells of the rest."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from collectors import ballast, holes, outbox, safekeeping, salvage
from collectors.ballast import Ballast
from collectors.entries import Entry
from collectors.outbox import Outbox
from collectors.safekeeping import FILE, Safekeeping
from collectors.witness import line_sum
from tests.collectors.outboxes import MIB, NOW, HandClock, bodies, everything, reading

PERIODS = {("s1", "m1"): 5000, ("s1", "m2"): 5000}
ROWS = 1000


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ballast, "BALLAST", MIB)


def opened(folder: Path, clock: HandClock | None = None) -> Safekeeping:
    return Safekeeping(folder, clock or HandClock(), 64 * MIB, PERIODS, lambda: None)


def two_modules(slot: int) -> list[Entry]:
    found = []
    for n, module in enumerate(("m1", "m2")):
        entry = reading(2 * slot + n, module, ts=NOW + 5000 * slot)
        found.append(Entry(replace(entry.about, bt=1_000_000 + 5000 * slot), entry.body))
    return found


def filled(folder: Path) -> tuple[str, str]:
    """An outbox with ROWS readings of two modules, cleanly closed. Gives its stream and the epoch."""
    keeping = opened(folder)
    box = keeping.outbox
    for first in range(0, ROWS // 2, 10):
        box.commit([entry for slot in range(first, first + 10) for entry in two_modules(slot)])
    told = box.stream, box.last()[0]
    box.close()
    return told


def header(data: bytearray) -> None:
    data[:4096] = bytes(4096)


def middle(data: bytearray) -> None:
    at = len(data) // 2 // 4096 * 4096
    data[at : at + 4096] = bytes(4096)


def rubbish(data: bytearray) -> None:
    at = len(data) // 2 // 4096 * 4096
    data[at : at + 3 * 4096] = Random(7).randbytes(3 * 4096)


def cut(data: bytearray) -> None:
    del data[len(data) * 7 // 10 :]


def odd_cut(data: bytearray) -> None:
    del data[len(data) * 7 // 10 + 1234 :]


def zeroed(data: bytearray) -> None:
    data[:] = bytes(len(data))


@pytest.mark.parametrize(("damage", "at_least"), [(header, ROWS), (middle, 980), (rubbish, 940), (cut, 600),
                                                  (odd_cut, 600), (zeroed, 0)])  # fmt: skip
def test_rows_are_saved_with_their_identity_and_the_lost_ones_are_gaps_to_the_slot(
    tmp_path: Path, damage: object, at_least: int
) -> None:
    stream, epoch = filled(tmp_path)
    path = tmp_path / FILE
    data = bytearray(path.read_bytes())
    damage(data)  # type: ignore[operator]
    path.write_bytes(data)
    keeping = opened(tmp_path)
    with_all_rows(keeping)
    box = keeping.outbox
    assert (box.stream, keeping.trouble) == (stream, "")
    if damage is not zeroed:
        assert epoch in dict(box.epochs())
    box.commit(keeping.notes)
    found = bodies(box, box.pending(99_999))
    readings = [body["voltage_mv"] for body in found if "voltage_mv" in body]
    gaps = [body for body in found if body.get("reason") == "corrupt_row"]
    assert len(readings) == len(set(readings)) >= at_least
    # Slots behind a module's last row that is left are told as the edge's time off.
    accounted = sum(max((n // 2 + 1 for n in readings if n % 2 == module), default=0) for module in (0, 1))
    assert len(readings) + sum(gap["slots"] for gap in gaps) == accounted
    assert [body["code"] for body in found if "code" in body][:1] == ["salvage"]
    assert sum(p.stat().st_size for p in tmp_path.glob("*.broken*")) <= salvage.ASIDE_BYTES
    box.close()
    again = opened(tmp_path)
    assert (again.notes, again.outbox.stream) == ([], stream), "damaged once, told once"
    again.outbox.close()


def with_all_rows(keeping: Safekeeping) -> None:
    """Damage in the middle shows itself only to whoever reads there."""
    for now in range(3):
        try:
            keeping.outbox.pending(99_999)
        except sqlite3.DatabaseError as error:
            keeping.failed(error, 100.0 * now)


def test_rows_that_stand_only_in_the_log_are_saved_too(tmp_path: Path) -> None:
    keeping = opened(tmp_path)
    keeping.outbox.commit(two_modules(0))
    for end in ("", "-wal"):  # what a killed process leaves
        (tmp_path / f"copy.db{end}").write_bytes((tmp_path / f"{FILE}{end}").read_bytes())
    keeping.outbox.close()
    assert (tmp_path / "copy.db-wal").stat().st_size > 4096
    for end in ("", "-wal"):
        (tmp_path / f"copy.db{end}").replace(tmp_path / f"{FILE}.broken{end}")
    (tmp_path / FILE).unlink()
    keeping = opened(tmp_path)
    assert len(everything(tmp_path / FILE)) == 2
    keeping.outbox.close()


def test_what_was_deleted_does_not_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "TRIM_EVERY", 1)
    filled(tmp_path)
    box = opened(tmp_path).outbox
    old = box.epochs()[0][0]
    box.receipt(box.stream, old, 700)
    box._spool.begin()
    while box._spool.drop_done():
        pass
    box.commit()
    box.close()
    left = len(everything(tmp_path / FILE))
    assert left == 300
    data = bytearray((tmp_path / FILE).read_bytes())
    at = len(data) - 4096  # a page that can be spared shows how it is with all others
    data[at:] = bytes(4096)
    (tmp_path / FILE).replace(tmp_path / f"{FILE}.broken")
    (tmp_path / f"{FILE}.broken").write_bytes(data)
    box = opened(tmp_path).outbox
    assert left - 10 <= len(everything(tmp_path / FILE)) <= left
    assert box.depth() <= 300
    box.close()


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, {house!r})
from tests.collectors.test_safekeeping import opened
opened(Path({folder!r}))
"""


def test_killed_during_a_salvage_the_next_start_begins_it_again(tmp_path: Path) -> None:
    filled(tmp_path)
    data = bytearray((tmp_path / FILE).read_bytes())
    header(data)
    (tmp_path / FILE).write_bytes(data)
    program = KILLED.format(house=str(Path(__file__).parents[2]), folder=str(tmp_path))
    environ = {"CELLHERD_FAILPOINT": "salvage.before_rename", "PATH": ""}
    run = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, check=False)
    assert run.returncode == -9, run.stderr
    assert not (tmp_path / FILE).exists()
    keeping = opened(tmp_path)
    assert keeping.outbox.depth() == ROWS + 1, "the rows, and what tells of the salvage"
    keeping.outbox.close()


def test_what_was_lost_is_told_although_the_process_dies_as_soon_as_the_new_file_stands(tmp_path: Path) -> None:
    _, epoch = filled(tmp_path)
    data = bytearray((tmp_path / FILE).read_bytes())
    cut(data)
    (tmp_path / FILE).write_bytes(data)
    opened(tmp_path).outbox.abandon()
    keeping = opened(tmp_path)
    known = dict(keeping.outbox.epochs())[epoch]
    assert known > len(everything(tmp_path / FILE))
    assert accounted(keeping.outbox, epoch) == set(range(1, known + 1))
    assert keeping.notes == []
    keeping.outbox.close()


def test_epochs_of_which_nothing_is_left_and_the_ends_of_others_are_told_and_no_slot_twice(tmp_path: Path) -> None:
    epochs = []
    for opening in range(4):
        keeping = opened(tmp_path)
        keeping.outbox.commit([entry for slot in range(10) for entry in two_modules(10 * opening + slot)])
        epochs.append(keeping.outbox.last()[0])
        keeping.outbox.close()
    with sqlite3.connect(tmp_path / FILE) as db:  # of the first its end, of the second all, of the third a middle
        db.execute("delete from row where n=1 and seq>14 or n=2 or n=3 and seq between 5 and 12")
        db.execute("update epoch set waiting=0, crc=? where n=2", (line_sum((2, epochs[1], 20, 0, 0)),))
    db.close()
    data = bytearray((tmp_path / FILE).read_bytes())
    header(data)
    (tmp_path / FILE).write_bytes(data)
    keeping = opened(tmp_path)
    for epoch in epochs:
        assert accounted(keeping.outbox, epoch) == set(range(1, 21))
    found = bodies(keeping.outbox, keeping.outbox.pending(999))
    slots = sum(body.get("slots", 0) for body in found)
    assert slots + sum("voltage_mv" in body for body in found) == 80
    keeping.outbox.close()
    again = opened(tmp_path)
    assert epochs[1] not in dict(again.outbox.epochs()), "told and forgotten"
    again.outbox.close()


def test_more_holes_than_records_are_told_to_the_slot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every fifth pair of rows is gone; neighbouring holes share records, and no slot is told twice."""
    monkeypatch.setattr(holes, "MOST", 16)
    _, epoch = filled(tmp_path)
    with sqlite3.connect(tmp_path / FILE) as db:
        db.execute("delete from row where (seq - 1) / 2 % 5 = 3")
    db.close()
    keeping = opened(tmp_path)
    with_all_rows(keeping)
    box = keeping.outbox
    found = bodies(box, box.pending(99_999))
    told = [body for body in found if body.get("of_epoch") == epoch]
    readings = sum("voltage_mv" in body for body in found)
    assert (readings, len(told) <= 2 * 16) == (ROWS * 4 // 5, True)
    assert sum(body["slots"] for body in told) == ROWS - readings
    assert accounted(box, epoch) == set(range(1, ROWS + 1))
    box.close()
    again = opened(tmp_path)
    assert again.outbox.depth() == len(found), "told once"
    again.outbox.close()


def accounted(box: Outbox, epoch: str) -> set[int]:
    """Numbers of an epoch that stand in the outbox, or of which a gap says that they are gone."""
    rows = [row for row in box.pending(99_999) if row.epoch == epoch]
    told = [body for body in bodies(box, box.pending(99_999)) if body.get("of_epoch") == epoch]
    gone = {seq for body in told for seq in range(body["from_seq"], body["to_seq"] + 1)}
    return gone | {row.seq for row in rows}


def test_an_emptied_file_keeps_the_stream(tmp_path: Path) -> None:
    stream, _ = filled(tmp_path)
    (tmp_path / FILE).write_bytes(b"")
    keeping = opened(tmp_path)
    assert keeping.outbox.stream == stream
    keeping.outbox.close()


@contextmanager
def refusing(monkeypatch: pytest.MonkeyPatch, error: Exception) -> Iterator[None]:
    """A disk that opens no file."""
    real = safekeeping.Outbox

    def refuse(path: Path | None, *args: object, **more: object) -> Outbox:
        if path is not None:
            raise error
        return real(path, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(safekeeping, "Outbox", refuse)
    yield
    monkeypatch.setattr(safekeeping, "Outbox", real)


@pytest.mark.parametrize(
    "error",
    [sqlite3.OperationalError("attempt to write a readonly database"), sqlite3.OperationalError("disk I/O error"),
     OSError(30, "Read-only file system")],
)  # fmt: skip
def test_while_the_disk_refuses_readings_go_on_in_memory_and_return_with_their_identity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    keeping = opened(tmp_path)
    first = keeping.outbox.commit(two_modules(0))
    stream = keeping.outbox.stream
    with refusing(monkeypatch, error):
        assert not keeping.failed(sqlite3.OperationalError("disk I/O error"), 10.0)
        assert keeping.trouble
        ring = keeping.outbox.commit(two_modules(1))
        assert len(bodies(keeping.outbox, ring)) == 2, "what is in memory can be sent"
        keeping.outbox.receipt(stream, ring[0].epoch, 1)
        assert not keeping.mend(11.0), "not before its time"
        assert not keeping.mend(20.0)
    assert keeping.mend(30.0)
    box = keeping.outbox
    assert (box.stream, keeping.trouble) == (stream, "")
    waiting = [(row.epoch, row.seq) for row in box.pending(99)]
    assert waiting == [(first[0].epoch, 1), (first[0].epoch, 2), (ring[0].epoch, 2)]
    assert dict(box.epochs())[ring[0].epoch] == 2
    last = box.commit(two_modules(2))
    assert last[0].epoch not in (first[0].epoch, ring[0].epoch)
    box.close()
    again = opened(tmp_path)
    assert again.outbox.depth() == 5
    again.outbox.close()


def test_a_commit_that_failed_and_reached_the_disk_is_not_there_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeping = opened(tmp_path)
    box = keeping.outbox
    box.commit(two_modules(0))
    commit = box._spool.commit

    def failing() -> None:
        commit()
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(box._spool, "commit", failing)
    with pytest.raises(sqlite3.OperationalError):
        box.commit(two_modules(1))
    with refusing(monkeypatch, sqlite3.OperationalError("disk I/O error")):
        assert not keeping.failed(sqlite3.OperationalError("disk I/O error"), 10.0)
        keeping.outbox.commit(two_modules(1))
    assert keeping.mend(30.0)
    keeping.outbox.close()
    assert set(everything(tmp_path / FILE).values()) == {1}
    assert len(everything(tmp_path / FILE)) == 4


def test_at_a_start_without_a_disk_the_edge_works_and_keeps_its_stream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream, _ = filled(tmp_path)
    with refusing(monkeypatch, OSError(5, "Input/output error")):
        keeping = opened(tmp_path)
    assert (keeping.outbox.stream, bool(keeping.trouble)) == (stream, True)
    assert [entry.body["code"] for entry in keeping.notes] == ["disk"]
    keeping.outbox.abandon()


def test_on_a_full_disk_the_ballast_goes_and_comes_back(tmp_path: Path) -> None:
    free = [100 * MIB]
    here = Ballast(tmp_path / "ballast", lambda _: free[0])
    here.take_on()
    assert (tmp_path / "ballast").stat().st_blocks * 512 >= MIB
    assert here.throw_off()
    assert not here.throw_off()
    free[0] = 3 * MIB
    here.take_on()
    assert not (tmp_path / "ballast").exists(), "it leaves others room"


def test_where_others_fill_the_disk_the_outbox_gives_way_and_says_so(tmp_path: Path) -> None:
    room = [64 * MIB]
    box = Outbox(tmp_path / FILE, HandClock(), 64 * MIB, room=lambda: room[0])
    for slot in range(700):
        box.commit(two_modules(slot)) if slot % 10 == 0 else None
    box.commit([entry for slot in range(700) for entry in two_modules(slot)])
    before = box._spool.used()
    room[0] = -MIB // 4
    box.commit(two_modules(3000))
    assert box._spool.used() < before - MIB // 8
    assert box._spool.size() >= before
    gaps = [body for body in bodies(box, box.pending(99_999)) if body.get("reason") == "spool_cap"]
    assert sum(gap["slots"] for gap in gaps) == box.drops > 0
    box.close()
