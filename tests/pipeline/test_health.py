"""What the ingester says of itself, and what it does when its disk has no room: nothing is receipted, nothing lost."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from cellherd.settings import FleetConfig
from pipeline.ingest.broker import STORES_NOTHING
from pipeline.ingest.health import STILL_MS, metrics, reasons, resident
from pipeline.ingest.pages import Pages
from pipeline.journal import files
from pipeline.journal.files import Journal, JournalFull
from tests.pipeline.plain_edge import NOW, PlainEdge
from tests.pipeline.test_ingest import ListSink, archived, edge, fleet, intake, process, until
from tests.pipeline.test_journal import entry
from tests.services import free_port


@pytest.fixture
def config() -> FleetConfig:
    return fleet(free_port())


def status(**changed: Any) -> dict[str, Any]:
    """An ingester that is well."""
    well = {
        "connected": True, "messages": 9, "kept": 8, "duplicates": 1, "receipts": 3, "commits": 2, "commit_s": 0.5,
        "dead": {"kept": 4, "dropped": 5}, "journal_bytes": 100, "journal_trouble": "", "journal_free": 2**40,
        "journal_reserve": 2**29, "unsealed_s": 1.5, "sealed": 7, "memory": {"intake": 2**26}, "online": ["pi1"],
        "edges": {"pi1": NOW}, "missing": {"pi1": 3}, "replays": 2,
        "sinks": {"archive": store(), "engine": store(at=5, waited_s=3.0)},
    }  # fmt: skip
    return well | changed


def store(**changed: Any) -> dict[str, Any]:
    return {
        "at": 7, "trouble": "", "since": 0, "moved": NOW, "waited_s": 0.0, "segments": 7,
        "decode_s": 1.0, "write_s": 2.0,
    } | changed  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, ""),
        ({"connected": False}, "broker: not connected"),
        ({"journal_trouble": "the journal holds 8 MB"}, "nothing is taken in: the journal holds 8 MB"),
        ({"journal_free": 2**29}, "disk: 512 MB left"),
        ({"sinks": {}}, "nothing heard from the storing process"),
        ({"sinks": {"influx": store(at=3, trouble="401 unauthorized")}}, "influx: 4 segments behind: 401"),
        ({"sinks": {"influx": store(at=3, moved=NOW - STILL_MS - 1)}}, "influx: 4 segments behind and does not"),
        ({"sinks": {"influx": store(at=3, moved=NOW - 1000)}}, ""),
        ({"sinks": {"influx": store(moved=NOW - 10 * STILL_MS)}}, ""),
    ],
)
def test_what_is_wrong_is_said(changed: dict[str, Any], said: str) -> None:
    found = reasons(status(**changed), NOW)
    assert bool(found) == bool(said)
    assert said in "; ".join(found)


def read(text: str) -> dict[tuple[str, str], float]:
    """Value by name and label of every sample, as Prometheus' own parser sees it."""
    families = text_string_to_metric_families(text)
    return {(s.name, "".join(s.labels.values())): s.value for family in families for s in family.samples}


def test_metrics_can_be_read_by_prometheus_and_know_every_store_by_its_name() -> None:
    away = {"influx": store(at=3, trouble="away", since=NOW)}
    told = read(metrics(status(sinks=status()["sinks"] | away), NOW).decode())
    assert told["cellherd_readings_total", ""] == 8
    assert told["cellherd_dead_letters_dropped_total", ""] == 5
    assert told["cellherd_healthy", ""] == 0
    assert told["cellherd_store_behind_segments", "engine"] == 2
    assert told["cellherd_store_behind_seconds", "engine"] == 3
    assert told["cellherd_store_away_since_seconds", "influx"] == NOW / 1000
    assert told["cellherd_store_write_seconds_sum", "archive"] == 2
    assert told["cellherd_journal_commit_seconds_count", ""] == 2
    assert told["cellherd_edges_online", ""] == 1
    assert told["cellherd_edge_last_seen_seconds", "pi1"] == NOW / 1000


def test_a_running_ingester_shows_its_pages(config: FleetConfig, tmp_path: Path) -> None:
    good, bad = ListSink(), ListSink()
    bad.name = "engine"
    bad.away.set()
    port = free_port()
    with intake(config, tmp_path, good, bad) as running, edge(config, tmp_path) as pi:
        pages = Pages(f"127.0.0.1:{port}", running.status)
        try:
            pi.send([1, 2, 3])
            assert pi.wait([1, 2, 3])
            until(lambda: running.status()["sinks"]["engine"]["trouble"] != "")
            answer = httpx.get(f"http://127.0.0.1:{port}/healthz")
            assert (answer.status_code, answer.json()["healthy"]) == (503, False)
            assert "engine: 1 segments behind: the store is away" in answer.json()["reasons"]
            until(lambda: good.seqs() == [1, 2, 3])
            told = read(httpx.get(f"http://127.0.0.1:{port}/metrics").text)
            assert (told["cellherd_readings_total", ""], told["cellherd_store_stuck", "engine"]) == (3, 1)
            assert told["cellherd_journal_commit_seconds_count", ""] >= 1
            assert told["cellherd_receipts_total", ""] >= 1
            assert told["cellherd_resident_memory_bytes", "intake"] > 2**20
            bad.away.clear()
            until(lambda: httpx.get(f"http://127.0.0.1:{port}/healthz").status_code == 200)
            assert httpx.get(f"http://127.0.0.1:{port}/fleet.toml").status_code == 404
            assert httpx.post(f"http://127.0.0.1:{port}/healthz").status_code == 501
        finally:
            pages.stop()


def test_a_taken_port_costs_the_pages_and_nothing_else() -> None:
    port = free_port()
    first, second = (Pages(f"127.0.0.1:{port}", status) for _ in range(2))
    assert (first.port, second.port) == (port, 0)
    first.stop()
    second.stop()


def test_the_memory_of_a_process_that_is_gone_is_none() -> None:
    assert resident(os.getpid()) > 2**20
    assert resident(2**22 + 1) == 0


def test_a_journal_leaves_the_reserve_of_its_disk_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = [2**20]
    disk = SimpleNamespace(f_bavail=0, f_frsize=1)
    monkeypatch.setattr(files.os, "statvfs", lambda _: SimpleNamespace(**vars(disk) | {"f_bavail": free[0]}))
    journal = Journal(tmp_path, reserve=2**20)
    with pytest.raises(JournalFull, match="has 1 MB left: make room"):
        journal.append([entry(1)])
    free[0] *= 2
    journal.append([entry(1)])
    assert journal.seal() == 1


def test_a_full_journal_gives_no_receipt_and_when_there_is_room_again_nothing_is_lost_or_doubled(
    config: FleetConfig, tmp_path: Path
) -> None:
    sink = ListSink()
    sink.away.set()
    with intake(config, tmp_path, sink) as running, edge(config, tmp_path) as pi:
        pi.send([1, 2])
        assert pi.wait([1, 2])
        running.journal._cap = running.journal.bytes_kept() + 10
        pi.send([3, 4])
        until(lambda: "must catch up" in running.committer.trouble)
        pi.send([5])
        assert pi.receipted() == {1, 2}
        assert any("nothing is taken in" in reason for reason in reasons(running.status(), NOW))
        running.check()
        sink.away.clear()
        pi.send_until_receipted(range(1, 6))
        until(lambda: sink.seqs() == [1, 2, 3, 4, 5])
        assert running.committer.trouble == ""


def test_a_ledger_that_cannot_be_written_is_tried_until_it_can(
    config: FleetConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = ListSink()
    with intake(config, tmp_path, sink) as running, edge(config, tmp_path) as pi:
        honest, full = running.ledger.checkpoint, [3]

        def checkpoint(*told: Any) -> None:
            if full[0]:
                full[0] -= 1
                raise sqlite3.OperationalError("database or disk is full")
            honest(*told)

        monkeypatch.setattr(running.ledger, "checkpoint", checkpoint)
        pi.send([1, 2])
        assert pi.wait([1, 2]), "the journal has it, so the receipt goes out"
        until(lambda: running.committer.trouble != "")
        until(lambda: sink.seqs() == [1, 2])
        running.check()
        assert full == [0]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 24 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["/bin/mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["/bin/umount", "-l", str(folder)], check=True)


def fill(file: Path) -> None:
    with file.open("wb", buffering=0) as out:
        for size in (2**20, 2**12):
            with suppress(OSError):
                while True:
                    out.write(bytes(size))


def survived(pi: PlainEdge, disk: Path, state: Path, full: Callable[[], bool]) -> None:
    """Readings go on while somebody else's file fills a disk until it is felt, and all are stored once it is gone."""
    pi.send_until_receipted([1])
    until(lambda: archived(state) == [1])
    fill(disk / "filler")
    seq = 1
    while not full():
        assert seq < 3000, "the disk never filled"
        seq += 1
        pi.send([seq])
        pi.wait([seq], 0.02)
    (disk / "filler").unlink()
    pi.send_until_receipted(range(1, seq + 1))
    until(lambda: archived(state) == list(range(1, seq + 1)), 30)


def test_a_real_disk_that_fills_up_stops_the_intake_and_once_freed_all_goes_on(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F09: broker, journal, ledger and archive share a disk that is full of somebody else's file."""
    port, page = free_port(), free_port()
    monkeypatch.setenv("CELLHERD_JOURNAL__RESERVE_MB", "0")  # so that the writes themselves fail
    monkeypatch.setenv("CELLHERD_HEALTH__LISTEN", f"127.0.0.1:{page}")

    def trouble() -> bool:
        answer = httpx.get(f"http://127.0.0.1:{page}/healthz").json()
        return any("nothing is taken in" in reason for reason in answer["reasons"])

    with process(small_disk, port) as running, edge(fleet(port), small_disk) as pi:
        survived(pi, small_disk, small_disk, trouble)
        assert running.poll() is None, "it never had to be started again"


def test_a_broker_whose_own_disk_was_full_takes_messages_again_though_the_journal_never_noticed(
    small_disk: Path, tmp_path: Path
) -> None:
    """nats-server refuses every message once its disk failed, room or no room, so it must be another one."""
    log = tmp_path / "broker" / "broker.log"
    log.parent.mkdir(mode=0o700)
    (log.parent / "jetstream").symlink_to(small_disk)
    port = free_port()
    with process(tmp_path, port) as running, edge(fleet(port), tmp_path) as pi:
        survived(pi, small_disk, tmp_path, lambda: STORES_NOTHING in log.read_bytes())
        assert running.poll() is None
    assert "starting it anew" in (tmp_path / "ingest.log").read_text()
