"""Going back to an older version: what a later one wrote is refused by name, and nothing of it is lost."""

from __future__ import annotations

import shutil
import sqlite3
import zlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from cellherd.forms import LaterForm, say_form
from collectors import safekeeping
from pipeline.alerts import ledger as alerts
from pipeline.ingest.ledger import Ledger
from pipeline.journal.deadletters import DeadLetters
from pipeline.journal.entry import Entry
from pipeline.journal.files import MARK, Journal, entries
from pipeline.live.store import LiveStore
from pipeline.nightly.diary import Diary
from tests.collectors.outboxes import MIB, HandClock, outbox, reading, seqs

STATES: dict[str, Callable[[Path], object]] = {
    "ledger.sqlite": Ledger,
    "dead.sqlite": DeadLetters,
    "live.sqlite": LiveStore,
    alerts.DATABASE: lambda path: alerts.connect(path.parent),
    "nightly.sqlite": Diary,
}


def written_by(path: Path, form: int) -> None:
    with closing(sqlite3.connect(path)) as db:
        say_form(db, form)


@pytest.mark.parametrize(("name", "opened"), STATES.items())
def test_a_database_of_a_later_version_is_refused_and_not_touched(
    name: str, opened: Callable[[Path], object], tmp_path: Path
) -> None:
    path = tmp_path / name
    opened(path)
    opened(path)
    written_by(path, 2)
    with pytest.raises(LaterForm, match=rf"{name} was written by a later version .*form 2, this version knows 1"):
        opened(path)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("pragma user_version").fetchone() == (2,)


def test_an_outbox_of_a_later_version_keeps_its_readings_for_it(tmp_path: Path) -> None:
    box = outbox(tmp_path)
    box.commit([reading(n) for n in range(3)])
    box.close()
    written_by(tmp_path / safekeeping.FILE, 2)
    with pytest.raises(LaterForm, match="install that version again"):
        safekeeping.Safekeeping(tmp_path, HandClock(), 64 * MIB, {}, lambda: None)
    written_by(tmp_path / safekeeping.FILE, 1)
    box = outbox(tmp_path)
    assert seqs(box.pending(9)) == [1, 2, 3]


@pytest.mark.parametrize("bit", range(32))
def test_a_flipped_bit_in_an_outbox_s_form_is_no_later_version(bit: int, tmp_path: Path) -> None:
    box = outbox(tmp_path)
    box.commit([reading(n) for n in range(3)])
    box.close()
    path = tmp_path / safekeeping.FILE
    content = bytearray(path.read_bytes())
    content[60 + bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)
    found = safekeeping.Safekeeping(tmp_path, HandClock(), 64 * MIB, {}, lambda: None).outbox
    assert [row.seq for row in found.pending(9) if not row.about.event] == [1, 2, 3]


def entry(n: int) -> Entry:
    return Entry("fleet/pi/r/s/m", b"%d" % n, n, "site", "unit")


def later_frame() -> bytes:
    body = b"in a way that only the next version knows"
    return MARK[:3] + b"2" + len(body).to_bytes(4, "little") + zlib.crc32(body).to_bytes(4, "little") + body


def test_a_journal_of_a_later_version_is_refused_instead_of_skipped(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append([entry(1)])
    segment = next(tmp_path.glob("*.journal"))
    with segment.open("ab") as file:
        file.write(later_frame())
    read = entries(tmp_path, journal.number)
    assert next(read).payload == b"1"
    with pytest.raises(LaterForm, match=segment.name):
        next(read)


def test_a_later_frame_inside_a_torn_one_is_only_somebody_s_payload(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append([Entry("fleet/pi/r/s/m", later_frame(), 1, "site", "unit")])
    journal.append([entry(2)])
    segment = next(tmp_path.glob("*.journal"))
    content = bytearray(segment.read_bytes())
    content[14] ^= 1
    segment.write_bytes(content)
    assert [one.payload for one in entries(tmp_path, journal.number)] == [b"2"]


def test_a_segment_whose_mark_is_hurt_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    journal = Journal(tmp_path)
    journal.append([entry(1)])
    hurt = shutil.copy(next(tmp_path.glob("*.journal")), tmp_path / "000000000007.journal")
    content = bytearray(Path(hurt).read_bytes())
    content[0] ^= 1
    Path(hurt).write_bytes(content)
    assert not list(entries(tmp_path, 7))
    assert f"bytes 0 to {len(content)} are damaged" in caplog.text
