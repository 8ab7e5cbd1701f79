"""The collector's process as a whole: emulated batteries in, readings at the server out, killed and started again."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest

from cellherd import topics
from cellherd.config import EdgeConfig
from cellherd.errors import CellherdError
from cellherd.reading import Measured
from cellherd.systemd import notify
from collectors import edge as edge_module
from collectors import hand
from collectors.absence import Seen, edge_off, last_seen
from collectors.drivers import jbd
from collectors.edge import Edge, devices
from collectors.emulators.battery import Battery, Plan
from collectors.emulators.device import EmulatedDevice
from collectors.emulators.fleet import Running, start
from collectors.entries import Entry, Instant, Numbered
from collectors.events import Device, Record, Sample
from collectors.hand import Hand
from collectors.outbox import Reading
from collectors.safekeeping import FILE
from tests.collectors import brokers
from tests.collectors.brokers import EDGE, Broker
from tests.collectors.fake_server import FakeServer
from tests.collectors.outboxes import BOOT, NOW, HandClock, bodies, outbox, reading

HOUSE = Path(__file__).parents[2]
START = Instant(NOW, 1_000_000, "ntp", BOOT)
M1 = {("s1", "m1"): 5000}


@pytest.fixture
def battery() -> Iterator[Running]:
    (running,) = start([EmulatedDevice("jbd", {0: Battery(Plan())}, "tcp")])
    yield running
    running.stop()


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with brokers.embedded(tmp_path_factory.mktemp("broker")) as running:
        yield running


def write_config(folder: Path, broker: Broker, link: str) -> Path:
    path = folder / "edge.toml"
    path.write_text(
        f'edge = "{EDGE}"\n[mqtt]\nurl = "mqtt://127.0.0.1:{broker.port}"\npassword_file = "{broker.password_file}"\n'
        "[outbox]\ncommit_s = 0.2\n"
        f'[[device]]\nstack = "s1"\ndriver = "jbd"\nlink = "{link}"\nmodules = ["m1"]\nperiod_s = 0.2\n'
    )
    return path


def command(config: Path) -> list[str]:
    state = str(config.parent / "state")
    return [sys.executable, "-m", "cellherd", "edge", "run", "--config", str(config), "--state", state]


@contextmanager
def process(config: Path, log: Path, **environ: str) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as out:
        running = subprocess.Popen(command(config), cwd=HOUSE, stderr=out, env={**os.environ, **environ})
        try:
            yield running
        finally:
            running.kill()
            running.wait()


def test_killed_and_started_again_every_reading_arrives_once_and_the_time_between_is_a_gap(
    tmp_path: Path, broker: Broker, battery: Running
) -> None:
    server = FakeServer(broker.port, EDGE, *(broker.server or ()))
    config, log = write_config(tmp_path, broker, battery.link), tmp_path / "log"
    with process(config, log) as first:
        assert server.wait(lambda: len(server.came) >= 5), log.read_text()
        first.kill()
        assert server.wait(lambda: {"v": 1, "online": 0} in server.retained["s"]), "the last will"
    Event().wait(1.0)
    with process(config, log) as second:
        assert server.wait(lambda: any(row.get("event") == "gap" for row in server.rows.values())), log.read_text()
        assert server.wait(lambda: len({epoch for epoch, _ in server.came}) == 2)
        second.send_signal(signal.SIGTERM)
        assert second.wait(10) == 0, log.read_text()
    server.stop()
    gaps = [row["body"] for row in server.rows.values() if row.get("event") == "gap"]
    off = [gap for gap in gaps if gap["reason"] == "edge_off"]
    assert len(off) == 1
    assert off[0]["slots"] >= 5
    assert abs(off[0]["to_ts"] - off[0]["from_ts"] - 200 * off[0]["slots"]) <= 200
    assert server.retained["s"][-1] == {"v": 1, "online": 0}
    health = server.retained["h"][-1]
    assert health["ports"][battery.link].keys() == {"ok", "timeout", "crc", "port_down"}
    for epoch in {epoch for epoch, _ in server.came}:
        seqs = sorted(seq for known, seq in server.came if known == epoch)
        assert seqs == list(range(1, len(seqs) + 1)), "nothing is missing in between"
    assert {"depth", "oldest_ts", "drops", "disk_free", "written_today", "clk"} <= health.keys()
    assert "Traceback" not in log.read_text()


def test_systemd_hears_when_the_edge_is_up_and_that_it_is_well(
    tmp_path: Path, broker: Broker, battery: Running
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(str(tmp_path / "notify"))
        supervisor.settimeout(20)
        config = write_config(tmp_path, broker, battery.link)
        with process(config, tmp_path / "log", NOTIFY_SOCKET=str(tmp_path / "notify")) as running:
            assert [supervisor.recv(99), supervisor.recv(99)] == [b"READY=1", b"WATCHDOG=1"]
            running.send_signal(signal.SIGINT)
            assert running.wait(10) == 0
            assert supervisor.recv(99) == b"STOPPING=1"


def test_nobody_hears_where_systemd_did_not_start_us(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    notify("READY=1")


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"driver": "jdb"}, "no driver 'jdb'; did you mean 'jbd'?"),
        ({"link": "seriell:/dev/ttyUSB0"}, "did you mean serial:...?"),
    ],
)
def test_a_wrong_word_in_the_config_is_one_line_with_the_right_one(change: dict[str, str], line: str) -> None:
    device = {"stack": "s1", "driver": "jbd", "link": "serial:/dev/ttyUSB0", **change}
    config = EdgeConfig.model_validate({"edge": EDGE, "device": [device]})
    with pytest.raises(CellherdError, match=line.replace("?", r"\?")):
        devices(config)


def test_a_bad_port_and_a_broker_that_is_away_are_a_line_each_and_collecting_goes_on(tmp_path: Path) -> None:
    config = write_config(tmp_path, Broker(1), "serial:/dev/ttyNone")
    config.write_text(config.read_text().replace('password_file = "None"\n', ""))
    log = tmp_path / "log"
    with process(config, log) as running:
        for _ in range(100):
            if "broker" in log.read_text() and "ttyNone" in log.read_text():
                break
            Event().wait(0.1)
        Event().wait(2.0)
        running.send_signal(signal.SIGTERM)
        assert running.wait(10) == 0
    lines = log.read_text().splitlines()
    assert len([line for line in lines if "no such port" in line]) == 1, lines
    assert len([line for line in lines if "cannot reach it" in line and "nothing is lost" in line]) == 1, lines
    db = sqlite3.connect(tmp_path / "state" / FILE)
    (told,) = [json.loads(body) for (body,) in db.execute("select body from row where event='gap'")]
    db.close()
    assert told["reason"] == "port_down"
    assert told["slots"] >= 5


def test_two_edges_do_not_share_a_state_folder(tmp_path: Path) -> None:
    config = EdgeConfig(edge=EDGE)
    tmp_path.joinpath("state").mkdir()
    with edge_module._alone(tmp_path / "state"), pytest.raises(CellherdError, match="another edge runs"):
        edge_module.run(config, tmp_path / "state", Event())


def device() -> Device:
    return Device("s1", jbd.DRIVER, "serial:/dev/ttyUSB0", 0, {0: "m1"})


def test_a_change_of_faults_and_every_record_hurries() -> None:
    rung: list[str] = []
    held = Hand(lambda: rung.append("!"))

    def take(faults: tuple[str, ...] | None) -> bool:
        held.urgent = False
        held.take(Sample(device(), "m1", replace(jbd_measured(), faults=faults), NOW, 1))
        return held.urgent

    assert [take(faults) for faults in ((), (), ("cell_ov",), ("cell_ov",), (), None)] == [
        False,
        False,
        True,
        False,
        True,
        False,
    ]
    held.take(Record(device(), None, "module", "edge", {"code": "port_down", "text": ""}, NOW, 1))
    assert held.urgent
    assert len(rung) == 3
    entries = held.gather(START)
    assert [entry.urgent for entry in entries] == [False, False, True, False, True, False, True]
    assert (entries[-1].about.module, entries[-1].about.clk, entries[-1].about.boot) == ("edge", "ntp", BOOT)
    assert len(held.gather(START)) == 7, "what was gathered stays in hand until it is on the disk"
    held.done()
    assert held.gather(START) == []


def jbd_measured() -> Measured:
    return Measured(voltage_mv=52_000)


def test_what_cannot_be_held_while_the_disk_is_full_becomes_gaps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hand, "MOST", 100)
    held = Hand(lambda: None)
    for n in range(450):
        held.take(Sample(device(), "m1", jbd_measured(), NOW + n, n))
        held.hold(START)
    entries = held.gather(START)
    slots = [entry.body["slots"] if entry.about.event else 1 for entry in entries]
    assert len(entries) <= 101
    assert sum(map(int, map(str, slots))) == 450


def test_a_disk_that_fails_for_a_while_costs_no_reading_and_doubles_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    edge = Edge(EdgeConfig(edge=EDGE), [], tmp_path, HandClock())
    edge._hand.add([reading(1)])
    edge.turn(10.0)
    edge._hand.add([reading(2)])
    fail_once(monkeypatch, edge, committed=False)
    edge.turn(20.0)
    edge._hand.add([reading(3)])
    edge.turn(1e9)
    fail_once(monkeypatch, edge, committed=True)
    edge._hand.add([reading(4)])
    edge.turn(2e9)
    edge.turn(3e9)
    found = bodies(edge._outbox, edge._outbox.pending(99))
    assert sorted(body["voltage_mv"] for body in found if "voltage_mv" in body) == [1, 2, 3, 4]
    assert [body["code"] for body in found if "code" in body] == ["started", "disk", "disk"]
    assert len(edge._outbox.epochs()) == 3
    assert caplog.text.count("disk I/O error") == 2
    edge._outbox.close()
    edge._publisher.stop()


def test_what_the_server_asks_for_while_the_disk_refuses_is_said_once_until_it_works_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    edge = Edge(EdgeConfig(edge=EDGE), [], tmp_path, HandClock())
    ask = {"v": 1, "id": "1", "stream": "a" * 32, "epoch": "b" * 16, "from": 1, "to": 9}
    for times, now in ((1, 10.0), (2, 1e9)):
        fail_once(monkeypatch, edge, committed=False)
        edge._hand.add([reading(times)])
        with monkeypatch.context() as still:
            still.setattr(edge._keeping, "_opened", refused)
            edge.turn(now)
            for later in (10, 20):
                edge._publisher.inbox.extend([(topics.replay(EDGE), json.dumps(ask).encode())] * 16)
                edge.turn(now + later)
                assert not edge._publisher.inbox
        assert caplog.text.count("which must wait for the disk") == times
        edge.turn(now + 100)
        assert not edge._keeping.trouble
    edge._outbox.close()
    edge._publisher.stop()


def refused() -> None:
    raise sqlite3.OperationalError("disk I/O error")


def fail_once(monkeypatch: pytest.MonkeyPatch, edge: Edge, *, committed: bool) -> None:
    """The next commit tells an error, and has or has not reached the disk."""
    spool = edge._outbox._spool
    commit = spool.commit

    def failing() -> None:
        monkeypatch.setattr(spool, "commit", commit)
        if committed:
            commit()
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(spool, "commit", failing)


def test_the_time_off_ends_where_the_slots_begin_however_long_the_look_back_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = HandClock()

    def slow(before: list[Reading], periods: dict[tuple[str, str], int]) -> Seen:
        clock.go(2_300)
        return last_seen(before, periods)

    monkeypatch.setattr(edge_module, "last_seen", slow)
    config = EdgeConfig.model_validate(
        {
            "edge": EDGE,
            "device": [{"stack": "s1", "driver": "jbd", "link": f"serial:{tmp_path}/none", "modules": ["m1"]}],
        }
    )
    edge = Edge(config, devices(config), tmp_path, clock)
    assert edge._station.ports[0].turned == edge._absence._start.bt == clock.bt
    edge._outbox.close()
    edge._publisher.stop()


def test_a_damage_that_shows_only_in_the_look_back_is_salvaged_and_the_edge_starts(tmp_path: Path) -> None:
    box = outbox(tmp_path)
    for first in range(0, 2000, 100):
        box.commit([reading(first + n) for n in range(100)])
    box.close()
    shows_only_in_the_look_back(tmp_path / FILE)
    edge = Edge(EdgeConfig(edge=EDGE), [], tmp_path, HandClock())
    edge.turn(10.0)
    found = bodies(edge._outbox, edge._outbox.pending(9999))
    assert "salvage" in [body.get("code") for body in found]
    assert len({body["voltage_mv"] for body in found if "voltage_mv" in body}) > 1900
    edge._outbox.close()
    edge._publisher.stop()


def shows_only_in_the_look_back(path: Path) -> None:
    """Spoil a page in the midst of the rows, with which the file still opens, but not all of its rows can be read."""
    with closing(sqlite3.connect(path)) as db:
        (root,) = db.execute("select rootpage from sqlite_schema where name='row'").fetchone()
        (pages,) = db.execute("pragma page_count").fetchone()
    whole = bytearray(path.read_bytes())
    at = next(n for n in range(pages // 2, pages) if n + 1 != root) * 4096
    whole[at : at + 4096] = bytes(4096)
    path.write_bytes(whole)
    with closing(sqlite3.connect(path)) as db, pytest.raises(sqlite3.DatabaseError):
        db.execute("select body from row order by n desc, seq desc").fetchall()


def off(entries: list[Entry], start: Instant) -> list[tuple[int, int, int]]:
    """from_ts and to_ts from NOW on, and slots, of what is told at `start` when these were the last rows."""
    before = [(row, dict(entry.body)) for row, entry in zip(numbered(entries), entries, strict=True)][::-1]
    told = [entry.body for entry in edge_off(last_seen(before, M1), M1, start)]
    return [(int(str(b["from_ts"])) - NOW, int(str(b["to_ts"])) - NOW, int(str(b["slots"]))) for b in told]


def numbered(entries: list[Entry]) -> list[Numbered]:
    return [Numbered("e" * 16, n + 1, entry.urgent, entry.about) for n, entry in enumerate(entries)]


def later(ms: int, boot: str = BOOT) -> Instant:
    return Instant(NOW + ms, 1_000_000 + ms, "ntp", boot)


def test_the_time_off_counts_from_the_end_of_the_last_slot_that_is_accounted_for() -> None:
    last = reading(1)
    gap = Entry(replace(last.about, event="gap", ts=NOW + 31_000, bt=1_031_000), {"to_ts": NOW + 30_000, "slots": 5})
    dropped = Entry(gap.about, {"to_ts": NOW - 10**9, "from_seq": 7, "slots": 5})
    assert off([last], later(60_000)) == [(5_000, 60_000, 11)]
    assert off([last, gap, dropped], later(60_000)) == [(30_000, 60_000, 6)]
    assert off([last], later(9_999)) == []
    assert off([last], later(10_000)) == [(5_000, 10_000, 1)]
    assert off([reading(1, "another")], later(60_000)) == []


def test_on_a_machine_that_went_on_running_the_boot_clock_measures_the_time_off() -> None:
    jumped = Instant(NOW + 10**10, 1_060_000, "ntp", BOOT)
    assert off([reading(1)], jumped) == [(10**10 - 55_000, 10**10, 11)]
    assert off([reading(1)], later(60_000, boot="cafebabe")) == [(5_000, 60_000, 11)]
    woke_in_1970 = Instant(1_000, 1_000, "bad", "cafebabe")
    assert off([reading(1)], woke_in_1970) == []


def test_the_outbox_tells_what_was_known_before_this_start(tmp_path: Path) -> None:
    box = outbox(tmp_path)
    box.commit([reading(1), reading(2)])
    box.receipt(box.stream, box.last()[0], 2)
    box.close()
    box = outbox(tmp_path)
    box.commit([reading(3)])
    assert [body["voltage_mv"] for _, body in box.before(9)] == [2, 1]
    assert [body["voltage_mv"] for _, body in box.before(1)] == [2]
    box.close()
