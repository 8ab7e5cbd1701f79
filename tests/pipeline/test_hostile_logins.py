"""What a valid login may do that means harm, against the ingester and both brokers: its neighbours notice nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex

import psutil
import pytest

from cellherd import topics, wire
from cellherd.config import load_edge, load_fleet
from pipeline.enrolment.accounts import secret
from pipeline.ingest.identity import usable
from pipeline.ingest.service import Ingester
from pipeline.ingest.subscriber import Line
from tests.pipeline.plain_edge import PlainEdge, reading
from tests.pipeline.test_enrolment import Client, Server, until
from tests.pipeline.test_ingest import Beside, ListSink

FLAT = 64 * 2**20
NAMES = ("a\nb", 'a"b', "a\\", "#x", "a,b=c d", "\u2028", "\u202eabc", "x" * 300, "../../etc",
         "<script>alert(1)</script>",
         "*b*_i_", "=cmd|' /C calc'!A0", "${__from}", "+", "$SYS", "\ud83d\ude00")  # fmt: skip


@contextmanager
def stage(kind: str, folder: Path) -> Iterator[tuple[Server, Ingester, ListSink]]:
    """A broker of that kind with two enrolled edges, and an ingester on it."""
    server = Server(folder, "embedded = false" if kind == "mosquitto" else "", scheme="mqtt")
    server.enroll("mill-pi", url=f"mqtt://127.0.0.1:{server.port}")
    server.enroll("evil-pi", site="evil", url=f"mqtt://127.0.0.1:{server.port}")
    with getattr(server, kind)():
        line = Line("127.0.0.1", server.port, "ingest", secret(server.state / "broker", "ingest"))
        sink = ListSink()
        running = Ingester(load_fleet(server.file), server.state, Beside(server.state, [sink]), line)
        running.journal.age_s = 0.3
        running.start()
        try:
            assert running.subscriber.connected.wait(20)
            yield server, running, sink
        finally:
            running.stop()


def plain(server: Server, name: str) -> PlainEdge:
    password = (server.folder / name / "mqtt-password").read_text().strip()
    return PlainEdge(server.port, name, password)


@pytest.fixture(params=["embedded", pytest.param("mosquitto", marks=pytest.mark.service)])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_nobody_hears_or_says_more_than_his_own(kind: str, tmp_path: Path) -> None:
    with stage(kind, tmp_path) as (server, running, sink), plain(server, "mill-pi") as mill:
        with Client(tmp_path / "evil-pi") as evil:
            for topic in ("#", "+/+/+", "fleet/#", "cmd/#", "cmd/mill-pi/#", "fleet/mill-pi/#", "$SYS/#", "$MQTT/#"):
                evil.paho.subscribe(topic, 1)
            forged = reading(token_hex(16), token_hex(8), [1])
            for topic in (topics.readings("mill-pi", "s1", "m1"), "cmd/mill-pi/receipt", "cmd/mill-pi/replay"):
                evil.paho.publish(topic, forged, 1)
            evil.paho.publish(topics.status("mill-pi"), b'{"v":1,"online":0}', 1, retain=True)
            mill.send([1])
            assert mill.wait([1], 30)
            assert [topic for topic, _ in evil.heard if not topic.startswith("cmd/evil-pi/")] == []
        assert all(receipt["v"] == 1 and "upto" in receipt for receipt in mill.receipts)
        assert running.intake.edges.known["mill-pi"].status == {}
        until(lambda: sink.seqs() == [1])
    assert sink.readings()["edge"].to_list() == ["mill-pi"]


def test_a_guessed_client_id_throws_nobody_off(kind: str, tmp_path: Path) -> None:
    with stage(kind, tmp_path) as (_, running, _), Client(tmp_path / "mill-pi") as mill:
        for guess in ("ingest", "mill-pi", "mill-pi-0000000000000000", "cellherd"):
            with Client(tmp_path / "evil-pi", client_id=guess) as evil:
                assert evil.answer.is_set()
        assert running.subscriber.connected.is_set()
        assert running.subscriber._connection == 1
        assert not mill.off.is_set()


def test_on_mosquitto_not_even_a_known_client_id_helps(tmp_path: Path) -> None:
    with stage("mosquitto", tmp_path) as (_, running, _), Client(tmp_path / "mill-pi") as mill:
        known = load_edge(tmp_path / "mill-pi" / "edge.toml").mqtt.client_id
        with Client(tmp_path / "evil-pi", client_id=known) as evil:
            assert evil.let_in
        assert not mill.off.is_set()
        assert running.subscriber.connected.is_set()


def attacks(pi: PlainEdge) -> Iterator[tuple[str, bytes]]:
    """Payloads that must each end as a dead letter."""
    ours, squeezed = (topics.readings("evil-pi", "s1", "m1", deflated=deflated) for deflated in (False, True))
    text = reading(pi.stream, pi.epoch, [1000])
    body = json.loads(text)
    yield ours, b"x" * 200_000
    yield ours, b"[" * 30_000
    yield ours, b"\xef\xbb\xbf" + text
    yield squeezed, wire.deflate(b" " * 10_000_000)
    for changed in ({"seq": [0]}, {"seq": [2**63]}, {"seq": [2**70]}, {"v": 2}, {"stream": "zz"}, {"clk": "moon"},
                    {"seq": [1004], "voltage_mv": ["high"]}, {"seq": [1005], "cell_mv": 5}):  # fmt: skip
        yield ours, json.dumps(body | changed).encode()
    text = json.dumps(body).encode()
    for number in (b"NaN", b"Infinity", b"1e999"):
        yield ours, text.replace(b'"voltage_mv": [1000]', b'"voltage_mv": [' + number + b"]")


def test_a_storm_of_rubbish_ends_as_dead_letters_while_the_neighbour_is_receipted(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with stage(kind, tmp_path) as (server, running, sink), plain(server, "mill-pi") as mill:
        with plain(server, "evil-pi") as evil:
            before = psutil.Process().memory_info().rss
            wanted = list(attacks(evil))
            for turn in range(20):
                for topic, payload in wanted:
                    evil.publish(topic, payload, retain=turn == 0)
                mill.send([turn + 1])
                assert mill.wait([turn + 1], 30), "the neighbour waits while the storm goes on"
            until(lambda: running.status()["dead"]["kept"] >= len({payload for _, payload in wanted}))
            assert psutil.Process().memory_info().rss - before < FLAT
        with Client(tmp_path / "evil-pi") as giant:
            giant.paho.publish(topics.readings("evil-pi", "s1", "m1"), b"x" * 10_000_000, 1)
            assert giant.off.wait(30), "the broker throws off who sends 10 MB"
        mill.send([100])
        assert mill.wait([100], 30)
        running.check()
        codes = {letter.dead.code for letter in running.letters.newest(100)}
    assert codes <= {"schema", "range", "too_big"}
    assert [record for record in caplog.records if record.exc_info] == []
    assert sorted(sink.readings().filter(edge="mill-pi")["seq"]) == [*range(1, 21), 100]


@pytest.mark.parametrize("name", NAMES)
def test_a_hostile_serial_is_stored_literally_or_not_used(name: str) -> None:
    found = usable(name)
    assert found in ("", name.strip())
    assert found.isprintable()
    assert len(found) <= 64
