"""An edge is let in and shut out at real brokers, over TLS, and nothing of its password stays on the server."""

from __future__ import annotations

import signal
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event, Thread
from time import monotonic
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from cellherd.config import load_edge, load_fleet, read_secret
from cellherd.errors import CellherdError, ConfigError
from cellherd.settings import Broker
from collectors.publish import line_of
from pipeline import commands_enrol
from pipeline.commands_broker import acl, certificate
from pipeline.enrolment import accounts, authority
from pipeline.ingest.broker import EmbeddedBroker
from pipeline.ingest.registry import Registry
from tests import services

EDGES = ["hill-pi", "mill-pi"]
NOW = datetime.now(UTC)
FLEET = """
[broker]
listen = "127.0.0.1:{port}"
public_url = "{scheme}://localhost:{port}"
{more}
[[installer]]
id = "acme"
[[site]]
id = "mill"
installer = "acme"
edge = "mill-pi"
"""


class Server:
    """fleet.toml, a state folder and a broker that reads them."""

    def __init__(self, folder: Path, more: str = "", scheme: str = "mqtts") -> None:
        self.folder, self.state, self.file = folder, folder / "state", folder / "fleet.toml"
        self.port = services.free_port()
        self.file.write_text(FLEET.format(port=self.port, more=more, scheme=scheme))
        self.renewed: list[Any] = []

    def enroll(self, edge: str, **options: Any) -> Path:
        wanted = {"site": None, "installer": None, "tz": "UTC", "url": None, "certificate": False, "rotate": False}
        place = options.pop("out", self.folder / edge)
        commands_enrol.enroll(edge, **wanted | options, out=place, config=self.file, state=self.state)
        return Path(place)

    def revoke(self, edge: str) -> None:
        commands_enrol.revoke(edge, self.file, self.state)

    def renew(self, config: Any) -> None:
        self.renewed.append(config)

    @contextmanager
    def embedded(self) -> Iterator[Callable[[], None]]:
        """A running nats-server, and the ingester's look at the files."""
        config = load_fleet(self.file)
        registry = Registry(self.file, self.state, config)
        broker = EmbeddedBroker(config.broker, self.state, [site.edge for site in config.site])
        broker.start()
        try:
            yield lambda: registry.look(self, broker)
        finally:
            broker.stop()

    @contextmanager
    def mosquitto(self) -> Iterator[Callable[[], None]]:
        """A running Mosquitto on the generated files, and the SIGHUP that broker.reload_command gives it."""
        binary = services.find("mosquitto", "mosquitto")
        acl(self.file, self.state)
        config = self.folder / "mosquitto.conf"
        config.write_text(f"user root\ninclude_dir {self.state}/broker/mosquitto\n")
        command = [binary, "-c", str(config)]
        with services.running(command, self.folder, self.port, lambda: services._listens(self.port)) as service:
            yield lambda: service.process.send_signal(signal.SIGHUP)


class Client:
    """A login over raw paho, as the edge's own files describe it."""

    def __init__(self, folder: Path, client_id: str | None = None) -> None:
        config = load_edge(folder / "edge.toml")
        line = line_of(config, "x")
        self.off, self.answer = Event(), Event()
        self.code: Any = None
        self.heard: list[tuple[str, bytes]] = []
        self.paho = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=client_id or line.client_id)
        self.paho.username_pw_set(line.username, line.password)
        if line.tls:
            self.paho.tls_set_context(line.tls.strict)
        self.paho.on_connect = self._on_connect
        self.paho.on_disconnect = lambda *_: self.off.set()
        self.paho.on_message = lambda _c, _d, m: self.heard.append((m.topic, m.payload))
        self._host, self._port = line.host, line.port

    def _on_connect(self, _client: Any, _data: Any, _flags: Any, code: Any, _properties: Any) -> None:
        self.code = code
        self.answer.set()

    def __enter__(self) -> Client:
        self.paho.connect(self._host, self._port, 20)
        self.paho.loop_start()
        assert self.answer.wait(15)
        return self

    def __exit__(self, *_: object) -> None:
        self.paho.disconnect()
        self.paho.loop_stop()

    @property
    def let_in(self) -> bool:
        return not self.code.is_failure


def until(true: Callable[[], bool], each: Callable[[], None] = lambda: None, timeout_s: float = 60) -> None:
    deadline = monotonic() + timeout_s
    while not true():
        assert monotonic() < deadline, "it did not happen"
        each()
        Event().wait(0.1)


def refused(folder: Path) -> bool:
    with Client(folder) as client:
        return not client.let_in


@pytest.fixture(params=["embedded", pytest.param("mosquitto", marks=pytest.mark.service)])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_an_edge_is_let_in_while_the_broker_runs_and_revoking_ends_its_live_session(kind: str, tmp_path: Path) -> None:
    server = Server(tmp_path, "embedded = false" if kind == "mosquitto" else "")
    certificate(["localhost"], server.state)
    mill = server.enroll("mill-pi")
    with getattr(server, kind)() as reload, Client(mill) as neighbour:
        assert neighbour.let_in
        hill = server.enroll("hill-pi", site="hill")
        reload()
        until(lambda: not refused(hill))
        with Client(hill) as client:
            assert client.let_in
            server.revoke("hill-pi")
            reload()
            assert client.off.wait(15), "the live session goes on"
        assert refused(hill)
        assert not neighbour.off.is_set(), "the neighbour was thrown off"
    stored = b"".join(path.read_bytes() for path in server.state.rglob("*") if path.is_file())
    assert (hill / "mqtt-password").read_bytes().strip() not in stored


def test_rotating_ends_the_old_password_and_keeps_the_client_id(tmp_path: Path) -> None:
    server = Server(tmp_path)
    old = server.enroll("mill-pi")
    with pytest.raises(CellherdError, match="--rotate"):
        server.enroll("mill-pi", out=tmp_path / "again")
    with server.embedded() as reload:
        new = server.enroll("mill-pi", rotate=True, out=tmp_path / "new")
        reload()
        until(lambda: refused(old))
        assert not refused(new)
    assert (old / "edge.toml").read_text() == (new / "edge.toml").read_text()


def test_what_the_edge_gets_is_private_and_ready(tmp_path: Path) -> None:
    server = Server(tmp_path)
    place = server.enroll("hill-pi", site="hill", tz="Europe/Berlin", certificate=True)
    assert {path.stat().st_mode & 0o777 for path in place.iterdir()} == {0o600}
    assert place.stat().st_mode & 0o777 == 0o700
    config = load_edge(place / "edge.toml")
    assert line_of(config, "x").tls is not None
    assert config.mqtt.client_id is not None
    assert len(config.mqtt.client_id) >= len("hill-pi-") + 16
    assert load_fleet(server.file).site[-1].tz == "Europe/Berlin"
    tar = server.enroll("mill-pi", out=tmp_path / "mill.tar")
    assert tar.stat().st_mode & 0o777 == 0o600
    with pytest.raises(CellherdError, match="is there already"):
        server.enroll("mill-pi", rotate=True, out=tar)


def test_a_broker_that_wants_certificates_lets_in_only_who_has_one_of_ours(tmp_path: Path) -> None:
    server = Server(tmp_path, "require_certificate = true")
    server.enroll("mill-pi")
    plain = server.folder / "mill-pi"
    with server.embedded():
        with Client(plain) as client:
            assert client.let_in
        text = (plain / "edge.toml").read_text()
        (plain / "edge.toml").write_text("".join(f"{x}\n" for x in text.splitlines() if "edge." not in x))
        line = line_of(load_edge(plain / "edge.toml"), "x")
        assert line.tls is not None
        with pytest.raises(ssl.SSLError, match=r"(?i)certificate.required"):
            shake(server, line.tls.strict, say=b"\x10")


def shake(server: Server, context: ssl.SSLContext, host: str = "localhost", say: bytes = b"") -> str:
    with (
        socket.create_connection(("127.0.0.1", server.port), 10) as plain,
        context.wrap_socket(plain, server_hostname=host) as line,
    ):
        if say:
            line.sendall(say)
            line.recv(1)  # TLS 1.3 tells of a missing certificate with the first answer
        return str(line.version())


def test_tls_refuses_a_wrong_authority_name_date_and_version(tmp_path: Path) -> None:
    server = Server(tmp_path)
    mill = server.enroll("mill-pi")
    with server.embedded() as reload:
        good = ssl.create_default_context(cafile=mill / "ca.pem")
        assert shake(server, good) in ("TLSv1.2", "TLSv1.3")
        authority.authority(tmp_path / "other", NOW)
        with pytest.raises(ssl.SSLCertVerificationError, match="certificate"):
            shake(server, ssl.create_default_context(cafile=tmp_path / "other" / "ca.pem"))
        with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
            shake(server, good, "elsewhere.example")
        ancient = ssl.create_default_context(cafile=mill / "ca.pem")
        ancient.minimum_version, ancient.maximum_version = ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_1
        ancient.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.raises(ssl.SSLError, match=r"PROTOCOL_VERSION|protocol version"):
            shake(server, ancient)
        reload()  # an ended certificate would be renewed at the first look
        ours = authority.authority(server.state / "tls", NOW)
        ours.issue_server(["localhost"], NOW - timedelta(days=400))
        expired = ssl.create_default_context(cafile=mill / "ca.pem")

        def is_expired() -> bool:
            try:
                shake(server, expired)
            except ssl.SSLCertVerificationError as error:
                return "expired" in str(error)
            except OSError:  # the broker begins anew with its certificate
                return False
            return False

        until(is_expired, reload)
        assert authority.renew_if_due(server.state / "tls", NOW)
        until(lambda: not is_expired() and services._listens(server.port), reload)
        assert not refused(mill)


def test_a_broken_registry_keeps_the_old_one_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    server = Server(tmp_path)
    mill = server.enroll("mill-pi")
    with server.embedded() as reload:
        good = server.file.read_text()
        server.file.write_text(good + "\n[[site]]\nid = 'x'\n")
        reload()
        assert "the registry stays as it was" in caplog.text
        assert not refused(mill)
        assert server.renewed == []
        server.file.write_text(good + "\n[[site]]\nid = 'x'\ninstaller = 'acme'\nedge = 'x-pi'\n")
        reload()
        assert [site.edge for site in server.renewed[0].site] == ["mill-pi", "x-pi"]


def test_off_the_loopback_there_is_no_plain_text_unless_it_is_named(tmp_path: Path) -> None:
    open_ = Broker(listen=f"0.0.0.0:{services.free_port()}")
    with pytest.raises(CellherdError, match="broker certificate"):
        EmbeddedBroker(open_, tmp_path, []).start()
    allowed = EmbeddedBroker(open_.model_copy(update={"plain_text": True}), tmp_path, ["pi1"])
    allowed.start()
    allowed.stop()
    assert "pi1" not in (tmp_path / "broker" / "nats.conf").read_text(), "off the loopback only enrolled edges exist"


@pytest.mark.parametrize("edge", ["Hill", "../x", "ingest", "edge", "a" * 64, "a\nb", "a b", ""])
def test_a_name_that_cannot_be_an_edge_is_refused_before_anything_is_written(edge: str, tmp_path: Path) -> None:
    server = Server(tmp_path)
    before = server.file.read_text()
    with pytest.raises(CellherdError, match="cannot be an edge"):
        server.enroll(edge, site="hill", out=tmp_path / "out")
    assert server.file.read_text() == before
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("site", "tz"), [("x'\nid='y", "UTC"), ("hill", "UTC'\nname = 'x"), ("mill", "UTC")])
def test_a_site_cannot_write_more_than_itself_into_the_registry(site: str, tz: str, tmp_path: Path) -> None:
    server = Server(tmp_path)
    before = server.file.read_text()
    with pytest.raises(CellherdError):
        server.enroll("hill-pi", site=site, tz=tz)
    assert server.file.read_text() == before


def test_accounts_survive_many_who_enroll_at_once(tmp_path: Path) -> None:
    made = accounts.new_account("x", "2026-01-01")[0]
    threads = [Thread(target=accounts.put, args=(tmp_path, f"pi{n}", made)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(accounts.read(tmp_path)) == 20


def test_a_secret_that_everybody_can_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("correct horse")
    assert read_secret(str(file)) == "correct horse"
    file.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        read_secret(str(file))
