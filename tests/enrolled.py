"""A server, an enrolled edge and its emulated batteries, each started by the commands that a person types."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from time import monotonic

from cellherd.errors import CellherdError
from pipeline.stores.archive import Archive
from tests import services

EDGE, SITE = "hill-pi", "hill"
PATIENCE_S = 90.0
BARN = """edge = "hill-pi"
[[device]]
stack = "s1"
driver = "jbd"
wire = "pty"
[[device.module]]
id = "m1"
seed = 11
"""
FLEET = """[broker]
embedded = {embedded}
listen = "127.0.0.1:{port}"
url = "mqtts://localhost:{port}"
public_url = "mqtts://localhost:{port}"
{broker}
[health]
listen = "127.0.0.1:{health}"
[[installer]]
id = "acme"
{more}
"""


@dataclass
class Place:
    """One folder: fleet.toml, `server` and `edge` (state), `pi` (what enrolling wrote), `said` (all outputs)."""

    folder: Path
    kind: str = "embedded"
    more: str = ""
    environ: dict[str, str] = field(default_factory=dict)
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    commands: int = 0

    def __post_init__(self) -> None:
        self.port, self.health = services.free_port(), services.free_port()
        self.said = self.folder / "said"
        self.said.mkdir()
        own = self.kind == "embedded"
        reread = f'reload_command = ["sh", "-c", "kill -HUP $(cat {self.folder}/mosquitto.pid)"]\n'
        broker = "" if own else f'ca_file = "{self.folder}/server/tls/ca.pem"\n{reread}'
        (self.folder / "fleet.toml").write_text(
            FLEET.format(embedded=str(own).lower(), port=self.port, health=self.health, broker=broker, more=self.more)
        )

    def run(self, *words: str, fails: bool = False) -> str:
        """`cellherd words` to its end, in the folder; what it said is kept."""
        self.commands += 1
        done = subprocess.run(self._command(words), cwd=self.folder, env=self._environ(), check=False,
                              capture_output=True, timeout=PATIENCE_S)  # fmt: skip
        told = (done.stdout + done.stderr).decode(errors="replace")
        (self.said / f"{self.commands:02} {words[0]}").write_text(told)
        assert (done.returncode != 0) == fails, told
        return told

    def start(self, name: str, *words: str) -> None:
        """`cellherd words` until the end of the test or `stop`."""
        with (self.said / name).open("ab") as log:
            self.running[name] = subprocess.Popen(
                self._command(words), cwd=self.folder, env=self._environ(), stdout=log, stderr=log
            )

    def stop(self, name: str) -> None:
        """SIGTERM, and a clean end."""
        process = self.running.pop(name)
        process.terminate()
        assert process.wait(PATIENCE_S) in (0, -signal.SIGTERM), self.log(name)

    def log(self, name: str) -> str:
        return (self.said / name).read_text(errors="replace")

    def server(self) -> None:
        """The ingester; returns when it has its broker."""
        self.start("server", "ingest", "run", "--config", "fleet.toml", "--state", "server")
        self.until(lambda: services._listens(self.port), "the broker")

    def batteries(self) -> None:
        """The emulated battery; its [[device]] comes into the enrolled edge.toml, as a person would write it."""
        (self.folder / "barn.toml").write_text(BARN)
        self.start("battery", "edge", "emulate", "barn.toml", "--out", "barn", "--period-s", "0.5")
        emulated = self.folder / "barn" / "edge.toml"
        self.until(lambda: emulated.exists() and "[[device]]" in emulated.read_text(), "the battery")
        devices = emulated.read_text().partition("[[device]]")
        with (self.folder / "pi" / "edge.toml").open("a") as config:
            config.write("\n[outbox]\ncommit_s = 0.5\n\n[[device]]" + devices[2])

    def edge(self, name: str = "edge") -> None:
        self.start(name, "edge", "run", "--config", "pi/edge.toml", "--state", "edge")

    def stored(self) -> list[tuple[str, int]]:
        """Readings of the archive by epoch and number."""
        try:
            found = Archive(str(self.folder / "server" / "archive")).scan("reading").collect()
        except CellherdError:
            return []
        return list(found.filter(site=SITE).select("epoch", "seq").iter_rows())

    def committed(self) -> int:
        """Readings that the outbox has on its disk."""
        with closing(sqlite3.connect(f"file:{self.folder}/edge/outbox.db?mode=ro", uri=True)) as db:
            return int(db.execute("select count(*) from row where event = ''").fetchone()[0])

    def until(self, ready: Callable[[], object], what: str) -> None:
        """Wait until something is so; fails with the logs if it never is, or if a process died."""
        end = monotonic() + PATIENCE_S
        while not ready():
            dead = [name for name, process in self.running.items() if process.poll() is not None]
            told = "\n".join(f"--- {name}\n{self.log(name)[-2000:]}" for name in self.running)
            assert not dead, f"{dead} died\n{told}"
            assert monotonic() < end, f"{what} did not come\n{told}"
            Event().wait(0.1)

    def _command(self, words: tuple[str, ...]) -> list[str]:
        return [sys.executable, "-m", "cellherd", *words]

    def _environ(self) -> dict[str, str]:
        return {**os.environ, **self.environ}


@contextmanager
def place(folder: Path, kind: str = "embedded", more: str = "", **environ: str) -> Iterator[Place]:
    """A folder with nothing running yet, but Mosquitto on its generated files where `kind` says so."""
    here = Place(folder, kind, more, environ)
    try:
        if kind == "mosquitto":
            with _mosquitto(here):
                yield here
        else:
            yield here
    finally:
        for process in here.running.values():
            process.kill()
            process.wait()


@contextmanager
def _mosquitto(here: Place) -> Iterator[None]:
    binary = services.find("mosquitto", "mosquitto")
    here.run("broker", "certificate", "--host", "localhost", "--state", "server")
    here.run("broker", "acl", "--config", "fleet.toml", "--state", "server")
    config, folder = here.folder / "mosquitto.conf", here.folder / "mosquitto"
    folder.mkdir()
    pid = here.folder / "mosquitto.pid"
    config.write_text(f"user root\npid_file {pid}\ninclude_dir {here.folder}/server/broker/mosquitto\n")
    with services.running([binary, "-c", str(config)], folder, here.port, lambda: services._listens(here.port)) as one:
        pid.write_text(str(one.process.pid))
        yield
