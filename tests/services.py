"""Real servers for tests: found, started on a free loopback port in a folder of their own, waited for, stopped."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from secrets import randbelow
from threading import Event
from time import monotonic

import httpx
import pytest

READY_S = 60.0
PORTS = range(10_000, 32_768)
_SYSTEM = "/usr/sbin:/usr/local/sbin"  # where Debian puts Mosquitto; not on every user's path


@dataclass(frozen=True, slots=True)
class Service:
    """A server that answers. `folder` holds its data and its log."""

    host: str
    port: int
    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"


@contextmanager
def influxd(folder: Path) -> Iterator[Service]:
    """InfluxDB 1.x, empty: /write and InfluxQL."""
    binary = find("influxd", "influxdb")
    port, inner = free_port(), free_port()
    config = folder / "influxdb.conf"
    config.write_text(
        f'reporting-disabled = true\nbind-address = "127.0.0.1:{inner}"\n'
        f'[meta]\ndir = "{folder}/meta"\n[data]\ndir = "{folder}/data"\nwal-dir = "{folder}/wal"\n'
        f'[http]\nbind-address = "127.0.0.1:{port}"\nlog-enabled = false\n[monitor]\nstore-enabled = false\n',
        encoding="utf-8",
    )
    with running([binary, "run", "-config", str(config)], folder, port, lambda: _answers(port, "/ping")) as service:
        yield service


@contextmanager
def victoria_metrics(folder: Path) -> Iterator[Service]:
    """VictoriaMetrics, empty: /api/v2/write. Samples sent again count once."""
    binary = find("victoria-metrics", "victoria-metrics")
    port = free_port()
    options = [f"-httpListenAddr=127.0.0.1:{port}", f"-storageDataPath={folder}/data", "-retentionPeriod=100y"]
    command = [binary, *options, "-dedup.minScrapeInterval=1ms", "-search.latencyOffset=0s"]
    with running(command, folder, port, lambda: _answers(port, "/health")) as service:
        yield service


@contextmanager
def mosquitto_broker(folder: Path) -> Iterator[Service]:
    """Mosquitto that lets anybody in from this machine, with queues that do not drop."""
    binary = find("mosquitto", "mosquitto")
    port = free_port()
    config = folder / "mosquitto.conf"
    config.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\nset_tcp_nodelay true\n"
        "max_queued_messages 0\nmax_queued_bytes 0\nmax_inflight_messages 1000\n",
        encoding="utf-8",
    )
    with running([binary, "-c", str(config)], folder, port, lambda: _listens(port)) as service:
        yield service


def find(binary: str, package: str) -> str:
    """The path of a server's program; else the test is skipped, or fails under CELLHERD_REQUIRE_SERVICES=1."""
    if path := _where(binary):
        return path
    absent = f"{binary} is not on this machine; get it with: apt-get install {package}"
    if os.environ.get("CELLHERD_REQUIRE_SERVICES") == "1":
        pytest.fail(absent)
    pytest.skip(absent)


def has(binary: str) -> bool:
    """Whether a server's program is on this machine."""
    return _where(binary) is not None


def _where(binary: str) -> str | None:
    return shutil.which(binary, path=f"{os.environ.get('PATH', '')}:{_SYSTEM}")


def free_port() -> int:
    """A loopback port that nobody listens on.

    Below those that the kernel gives to connections: it stays free until a server has started, and while it is away.
    """
    while True:
        port = PORTS.start + randbelow(len(PORTS))
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


@contextmanager
def running(command: list[str], folder: Path, port: int, ready: Callable[[], bool]) -> Iterator[Service]:
    """A process from when it answers until the end of the block. Fails with its last words if it never does."""
    log = folder / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=folder, stdout=out, stderr=subprocess.STDOUT)
    try:
        deadline = monotonic() + READY_S
        while not ready():
            if process.poll() is not None or monotonic() > deadline:
                pytest.fail(f"{command[0]} does not answer: {log.read_text(errors='replace')[-500:]}")
            Event().wait(0.05)
        yield Service("127.0.0.1", port, folder, process)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(port: int, path: str) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}{path}", timeout=2).is_success
    except httpx.HTTPError:
        return False


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
