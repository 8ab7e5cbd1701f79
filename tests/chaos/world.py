"""A small world of real processes: broker, ingester, edge, each to be killed and started again, and what must hold."""

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

import polars as pl
import psutil

from pipeline.stores.archive import Archive
from tests.services import free_port

EDGE, SITE = "lab", "workshop"
PATIENCE_S = 60.0
OFF_S = 3.0
FLEET = f"""
[broker]
embedded = {{embedded}}
listen = "127.0.0.1:{{port}}"
url = "mqtt://127.0.0.1:{{port}}"

[[installer]]
id = "us"

[[site]]
id = "{SITE}"
installer = "us"
edge = "{EDGE}"
"""


@dataclass
class World:
    """The processes and their folders. `devices` is the [[device]] part of edge.toml, `registry` more of fleet.toml."""

    folder: Path
    devices: str
    outside_port: int | None = None
    registry: str = ""
    port: int = 0
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        port = self.port = self.outside_port or free_port()
        embedded = "false" if self.outside_port else "true"
        (self.folder / "fleet.toml").write_text(FLEET.format(port=port, embedded=embedded) + self.registry)
        password = "" if self.outside_port else f'password_file = "{self.folder}/server/broker/secrets/{EDGE}"\n'
        edge = f'edge = "{EDGE}"\n\n[mqtt]\nurl = "mqtt://127.0.0.1:{port}"\n{password}'
        (self.folder / "edge.toml").write_text(f"{edge}\n[outbox]\ncommit_s = 0.5\n{self.devices}")

    def start(self, name: str) -> None:
        """Start the server, the edge, or the notifier beside the server."""
        words = {
            "server": ["ingest", "run", "--config", "fleet.toml"],
            "edge": ["edge", "run", "--config", "edge.toml"],
            "notifier": ["notify", "run", "--config", "fleet.toml"],
        }
        state = "server" if name == "notifier" else name
        command = [sys.executable, "-m", "cellherd", *words[name], "--state", state]
        with (self.folder / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log)
        if name == "server" and not self.outside_port:
            self.until((self.folder / "server" / "broker" / "secrets" / EDGE).exists, "the broker's secrets")

    def kill(self, name: str) -> None:
        """SIGKILL, and start again: the server at once, the edge after some whole slots that must become a gap.

        The embedded broker is started again by its parent.
        """
        if name == "broker":
            for child in psutil.Process(self.running["server"].pid).children(recursive=True):
                if "nats-server" in child.name():
                    child.send_signal(signal.SIGKILL)
            return
        self.running[name].kill()
        self.running[name].wait()
        Event().wait(OFF_S if name == "edge" else 0)
        self.start(name)

    def stop(self, name: str) -> None:
        """SIGTERM, and wait for a clean end."""
        process = self.running.pop(name)
        process.terminate()
        assert process.wait(30) in (0, -signal.SIGTERM), self.log(name)

    def log(self, name: str) -> str:
        """What a process said."""
        return (self.folder / f"{name}.log").read_text(errors="replace")[-4000:]

    def committed(self) -> set[tuple[str, int]]:
        """Readings that the outbox has on its disk, by (epoch, seq)."""
        return set(self._outbox("select e.id, r.seq from row r join epoch e using (n) where r.event = ''"))

    def waiting(self) -> int:
        """Rows of the outbox without a receipt."""
        ((count,),) = self._outbox("select coalesce(sum(waiting), 0) from epoch")
        return int(count)

    def _outbox(self, query: str) -> list[tuple[str, int]]:
        with closing(sqlite3.connect(f"file:{self.folder}/edge/outbox.db?mode=ro", uri=True)) as db:
            return db.execute(query).fetchall()

    def table(self, name: str) -> pl.DataFrame:
        """A table of the archive."""
        return Archive(str(self.folder / "server" / "archive")).scan(name).collect()

    def until(self, ready: Callable[[], object], what: str) -> None:
        """Wait until something is so; fails with both logs if it never is."""
        end = monotonic() + PATIENCE_S
        while not ready():
            assert monotonic() < end, f"{what} did not come\n{self.log('server')}\n{self.log('edge')}"
            Event().wait(0.1)


@contextmanager
def world(folder: Path, devices: str, outside_port: int | None = None, registry: str = "") -> Iterator[World]:
    """A running world, ended with whatever it still runs."""
    here = World(folder, devices, outside_port, registry)
    try:
        here.start("server")
        here.start("edge")
        yield here
    finally:
        for process in here.running.values():
            process.kill()
            process.wait()


def seed() -> int:
    """The run's seed: CELLHERD_CHAOS_SEED, or a new one; whoever uses it prints it."""
    return int(os.environ.get("CELLHERD_CHAOS_SEED") or int.from_bytes(os.urandom(4), "big"))
