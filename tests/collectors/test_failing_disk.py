"""A disk that fails at any statement of the outbox's opening: memory serves, and the file again once it can."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest

from collectors import ballast, safekeeping, spool
from collectors.safekeeping import FILE, Safekeeping
from tests.collectors.outboxes import MIB, HandClock, reading
from tests.collectors.test_safekeeping import accounted, refusing

STATEMENTS = 16
"""More than an opening has; the last of them are those of the move from memory."""
ROWS, PAGE = 1000, 4096


class Failing(sqlite3.Connection):
    """Its file's disk fails a number of times, from a statement on."""

    well: ClassVar[int] = 0
    fails: ClassVar[int] = 0

    def _look(self) -> None:
        if not Failing.well and Failing.fails:
            Failing.fails -= 1
            raise sqlite3.OperationalError("disk I/O error")
        Failing.well = max(Failing.well - 1, 0)

    def execute(self, *told: Any) -> sqlite3.Cursor:
        self._look()
        return super().execute(*told)

    def executemany(self, *told: Any) -> sqlite3.Cursor:
        self._look()
        return super().executemany(*told)

    def executescript(self, *told: Any) -> sqlite3.Cursor:
        self._look()
        return super().executescript(*told)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """Lets the disk do so many statements and then fail so often."""
    connect = sqlite3.connect

    def connected(path: Any, **told: Any) -> sqlite3.Connection:
        return connect(path, **told, factory=sqlite3.Connection if path == ":memory:" else Failing)

    def fails(well: int, times: int) -> None:
        Failing.well, Failing.fails = well, times
        monkeypatch.setattr(spool.sqlite3, "connect", connected)

    monkeypatch.setattr(ballast, "BALLAST", MIB)
    return fails


def opened(folder: Path) -> Safekeeping:
    return Safekeeping(folder, HandClock(), 64 * MIB, {}, lambda: None)


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("well", range(STATEMENTS))
def test_whatever_fails_at_the_start_the_file_serves_again_later(
    well: int, times: int, tmp_path: Path, disk: Callable[[int, int], None]
) -> None:
    keeping = opened(tmp_path)
    keeping.outbox.commit([reading(n) for n in range(3)])
    keeping.outbox.close()
    disk(well, times)
    keeping = opened(tmp_path)
    keeping.outbox.commit([reading(3)])
    tries = 0
    while keeping.trouble:
        tries += 1
        assert tries <= times, f"never again: {keeping.trouble}"
        keeping.mend(6.0 * tries)
    keeping.outbox.commit([reading(4)])
    keeping.outbox.close()
    with sqlite3.connect(tmp_path / FILE) as db:
        read = db.execute("select body ->> 'voltage_mv' from row where event = ''").fetchall()
    assert sorted(read) == [(0,), (1,), (2,), (3,), (4,)]


def test_a_disk_that_refuses_for_another_reason_says_so(
    tmp_path: Path, disk: Callable[[int, int], None], caplog: pytest.LogCaptureFixture
) -> None:
    disk(0, 1)
    keeping = opened(tmp_path)
    assert keeping.trouble == "disk I/O error"
    (tmp_path / FILE).unlink(missing_ok=True)
    (tmp_path / FILE).mkdir()
    assert not keeping.mend(6.0)
    assert not keeping.mend(12.0)
    assert "Is a directory" in keeping.trouble
    assert caplog.text.count("Is a directory") == 1


def filled(folder: Path) -> tuple[Safekeeping, str]:
    """An open outbox with ROWS readings, and their epoch."""
    keeping = opened(folder)
    for first in range(0, ROWS, 50):
        keeping.outbox.commit([reading(n) for n in range(first, first + 50)])
    return keeping, keeping.outbox.last()[0]


def spoil_a_middle_page(path: Path) -> None:
    data = bytearray(path.read_bytes())
    at = len(data) // 2 // PAGE * PAGE
    data[at : at + PAGE] = bytes(PAGE)
    path.write_bytes(data)


def mended(keeping: Safekeeping) -> None:
    for tries in range(1, 4):
        if keeping.mend(100.0 + 6.0 * tries):
            return
    raise AssertionError(f"never again: {keeping.trouble}")


def test_a_damage_that_shows_only_when_memory_goes_back_to_the_file_is_salvaged(
    tmp_path: Path, disk: Callable[[int, int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(safekeeping, "LOOK_BACK", 10)
    keeping, epoch = filled(tmp_path)
    keeping.outbox.close()
    spoil_a_middle_page(tmp_path / FILE)
    disk(0, 1)
    keeping = opened(tmp_path)
    assert keeping.trouble == "disk I/O error", "the damage lies deeper than an opening looks"
    (in_memory,) = keeping.outbox.commit([reading(ROWS)])
    mended(keeping)
    keeping.outbox.commit(keeping.notes)
    assert accounted(keeping.outbox, epoch) == {*range(1, ROWS + 1)}
    assert [row.seq for row in keeping.outbox.pending(99_999) if row.epoch == in_memory.epoch] == [in_memory.seq]
    keeping.outbox.close()


def test_a_damage_that_shows_only_when_a_doubtful_commit_is_taken_back_is_salvaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ballast, "BALLAST", MIB)
    error = sqlite3.OperationalError("disk I/O error")
    keeping, epoch = filled(tmp_path)
    with refusing(monkeypatch, error):
        keeping.failed(error, 10.0)
    spoil_a_middle_page(tmp_path / FILE)
    assert not keeping.failed(error, 100.0), "memory fails as well, and the file is damaged"
    assert "malformed" in keeping.trouble
    mended(keeping)
    keeping.outbox.commit(keeping.notes)
    assert accounted(keeping.outbox, epoch) == {*range(1, ROWS + 1)}
    keeping.outbox.close()
