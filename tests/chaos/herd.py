"""A herd for the campaign: one ingester, one broker, InfluxDB, and several edges with banks of emulated batteries.

Everything but the batteries, the bad lines and InfluxDB's door is a process of its own that may be killed.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from time import monotonic

import polars as pl
import psutil

from pipeline.edges import Edge as Said
from pipeline.ingest.ledger import Ledger
from pipeline.ingest.replays import missing
from pipeline.stores.archive import Archive
from tests.chaos.disks import Disk
from tests.chaos.gate import BUCKET, Gate
from tests.chaos.growth import Sample, sample
from tests.chaos.keeper import Keeper
from tests.chaos.proxy import Proxy
from tests.chaos.truth import Bank
from tests.services import free_port

PATIENCE_S = 180.0
SERVER, BROKER, STORING = "server", "broker", "storing"
OTHER = os.environ.get("CELLHERD_OTHER_PYTHON", "")
"""The python of an environment with another version of CellHerd, an earlier release for example."""
ENEMY = "evil-pi"
"""An edge that is let in and has no batteries."""
FLEET = """
[broker]
embedded = {embedded}
listen = "127.0.0.1:{port}"
url = "mqtt://127.0.0.1:{port}"

[journal]
reserve_mb = 0

[health]
listen = ""

[[installer]]
id = "us"
"""
MOSQUITTO = (
    "listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\nset_tcp_nodelay true\n"
    "max_queued_messages 1000\nmax_inflight_messages 1000\n"
)


@dataclass
class Edge:
    """One collector. `disk` is what its state lies on, `clock` the file that tells its wall clock where to go."""

    name: str
    banks: list[Bank]
    home: Path
    proxy: Proxy
    disk: Disk | None = None
    clock: Path | None = None

    @property
    def file(self) -> Path:
        """Its outbox."""
        return self.home / "outbox.db"


@dataclass
class Herd:
    """`broker` is "nats" or "mosquitto"; `environment` of a process counts from its next start."""

    folder: Path
    edges: dict[str, Edge]
    broker: str
    gate: Gate | None = None
    mosquitto: str = "mosquitto"
    disk: Disk | None = None
    """What the server's state lies on."""
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)
    """What the processes held, each time that somebody watched."""
    other: set[str] = field(default_factory=set)
    """Who runs the other version of CellHerd from its next start on."""
    began: dict[str, int] = field(default_factory=dict)
    """Where in its log each process began."""

    def __post_init__(self) -> None:
        self.port = free_port()
        self.keeper = Keeper(self.folder / SERVER / "journal", self.folder / SERVER / "kept", self.folder / "kept")
        self._write_config()

    def _write_config(self) -> None:
        embedded = self.broker == "nats"
        text = FLEET.format(port=self.port, embedded=str(embedded).lower())
        if self.gate:
            text = f'{text}\n[influx]\nurl = "http://127.0.0.1:{self.gate.port}"\nbucket = "{BUCKET}"\n'
        text += f'\n[[site]]\nid = "evil"\ninstaller = "us"\nedge = "{ENEMY}"\n'
        for name, edge in self.edges.items():
            text += f'\n[[site]]\nid = "site-{name}"\ninstaller = "us"\nedge = "{name}"\n'
            edge.proxy.target = self.port
            edge.proxy.start()
            password = f'password_file = "{self.folder}/{SERVER}/broker/secrets/{name}"\n' if embedded else ""
            (self.folder / f"{name}.toml").write_text(
                f'edge = "{name}"\n\n[mqtt]\nurl = "mqtt://127.0.0.1:{edge.proxy.port}"\n{password}'
                "\n[outbox]\ncommit_s = 1.0\ncap_mb = 64\n" + "".join(bank.toml() for bank in edge.banks)
            )
        (self.folder / "fleet.toml").write_text(text)
        (self.folder / "mosquitto.conf").write_text(MOSQUITTO.format(port=self.port))

    def begin(self) -> None:
        """Start everything and wait for the first readings."""
        self.keeper.start()
        if self.broker == "mosquitto":
            self.start(BROKER)
        self.start(SERVER)
        if self.broker == "nats":
            secrets = self.folder / SERVER / "broker" / "secrets"
            self.until(lambda: all((secrets / name).exists() for name in self.edges), "the broker's secrets")
        for name in self.edges:
            self.start(name)
        self.until(lambda: all(bank.said for edge in self.edges.values() for bank in edge.banks), "the first answers")

    def start(self, name: str, environment: Mapping[str, str] | None = None) -> None:
        """Start the server, an edge or Mosquitto; `environment` comes on top of ours."""
        words = {SERVER: ["ingest", "run", "--config", "fleet.toml", "--state", SERVER]}
        if name in self.edges:
            edge = self.edges[name]
            words[name] = ["edge", "run", "--config", f"{name}.toml", "--state", str(edge.home)]
        own = [self.mosquitto, "-c", "mosquitto.conf"]
        python = OTHER if name in self.other else sys.executable
        command = own if name == BROKER else [python, "-m", "cellherd", *words[name]]
        extra = {**self._faked(name), **(environment or {})}
        if name in self.other:
            extra["PYTHONPATH"] = ""
        with (self.folder / f"{name}.log").open("ab") as log:
            self.began[name] = log.tell()
            self.running[name] = subprocess.Popen(
                command, cwd=self.folder, stdout=log, stderr=log, env=os.environ | extra
            )

    def _faked(self, name: str) -> dict[str, str]:
        clock = self.edges[name].clock if name in self.edges else None
        return faketime(clock) if clock else {}

    def process(self, name: str) -> psutil.Process | None:
        """The process of that name, if it lives; "broker" and "storing" may be the server's children."""
        wanted = {BROKER: "nats-server", STORING: "pipeline.storing.process"}
        with suppress(psutil.NoSuchProcess, KeyError):
            if name == STORING or (name == BROKER and self.broker == "nats"):
                children = psutil.Process(self.running[SERVER].pid).children(recursive=True)
                return next((c for c in children if wanted[name] in " ".join(c.cmdline())), None)
            return psutil.Process(self.running[name].pid)
        return None

    def kill(self, *names: str) -> None:
        """SIGKILL, and wait until they are gone."""
        for name in names:
            if (process := self.process(name)) is not None:
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGKILL)
                    process.send_signal(signal.SIGCONT)
            if name in self.running:
                self.running[name].wait(20)

    def again(self, *names: str) -> None:
        """Start those that do not run and that nobody else starts."""
        for name in names:
            if name in self.running and self.running[name].poll() is not None:
                self.start(name)

    def end(self, name: str) -> None:
        """SIGTERM, and wait for a clean end."""
        process = self.running.pop(name)
        process.terminate()
        code = process.wait(90)
        assert code in (0, -signal.SIGTERM), f"{name} ended with {code}\n{self.log(name)}"

    def watch(self) -> None:
        """Note what every process holds."""
        homes = {SERVER: self.folder / SERVER, **{name: edge.home for name, edge in self.edges.items()}}
        for name in (SERVER, STORING, BROKER, *self.edges):
            if (process := self.process(name)) is not None:
                found = sample(name, process, homes.get(name), monotonic())
                self.samples += [found] if found else []

    def peak_kb(self) -> dict[str, int]:
        """The most memory that each process was seen with."""
        peaks: dict[str, int] = {}
        for one in self.samples:
            peaks[one.name] = max(peaks.get(one.name, 0), one.rss_kb)
        return peaks

    def ask(self, edge: str, query: str) -> list[tuple[object, ...]]:
        """What an edge's outbox says, also while it runs."""
        with closing(sqlite3.connect(f"file:{self.edges[edge].file}?mode=ro", uri=True, timeout=20)) as db:
            return db.execute(query).fetchall()

    def epochs(self, edge: str) -> dict[str, int]:
        """Every epoch that stands in an outbox with the highest number of a row in it."""
        try:
            found = self.ask(edge, "select e.id, max(r.seq) from row r join epoch e using (n) group by n")
            return {str(epoch): int(str(last)) for epoch, last in found}
        except (sqlite3.Error, ValueError):  # a damaged file may say anything
            return {}

    def waiting(self, edge: str) -> int:
        """Rows of an outbox without a receipt. -1 if it cannot be asked."""
        try:
            ((count,),) = self.ask(edge, "select count(*) from row r join epoch e using (n) where seq>mark and state=0")
        except sqlite3.Error:
            return -1
        return int(str(count))

    def missing(self) -> int:
        """Numbers that never came, by the server's books on its disk, those on their way too."""
        with closing(Ledger(self.folder / SERVER / "ledger.sqlite")) as ledger:
            edges = [(str(told["edge"]), Said(status=dict(told["status"]))) for told in ledger.edges()]
            return sum(last - first + 1 for name, edge in edges for _, first, last in missing(ledger, name, edge))

    def table(self, name: str) -> pl.DataFrame:
        """A table of the archive."""
        return Archive(str(self.folder / SERVER / "archive")).scan(name).collect()

    def log(self, name: str) -> str:
        """What a process said last."""
        path = self.folder / f"{name}.log"
        return path.read_text(errors="replace")[-3000:] if path.exists() else ""

    def in_memory(self, edge: str) -> bool:
        """Whether an edge holds its readings in memory because its disk refused: a kill would lose them, as stated."""
        if self.running[edge].poll() is not None:
            return False
        return says_memory((self.folder / f"{edge}.log").read_bytes()[self.began[edge] :])

    def wrote(self, edge: str, since: int) -> bool:
        """Whether an edge has put rows of after `since`, ms since boot, into its file, or does not live.

        0: it is enough that it does not say that its disk refuses.
        """
        if self.running[edge].poll() is not None:
            return True
        try:
            fresh = f"select 1 from row where n=(select max(n) from row) and bt>{since} limit 1"  # noqa: S608 - a number
            found = not since or self.ask(edge, fresh)
        except sqlite3.Error:
            return False
        return bool(found) and not self.in_memory(edge)

    def until(self, ready: Callable[[], object], what: str, patience_s: float = PATIENCE_S) -> None:
        """Wait until something is so; fails with the logs if it never is."""
        end = monotonic() + patience_s
        while not ready():
            logs = "" if monotonic() < end else "\n".join(self.log(name) for name in self.running)
            assert monotonic() < end, f"{what} did not come\n{logs}"
            Event().wait(0.1)

    def close(self) -> None:
        """Kill what still runs and let go of everything."""
        for process in self.running.values():
            process.kill()
            process.wait()
        self.keeper.stop()
        for edge in self.edges.values():
            edge.proxy.stop()
            for bank in edge.banks:
                bank.running.stop()
        for disk in (self.disk, *(edge.disk for edge in self.edges.values())):
            if disk:
                disk.remove()


def says_memory(log: bytes) -> bool:
    """Whether the last word of an edge's log about its disk is that it refuses."""
    return log.rfind(b"readings are held in memory") > log.rfind(b"the disk works again;")


FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")


def faketime(clock: Path) -> dict[str, str]:
    """Environment of a process whose wall clock follows a file; its monotonic and boot clocks stay true."""
    return {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
