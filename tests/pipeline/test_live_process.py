"""The engine where it runs: broker, intake, storing process; and the command that says what happened."""

from __future__ import annotations

from pathlib import Path
from threading import Event
from time import monotonic, time_ns

import pytest

from cellherd import topics, wire
from cellherd.cli import app_for
from cellherd.settings import FleetConfig
from cellherd.wire import Line, Source
from pipeline.ingest.broker import EmbeddedBroker, edge_credentials
from pipeline.ingest.service import Ingester
from pipeline.live.store import recent
from pipeline.stores.archive import Archive
from pipeline.storing.storeroom import Storeroom
from tests.pipeline.plain_edge import PlainEdge
from tests.services import free_port

FLEET = """
[broker]
listen = "127.0.0.1:{port}"
[[installer]]
id = "sun"
[[site]]
id = "barn"
installer = "sun"
edge = "pi1"
"""


def readings(edge: PlainEdge, now: int) -> bytes:
    """A cell runs away and the BMS cuts the charge, ten readings ago."""
    cells = [3400] * 15 + [3655]
    row = {"cell_mv": cells, "faults": ["cell_overvoltage_protection"], "charge_on": 0, "discharge_on": 1}
    lines = [Line(seq, now - 10_000 + 1000 * seq, 1000 * seq, dict(row)) for seq in range(1, 10)]
    return wire.pack(Source(edge.stream, edge.epoch, "m1", "module", "jbd", "0badcafe", "ntp"), lines,
                     sent_ts=now, sent_bt=11_000)  # fmt: skip


def test_a_flag_becomes_an_event_in_the_archive_and_words_on_the_screen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    port = free_port()
    (tmp_path / "fleet.toml").write_text(FLEET.format(port=port))
    config = FleetConfig.model_validate(
        {"broker": {"listen": f"127.0.0.1:{port}"}, "installer": [{"id": "sun"}],
         "site": [{"id": "barn", "installer": "sun", "edge": "pi1"}]}
    )  # fmt: skip
    child = EmbeddedBroker(config.broker, tmp_path, ["pi1"])
    child.start()
    running = Ingester(config, tmp_path, Storeroom(config, tmp_path), child.line())
    running.journal.age_s = 0.3
    running.start()
    try:
        assert running.subscriber.connected.wait(20)
        user, password = edge_credentials(tmp_path, "pi1")
        with PlainEdge(port, user, password.read_text()) as edge:
            edge.publish(topics.readings("pi1", "s1", "m1"), readings(edge, time_ns() // 1_000_000))
            deadline = monotonic() + 60
            while not recent(tmp_path / "live.sqlite") and monotonic() < deadline:
                Event().wait(0.1)
    finally:
        running.stop()
        child.stop()
    (row,) = Archive(str(tmp_path / "archive")).scan("event").collect().to_dicts()
    assert (row["fault"], row["cuts"], row["cell"], row["value"]) == ("cell_overvoltage_protection", "charge", 15, 3655)
    words = ["events", "list", "--explain", "--config", str(tmp_path / "fleet.toml"), "--state", str(tmp_path)]
    app_for(words)(args=words, standalone_mode=False)
    said = capsys.readouterr().out
    assert "began" in said
    assert "3655" in said
