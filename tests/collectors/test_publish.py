"""The line to a real broker: what is said arrives, what goes wrong is told in one line, and it always comes back."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event, Thread
from time import monotonic

import pytest

from cellherd.config import EdgeConfig, load_edge
from cellherd.errors import ConfigError
from collectors import health, publish
from collectors.orders import Receipt, parse
from collectors.outbox import Outbox
from collectors.publish import WILL, Publisher, line_of
from collectors.sender import Sender
from tests import services
from tests.chaos.proxy import Proxy
from tests.collectors import brokers
from tests.collectors.brokers import EDGE, Broker
from tests.collectors.fake_server import FakeServer
from tests.collectors.outboxes import outbox, reading

KNOWN_S, WILL_LATE_S = 35.0, 3.0
"""Within what a dead link is known, and by how much brokers were measured to be late with a will."""


@pytest.fixture(scope="module", params=["embedded", "mosquitto"])
def broker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with getattr(brokers, request.param)(tmp_path_factory.mktemp("broker")) as running:
        yield running


def config(broker: Broker, **more: object) -> EdgeConfig:
    mqtt = {"url": f"mqtt://127.0.0.1:{broker.port}", "password_file": broker.password_file, **more}
    return EdgeConfig.model_validate({"edge": EDGE, "mqtt": mqtt})


class Loop:
    """Outbox, sender and publisher in the hands of a thread, as the edge's process has them."""

    def __init__(self, folder: Path, settings: EdgeConfig) -> None:
        self.folder, self.settings = folder, settings
        self.stop, self.wake = Event(), Event()
        self.said = 0
        self.depth = -1
        self.publisher: Publisher | None = None
        self._thread = Thread(target=self._run)
        self._todo: list[int] = []

    def __enter__(self) -> Loop:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self._thread.join()

    def commit(self, count: int) -> None:
        self._todo.append(count)
        self.wake.set()

    def _run(self) -> None:
        box = outbox(self.folder)
        publisher = self.publisher = Publisher(line_of(self.settings, box.client), self.wake.set)
        sender = Sender(EDGE, box, publisher.send)
        publisher.start()
        connection = 0
        while not self.stop.is_set():
            self.wake.wait(0.1)
            self.wake.clear()
            while publisher.inbox:
                order = parse(EDGE, *publisher.inbox.popleft())
                (sender.receipt if isinstance(order, Receipt) else sender.replay)(order)  # type: ignore[arg-type]
            while self._todo:
                count = self._todo.pop()
                sender.committed(box.commit([reading(self.said + n, f"m{n % 3}") for n in range(count)]))
                self.said += count
            if publisher.online.is_set():
                if connection != publisher.connections:
                    connection = publisher.connections
                    sender.reconnected()
                    publisher.send(f"fleet/{EDGE}/s", health.status(box), retain=True)
                sender.turn(monotonic())
            self.depth = box.depth()
        publisher.send(f"fleet/{EDGE}/s", WILL, retain=True)
        publisher.stop()
        box.close()


def wait(what: Callable[[], bool], timeout_s: float = 60) -> bool:
    deadline = monotonic() + timeout_s
    while not what() and monotonic() < deadline:
        Event().wait(0.02)
    return what()


@pytest.fixture
def server(broker: Broker) -> Iterator[FakeServer]:
    started = FakeServer(broker.port, EDGE, *(broker.server or ()))
    yield started
    started.stop()


def test_readings_arrive_and_receipts_free_them(broker: Broker, server: FakeServer, tmp_path: Path) -> None:
    with Loop(tmp_path, config(broker)) as loop:
        for _ in range(5):
            loop.commit(30)
        assert server.wait(lambda: len(server.came) == 150)
        assert wait(lambda: loop.depth == 0)
    assert sorted(row["voltage_mv"] for row in server.rows.values()) == list(range(150))
    assert max(server.came.values()) == 1, "without faults nothing is sent twice"


def test_without_receipts_nothing_is_freed_and_a_new_start_sends_it_again(
    broker: Broker, server: FakeServer, tmp_path: Path
) -> None:
    server.generous = False
    with Loop(tmp_path, config(broker)) as loop:
        loop.commit(30)
        assert server.wait(lambda: len(server.came) == 30)
    assert loop.depth == 30
    server.generous = True
    with Loop(tmp_path, config(broker)) as loop:
        assert wait(lambda: loop.depth == 0)
    assert set(server.came.values()) == {2}


def test_a_replay_is_obeyed(broker: Broker, server: FakeServer, tmp_path: Path) -> None:
    with Loop(tmp_path, config(broker)) as loop:
        loop.commit(30)
        assert server.wait(lambda: len(server.came) == 30)
        assert wait(lambda: loop.depth == 0)
        server.say("replay", {"id": "r1", "epoch": next(iter(server.came))[0], "from": 4, "to": 6})
        assert server.wait(lambda: sorted(server.came.values())[-3:] == [2, 2, 2])
        assert wait(lambda: loop.depth == 0)


def test_status_says_who_is_there_and_at_a_clean_stop_that_nobody_is(
    broker: Broker, server: FakeServer, tmp_path: Path
) -> None:
    server.retained["s"].clear()
    with Loop(tmp_path, config(broker)) as loop:
        loop.commit(3)
        assert server.wait(lambda: any(body.get("stream") == server.stream for body in server.retained["s"]))
        said = server.retained["s"][-1]
        assert (said["online"], said["epochs"]) == (1, [[said["epoch"], 3]])
    assert server.wait(lambda: server.retained["s"][-1] == {"v": 1, "online": 0})


def test_a_broker_that_went_away_costs_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    port = services.free_port()
    caplog.set_level(logging.INFO)
    with brokers.embedded(tmp_path / "broker", port) as broker, Loop(tmp_path, config(broker)) as loop:
        pass
    with Loop(tmp_path, config(broker)) as loop:
        loop.commit(30)
        assert wait(lambda: loop.depth == 30)
        with brokers.embedded(tmp_path / "broker", port) as broker:
            server = FakeServer(port, EDGE, *(broker.server or ()))
            assert server.wait(lambda: len(server.came) == 30)
            assert wait(lambda: loop.depth == 0)
            server.stop()
        loop.commit(30)
        assert wait(lambda: loop.depth == 30)
        with brokers.embedded(tmp_path / "broker", port) as broker:
            server = FakeServer(port, EDGE, *(broker.server or ()))
            assert wait(lambda: loop.depth == 0)
            server.stop()
    told = [record.message for record in caplog.records if "nothing is lost" in record.message]
    assert 2 <= len(told) <= 4, "one line a change, not one a try"


def test_a_line_that_dies_without_a_word_is_known_on_both_ends(
    broker: Broker, server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert max(publish.SILENT_S + publish.TURN_S, 1.5 * publish.KEEPALIVE_S + WILL_LATE_S) <= KNOWN_S
    monkeypatch.setattr(publish, "KEEPALIVE_S", 4)
    monkeypatch.setattr(publish, "SILENT_S", 6.0)
    proxy = Proxy(broker.port)
    proxy.start()
    with Loop(tmp_path, config(broker, url=f"mqtt://127.0.0.1:{proxy.port}")) as loop:
        said = server.retained["s"]
        assert server.wait(lambda: said and said[-1]["online"] == 1)
        assert loop.publisher is not None
        assert not wait(lambda: not loop.publisher.online.is_set(), 8), "an idle line that lives is kept"
        proxy.mood = "blackhole"
        assert wait(lambda: not loop.publisher.online.is_set(), KNOWN_S)
        assert server.wait(lambda: said[-1]["online"] == 0, KNOWN_S)
        proxy.mood = "well"
        assert server.wait(lambda: said[-1]["online"] == 1, 60)
    proxy.stop()


def test_a_wrong_password_is_one_clear_line_without_the_password(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "wrong").write_text("open-sesame")
    with brokers.embedded(tmp_path / "broker") as broker:
        wrong = config(broker, password_file=str(tmp_path / "wrong"))
        with Loop(tmp_path, wrong) as loop:
            loop.commit(3)
            assert wait(lambda: "refuses user 'hillside'" in caplog.text)
            assert wait(lambda: loop.depth == 3), "collecting goes on"
            Event().wait(2.5)  # two more tries
        assert "open-sesame" not in repr(line_of(wrong, "x"))
    assert caplog.text.count("refuses user") == 1
    assert "password_file" in caplog.text
    assert "open-sesame" not in caplog.text


def test_an_edge_without_the_right_to_hear_receipts_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with brokers.embedded(tmp_path / "broker") as broker:
        settings = config(broker, username=EDGE).model_copy(update={"edge": "meadow"})
        with Loop(tmp_path, settings):
            assert wait(lambda: "subscribe to cmd/meadow/receipt" in caplog.text)


def test_the_client_id_keeps_its_random_part_and_tls_needs_a_readable_authority(tmp_path: Path) -> None:
    path = tmp_path / "edge.toml"
    path.write_text('edge = "hillside"\n[mqtt]\nurl = "mqtts://broker.example"\n')
    box = outbox(tmp_path)
    line = line_of(load_edge(path, {}), box.client)
    assert (line.host, line.port, line.client_id) == ("broker.example", 8883, f"hillside-{box.client}")
    assert line.tls is not None
    client = box.client
    box.close()
    box = Outbox(tmp_path / "outbox.db", box._clock, 2**26)
    assert box.client == client
    box.close()
    (tmp_path / "ca.pem").write_text("no certificate")
    path.write_text(f'edge = "hillside"\n[mqtt]\nurl = "mqtts://broker.example"\nca_file = "{tmp_path}/ca.pem"\n')
    with pytest.raises(ConfigError, match="no certificate in PEM"):
        line_of(load_edge(path, {}), "x")
