"""What the campaign knows of its edges: above all whether one holds readings in memory only."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from tests.chaos.herd import says_memory
from tests.collectors.test_safekeeping import opened, refusing, two_modules


def test_the_campaign_sees_from_an_edges_log_when_its_readings_lie_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    error = sqlite3.OperationalError("disk I/O error")
    keeping = opened(tmp_path)
    assert not says_memory(caplog.text.encode())
    with refusing(monkeypatch, error):
        keeping.failed(error, 10.0)
        keeping.outbox.commit(two_modules(1))
        assert says_memory(caplog.text.encode())
    assert keeping.mend(30.0)
    assert not says_memory(caplog.text.encode())
    with refusing(monkeypatch, error):
        keeping.failed(error, 50.0)
        assert says_memory(caplog.text.encode()), "again"
    keeping.outbox.abandon()
