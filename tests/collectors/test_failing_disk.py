"""A disk that fails at any statement of the outbox's opening: memory serves, and the file again once it can."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest

from collectors import ballast, spool
from collectors.safekeeping import FILE, Safekeeping
from tests.collectors.outboxes import MIB, HandClock, reading

STATEMENTS = 16
"""More than an opening has; the last of them are those of the move from memory."""


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
