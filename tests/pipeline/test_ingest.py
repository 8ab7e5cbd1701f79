"""The whole intake against its real broker: receipts, duplicates, hostile messages, and every plug pulled."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from threading import Event
from time import monotonic
from typing import Any

import polars as pl
import psutil
import pytest

from cellherd import topics, wire
from cellherd.errors import CellherdError
from cellherd.settings import ArchiveStore, FleetConfig
from pipeline.decoding.decode import Decoded
from pipeline.ingest import committer
from pipeline.ingest.broker import EmbeddedBroker, edge_credentials
from pipeline.ingest.service import Ingester
from pipeline.ingest.subscriber import Line
from pipeline.journal.deadletters import DeadLetters
from pipeline.stores.archive import Archive
from pipeline.storing import storeroom
from pipeline.storing.sinks import Feeders, Segments, Sink
from pipeline.storing.storeroom import Storeroom
from tests.pipeline.plain_edge import NOW, PlainEdge, reading
from tests.services import free_port


class ListSink:
    """A store that remembers what it got, and is away while `away` is set."""

    name = "list"

    def __init__(self) -> None:
        self.segments: dict[int, Decoded] = {}
        self.away = Event()

    def position(self) -> int:
        return 0

    def write(self, number: int, decoded: Decoded) -> None:
        if self.away.is_set():
            raise OSError("the store is away")
        self.segments[number] = decoded

    def readings(self) -> pl.DataFrame:
        return pl.concat([d.frames["reading"] for _, d in sorted(self.segments.items())] or [pl.DataFrame()])

    def seqs(self) -> list[int]:
        return sorted(self.readings()["seq"]) if self.segments else []


class Beside:
    """The stores in this process instead of one of their own."""

    def __init__(self, state: Path, sinks: Sequence[Sink]) -> None:
        self._state, self._sinks = state, sinks

    def start(self, _series: str, upto: int, moved: Callable[[int], None]) -> None:
        def changed() -> None:
            moved(min(int(store["at"]) for store in self.status().values()))

        self._letters = DeadLetters(self._state / "deadletters.sqlite")
        self._segments = Segments(self._state / "journal", self._letters, upto)
        self._feeders = Feeders(self._sinks, self._segments, changed)
        self._feeders.start()

    def announce(self, upto: int) -> None:
        self._segments.announce(upto)

    def renew(self, config: FleetConfig) -> None:
        """These stores do not look at sites."""

    def alive(self) -> bool:
        return self._feeders.alive()

    def status(self) -> dict[str, Any]:
        return self._feeders.status()

    def pid(self) -> None:
        return None

    def stop(self) -> None:
        self._feeders.stop()
        self._letters.close()


def fleet(port: int) -> FleetConfig:
    return FleetConfig.model_validate(
        {
            "broker": {"listen": f"127.0.0.1:{port}"},
            "installer": [{"id": "acme"}],
            "site": [{"id": f"site{n}", "installer": "acme", "edge": f"pi{n}"} for n in (1, 2)],
        }
    )


@pytest.fixture
def config() -> FleetConfig:
    return fleet(free_port())


@contextmanager
def broker(config: FleetConfig, state: Path) -> Iterator[EmbeddedBroker]:
    child = EmbeddedBroker(config.broker, state, [site.edge for site in config.site])
    child.start()
    try:
        yield child
    finally:
        child.stop()


@contextmanager
def ingester(config: FleetConfig, state: Path, child: EmbeddedBroker, *sinks: ListSink) -> Iterator[Ingester]:
    running = Ingester(config, state, Beside(state, sinks), child.line())
    running.journal.age_s = 0.3
    running.start()
    try:
        assert running.subscriber.connected.wait(10)
        yield running
    finally:
        running.stop()


@contextmanager
def intake(config: FleetConfig, state: Path, *sinks: ListSink) -> Iterator[Ingester]:
    with broker(config, state) as child, ingester(config, state, child, *sinks) as running:
        yield running


def edge(config: FleetConfig, state: Path, name: str = "pi1") -> PlainEdge:
    user, file = edge_credentials(state, name)
    return PlainEdge(int(config.broker.listen.rpartition(":")[2]), user, file.read_text())


def until(true: Callable[[], bool], timeout_s: float = 60) -> None:
    deadline, waits = monotonic() + timeout_s, Event()
    while not true():
        assert monotonic() < deadline, "it did not happen"
        waits.wait(0.05)


def test_a_reading_is_receipted_and_reaches_the_store_with_site_and_unit(config: FleetConfig, tmp_path: Path) -> None:
    sink = ListSink()
    with intake(config, tmp_path, sink) as running, edge(config, tmp_path) as pi:
        pi.send([1, 2, 3])
        assert pi.wait([1, 2, 3])
        assert running.status()["kept"] == 3
    assert sink.seqs() == [1, 2, 3]
    row = sink.readings().row(0, named=True)
    assert (row["site"], row["edge"], row["unit"], row["voltage_mv"]) == ("site1", "pi1", "site1.s1.m1.1", 1)


def test_receipts_say_upto_also_and_the_servers_time(config: FleetConfig, tmp_path: Path) -> None:
    with intake(config, tmp_path, ListSink()), edge(config, tmp_path) as pi:
        pi.send([1, 2, 5, 6, 9])
        assert pi.wait([1, 2, 5, 6, 9])
        last = pi.receipts[-1]
        assert (last["v"], last["upto"], last["also"], last["bad"]) == (1, 2, [[5, 6], [9, 9]], [])
        assert last["srv_ts"] > NOW


def test_a_duplicate_is_stored_once_and_receipted_again(config: FleetConfig, tmp_path: Path) -> None:
    sink = ListSink()
    with intake(config, tmp_path, sink), edge(config, tmp_path) as pi:
        pi.send([1, 2])
        assert pi.wait([1, 2])
        had = len(pi.receipts)
        pi.send([1, 2])
        assert pi.wait_receipts(had + 1)
        assert pi.receipts[-1]["upto"] == 2
    assert sink.seqs() == [1, 2]


def test_of_a_partial_overlap_only_the_new_part_is_stored(config: FleetConfig, tmp_path: Path) -> None:
    sink = ListSink()
    with intake(config, tmp_path, sink), edge(config, tmp_path) as pi:
        pi.send([2, 3])
        assert pi.wait([2, 3])
        pi.send([1, 2, 3, 4])
        assert pi.wait([1, 2, 3, 4])
    assert sink.seqs() == [1, 2, 3, 4]


def test_records_count_in_the_same_sequence_and_a_serial_names_the_unit(config: FleetConfig, tmp_path: Path) -> None:
    sink = ListSink()
    with intake(config, tmp_path, sink), edge(config, tmp_path) as pi:
        pi.publish(topics.records("pi1", "s1", "m1"), record(pi, 1, {"serial": "LFP-0042"}))
        assert pi.wait([1])
        pi.send([2])
        assert pi.wait([1, 2])
        assert pi.receipts[-1]["upto"] == 2
    assert sink.readings()["unit"].to_list() == ["LFP-0042"]


def record(pi: PlainEdge, seq: int, body: dict[str, object], event: str = "info") -> bytes:
    head = {"stream": pi.stream, "epoch": pi.epoch, "seq": seq, "module": "m1", "kind": "module", "boot": "0badcafe"}
    return wire.pack_record(head | {"bt": 1, "ts": NOW, "clk": "ntp", "sent_bt": 2, "sent_ts": NOW}, event, body)


def test_a_store_that_is_away_delays_neither_receipts_nor_its_neighbour(config: FleetConfig, tmp_path: Path) -> None:
    good, bad = ListSink(), ListSink()
    bad.name = "bad"
    bad.away.set()
    with intake(config, tmp_path, good, bad) as running, edge(config, tmp_path) as pi:
        pi.send([1, 2])
        assert pi.wait([1, 2])
        until(lambda: good.seqs() == [1, 2])
        assert running.status()["sinks"]["bad"]["trouble"] == "the store is away"
        assert running.journal.sealed() == [1]
        bad.away.clear()
        until(lambda: bad.seqs() == [1, 2])
        until(lambda: running.journal.sealed() == [])


def good_body(pi: PlainEdge, seqs: list[int]) -> dict[str, object]:
    body: dict[str, object] = json.loads(reading(pi.stream, pi.epoch, seqs))
    return body


def hostile(pi: PlainEdge) -> Iterator[tuple[str, bytes]]:
    """F21 of the fault plan, as topic and payload; the numbers of each are its own, from 1000."""
    ours = topics.readings("pi1", "s1", "m1")
    body = good_body(pi, [1000])
    text = json.dumps(body).encode()
    yield ours, b"x" * 200_000
    yield ours, b'{"a":' * 20_000
    yield ours, b"[" * 30_000
    yield ours, b"\xff\xfe" + text
    yield ours, b"\xef\xbb\xbf" + text
    yield ours, text.replace(b'"jbd"', b'"\\ud800"')
    yield ours, text.replace(b'"seq"', b'"seq": [1001], "seq"', 1)
    yield ours, text + b"," + text
    yield ours, b""
    yield "fleet/pi1//s1/m1", text
    yield "fleet/pi1/x/s1/m1", text
    yield topics.readings("pi1", "s1", "other"), text
    yield topics.readings("pi1", "s1", "m1", deflated=True), wire.deflate(b" " * 10_000_000)
    yield topics.readings("pi1", "s1", "m1", deflated=True), b"not deflated"
    yield topics.status("pi1"), b"garbage"
    for changed in (
        *({"seq": [seq]} for seq in (0, -1, 2**63, 2**70, 1.5, True, "1", None)),
        {"seq": []}, {"seq": [1002, 1002]}, {"seq": 7}, {"v": 2}, {"stream": "zz"}, {"epoch": None}, {"clk": "moon"},
        {"boot": "../../x"}, {"sent_bt": "soon"}, {"sent_bt": 2**63}, {"sent_bt": -(2**63)},
        {"seq": [1003], "voltage_mv": [2**70]}, {"seq": [1004], "voltage_mv": ["high"]},
        {"seq": [1005], "cell_mv": 5}, {"seq": [1006], "dt": [0, 1]},
    ):  # fmt: skip
        yield ours, json.dumps(body | changed).encode()
    for number in (b"NaN", b"Infinity", b"1e999"):
        yield ours, text.replace(b'"voltage_mv": [1000]', b'"voltage_mv": [' + number + b"]")


def test_hostile_messages_end_as_dead_letters_and_harm_no_neighbour(config: FleetConfig, tmp_path: Path) -> None:
    sink = ListSink()
    with (
        intake(config, tmp_path, sink) as running,
        edge(config, tmp_path) as pi,
        edge(config, tmp_path, "pi2") as other,
    ):
        attacks = list(hostile(pi))
        for number, (topic, payload) in enumerate(attacks, 1):
            pi.publish(topic, payload)
            other.send([number])
            pi.send([number])
        mine = range(1, len(attacks) + 1)
        assert pi.wait(mine)
        assert other.wait(mine)
        until(lambda: running.status()["dead"]["kept"] == len(attacks))
        running.check()
    stored = sink.readings().filter(pl.col("seq") < 1000)
    assert sorted(stored.filter(edge="pi1")["seq"]) == list(mine)
    assert sorted(stored.filter(edge="pi2")["seq"]) == list(mine)
    assert len(sink.seqs()) == 2 * len(attacks), "nothing of an attack is stored"


def test_an_edge_is_told_which_numbers_are_bad(config: FleetConfig, tmp_path: Path) -> None:
    with intake(config, tmp_path, ListSink()), edge(config, tmp_path) as pi:
        pi.publish(topics.readings("pi1", "s1", "m1"), json.dumps(good_body(pi, [7, 8]) | {"clk": "moon"}).encode())
        assert pi.wait_receipts(1)
        assert pi.receipts[0]["bad"] == [[7, "schema"], [8, "schema"]]
        assert pi.receipts[0]["upto"] == 0


def test_a_message_under_another_edges_name_never_arrives(config: FleetConfig, tmp_path: Path) -> None:
    sink = ListSink()
    with intake(config, tmp_path, sink) as running, edge(config, tmp_path) as pi:
        pi.publish(topics.readings("pi2", "s1", "m1"), reading(token_hex(16), token_hex(8), [1]))
        pi.send([1])
        assert pi.wait([1])
        assert running.status()["messages"] == 1
    assert sink.readings()["edge"].to_list() == ["pi1"]


def test_a_wrong_password_is_refused_and_named(config: FleetConfig, tmp_path: Path) -> None:
    with broker(config, tmp_path) as child:
        line = child.line()
        wrong = Line(line.host, line.port, line.username, "wrong")
        running = Ingester(config, tmp_path, Beside(tmp_path, [ListSink()]), wrong)
        running.start()
        try:
            until(lambda: bool(running.subscriber.refused))
            with pytest.raises(CellherdError, match=r"refuses user 'ingest'.*password_file"):
                running.check()
        finally:
            running.stop()


def test_a_port_in_use_is_named(config: FleetConfig, tmp_path: Path) -> None:
    with broker(config, tmp_path / "a"), pytest.raises(CellherdError, match=r"cannot listen .* change broker\.listen"):
        EmbeddedBroker(config.broker, tmp_path / "b", []).start()


def test_an_open_port_off_the_loopback_is_refused(tmp_path: Path) -> None:
    config = FleetConfig.model_validate({"broker": {"listen": "0.0.0.0:1883"}})
    with pytest.raises(CellherdError, match="would show passwords"):
        EmbeddedBroker(config.broker, tmp_path, []).start()


def test_a_second_ingester_on_the_same_state_is_refused(config: FleetConfig, tmp_path: Path) -> None:
    refused = pytest.raises(CellherdError, match="another ingester")
    with broker(config, tmp_path) as child, ingester(config, tmp_path, child, ListSink()), refused:
        Ingester(config, tmp_path, Beside(tmp_path, []), child.line())


def test_after_a_restart_duplicates_are_still_known(config: FleetConfig, tmp_path: Path) -> None:
    sink = ListSink()
    with broker(config, tmp_path) as child, edge(config, tmp_path) as pi:
        with ingester(config, tmp_path, child, sink):
            pi.send([1, 2, 3])
            assert pi.wait([1, 2, 3])
        with ingester(config, tmp_path, child, sink):
            pi.send([2, 3, 4])
            assert pi.wait([1, 2, 3, 4])
            assert pi.receipts[-1]["upto"] == 4
    assert sink.seqs() == [1, 2, 3, 4]


def test_a_dead_letter_is_taken_in_once_its_edge_is_registered(
    config: FleetConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committer, "LETTERS_S", 0.2)
    sink = ListSink()
    stranger = config.model_copy(update={"site": config.site[1:]})
    with broker(config, tmp_path) as child, edge(config, tmp_path) as pi:
        with ingester(stranger, tmp_path, child, sink) as running:
            pi.send([1])
            assert pi.wait_receipts(1)
            assert pi.receipts[0]["bad"] == [[1, "unknown_module"]]
        with ingester(config, tmp_path, child, sink) as running:
            assert running.letters.want() == 1
            until(lambda: running.status()["kept"] == 1)
            until(lambda: running.letters.counts()["kept"] == 0)
    assert sink.seqs() == [1]


FLEET_TOML = """
[broker]
listen = "127.0.0.1:{port}"
[[installer]]
id = "acme"
[[site]]
id = "site1"
installer = "acme"
edge = "pi1"
"""


@contextmanager
def process(tmp_path: Path, port: int, failpoint: str = "") -> Iterator[subprocess.Popen[bytes]]:
    file = tmp_path / "fleet.toml"
    file.write_text(FLEET_TOML.format(port=port))
    command = [sys.executable, "-m", "cellherd", "ingest", "run", "--config", str(file), "--state", str(tmp_path)]
    with (tmp_path / "ingest.log").open("ab") as out:
        child = subprocess.Popen(command, env=os.environ | {"CELLHERD_FAILPOINT": failpoint}, stdout=out, stderr=out)
    try:
        until(lambda: reachable(port) or child.poll() is not None, 60)
        yield child
    finally:
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
        child.wait(30)


def reachable(port: int) -> bool:
    return any(c.laddr.port == port and c.status == "LISTEN" for c in psutil.net_connections("tcp"))


def archived(tmp_path: Path) -> list[int]:
    seqs: list[int] = Archive(str(tmp_path / "archive")).scan("reading").select("seq").collect()["seq"].to_list()
    return sorted(seqs)


def send_until_dead(pi: PlainEdge, child: subprocess.Popen[bytes]) -> int:
    """Send a reading about every 20 ms; returns the number of the last one."""
    waits = Event()
    for seq in range(1, 1500):
        if child.poll() is not None:
            return seq - 1
        pi.send([seq])
        waits.wait(0.02)
    raise AssertionError("nobody died")


@pytest.mark.parametrize("point", ["journal-written:3", "journal-synced:20"])
def test_killed_at_any_point_every_reading_is_in_the_archive_once(tmp_path: Path, point: str) -> None:
    port = free_port()
    with process(tmp_path, port, point) as first, edge(fleet(port), tmp_path) as pi:
        sent = send_until_dead(pi, first)
        assert first.returncode == -signal.SIGKILL
        until(lambda: not reachable(port))
        with process(tmp_path, port) as second:
            pi.send_until_receipted(range(1, sent + 1))
        assert second.returncode == 0
    assert archived(tmp_path) == list(range(1, sent + 1))


def storing(parent: int) -> list[psutil.Process]:
    """The storing processes below a process."""
    return [child for child in psutil.Process(parent).children() if "pipeline.storing.process" in child.cmdline()]


@contextmanager
def two_processes(config: FleetConfig, state: Path, child: EmbeddedBroker) -> Iterator[tuple[Ingester, Storeroom]]:
    room = Storeroom(config, state)
    running = Ingester(config, state, room, child.line())
    running.journal.age_s = 0.3
    running.start()
    try:
        assert running.subscriber.connected.wait(10)
        yield running, room
    finally:
        running.stop()


@pytest.mark.parametrize("point", ["archive-committed", "sink-written", "by hand"])
def test_the_storing_process_killed_again_and_again_loses_and_doubles_nothing(
    config: FleetConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    monkeypatch.setattr(storeroom, "FIRST_PAUSE_S", 0.1)
    monkeypatch.setenv("CELLHERD_FAILPOINT", point)
    with broker(config, tmp_path) as child, edge(config, tmp_path) as pi:
        with two_processes(config, tmp_path, child) as (running, room):
            seen: set[int] = set()
            sent, waits = 0, Event()
            while len(seen) < 3:
                assert sent < 3000, "nobody died"
                sent += 1
                pi.send([sent])
                seen |= {pid} if (pid := room.pid()) else set()
                if point == "by hand" and sent % 100 == 0 and pid:
                    os.kill(pid, signal.SIGKILL)
                waits.wait(0.02)
            assert pi.wait(range(1, sent + 1)), "receipts do not wait for the stores"
            running.check()
            monkeypatch.delenv("CELLHERD_FAILPOINT")
            until(lambda: archived(tmp_path) == list(range(1, sent + 1)), 60)
            until(lambda: running.journal.sealed() == [])
        assert room.pid() is None


def test_at_the_end_the_stores_get_what_came_last(config: FleetConfig, tmp_path: Path) -> None:
    with broker(config, tmp_path) as child, edge(config, tmp_path) as pi, two_processes(config, tmp_path, child):
        pi.send([1, 2])
        assert pi.wait([1, 2])
    assert archived(tmp_path) == [1, 2]


def test_the_storing_process_ends_with_its_parent(tmp_path: Path) -> None:
    with process(tmp_path, free_port()) as parent:
        until(lambda: len(storing(parent.pid)) == 1)
        (child,) = storing(parent.pid)
        parent.kill()
        assert not psutil.wait_procs([child], 10)[1]


def test_an_archive_that_is_away_at_the_start_stops_nobody(config: FleetConfig, tmp_path: Path) -> None:
    (tmp_path / "archive").write_text("the disk is not mounted yet")
    with (
        broker(config, tmp_path) as child,
        edge(config, tmp_path) as pi,
        two_processes(config, tmp_path, child) as (running, _),
    ):
        pi.send([1, 2])
        assert pi.wait([1, 2])
        until(lambda: bool(running.status()["sinks"].get("archive", {}).get("trouble")))
        running.check()
        (tmp_path / "archive").unlink()
        until(lambda: running.status()["sinks"]["archive"]["at"] == 1)
    assert archived(tmp_path) == [1, 2]


def test_an_archive_that_knew_an_earlier_ledger_takes_the_numbers_of_the_new_one(
    config: FleetConfig, tmp_path: Path
) -> None:
    config = config.model_copy(update={"archive": ArchiveStore(uri=str(tmp_path / "archive"))})
    for state, seq in ((tmp_path / "a", 1), (tmp_path / "b", 2)):
        with broker(config, state) as child, edge(config, state) as pi, two_processes(config, state, child):
            pi.send([seq])
            assert pi.wait([seq])
    assert archived(tmp_path) == [1, 2]


def test_the_broker_killed_again_and_again_loses_nothing(config: FleetConfig, tmp_path: Path) -> None:
    sink = ListSink()
    with broker(config, tmp_path) as child, ingester(config, tmp_path, child, sink), edge(config, tmp_path) as pi:
        killed: list[int] = []
        for kill in range(3):
            for seq in range(1 + 50 * kill, 51 + 50 * kill):
                pi.send([seq])
            until(lambda: child.pid() not in {None, *killed})
            killed.append(child.pid() or 0)
            psutil.Process(killed[-1]).kill()
        pi.send_until_receipted(range(1, 151))
    assert sink.seqs() == list(range(1, 151))


def test_the_broker_ends_with_its_parent(tmp_path: Path) -> None:
    port = free_port()
    with process(tmp_path, port) as child:
        assert reachable(port)
        child.kill()
        until(lambda: not reachable(port))


def test_a_deflated_message_is_as_good_as_a_plain_one(config: FleetConfig, tmp_path: Path) -> None:
    sink = ListSink()
    with intake(config, tmp_path, sink), edge(config, tmp_path) as pi:
        squeezed = wire.deflate(reading(pi.stream, pi.epoch, [1, 2]))
        assert zlib.decompress(squeezed, -15)
        pi.publish(topics.readings("pi1", "s1", "m1", deflated=True), squeezed)
        assert pi.wait([1, 2])
    assert sink.seqs() == [1, 2]
