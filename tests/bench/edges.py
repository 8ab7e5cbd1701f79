"""Many edges at once, as bare sockets with logins of their own, against `cellherd ingest run` and its embedded broker.

    python -m tests.bench.edges --edges 1000 --seconds 60 [--every 5] [--tls]

Each edge connects, hears its own commands and sends one message of one reading every few seconds, spread evenly. Prints
what the ingester's two processes and the broker cost, how long a receipt takes from the sending of its reading, and
whether every reading is in the archive once.
"""

from __future__ import annotations

import argparse
import json
import selectors
import socket
import struct
import sys
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from statistics import median
from tempfile import TemporaryDirectory
from time import monotonic

import psutil

from cellherd import topics, wire
from cellherd.wire import Line, Source
from pipeline.stores.archive import Archive
from tests.bench.end_to_end import certificate
from tests.bench.load import NOW, dialled, packet, row, text
from tests.bench.measured import cpu, pause
from tests.services import free_port


@dataclass
class Edge:
    """One login on a socket. `open_` holds when each number without a receipt was sent."""

    name: str
    line: socket.socket
    stream: str = field(default_factory=lambda: token_hex(16))
    epoch: str = field(default_factory=lambda: token_hex(8))
    sent: int = 0
    open_: dict[int, float] = field(default_factory=dict)
    heard: bytes = b""

    def send(self) -> None:
        self.sent += 1
        source = Source(self.stream, self.epoch, "m1", "module", "jbd", "0badcafe", "ntp")
        lines = [Line(self.sent, NOW - 10**6 + self.sent, self.sent, row(self.sent))]
        body = struct.pack(">H", self.sent) + wire.pack(source, lines, sent_ts=NOW, sent_bt=1)
        self.open_[self.sent] = monotonic()
        self.line.sendall(packet(0x32, text(topics.readings(self.name, "s1", "m1")) + body))

    def hear(self) -> list[float]:
        """The seconds that new receipts took."""
        heard = self.line.recv(65536)
        assert heard, f"{self.name} was thrown off"
        self.heard += heard
        upto = 0
        while (split := unpacked(self.heard)) is not None:
            kind, body, self.heard = split
            if kind >> 4 == 3:
                upto = max(upto, json.loads(body[2 + struct.unpack(">H", body[:2])[0] :])["upto"])
        now = monotonic()
        return [now - self.open_.pop(seq) for seq in [*self.open_] if seq <= upto]


def unpacked(heard: bytes) -> tuple[int, bytes, bytes] | None:
    """The first whole packet: its first byte, its body, and what follows."""
    size = shift = 0
    for at, byte in enumerate(heard[1:5], 2):
        size |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return (heard[0], heard[at : at + size], heard[at + size :]) if len(heard) >= at + size else None
    return None


def connected(name: str, port: int, password: str, ca: str) -> Edge:
    line = dialled(port, ca)
    hello = text("MQTT") + b"\x04\xc2" + struct.pack(">H", 600) + text(f"{name}-{token_hex(8)}")
    line.sendall(packet(0x10, hello + text(name) + text(password)))
    assert line.recv(4)[3] == 0, f"{name} is refused"
    line.sendall(packet(0x82, struct.pack(">H", 1) + text(f"cmd/{name}/receipt") + b"\x00"))
    assert line.recv(5)[-1] == 0
    return Edge(name, line)


def registry(folder: Path, port: int, count: int, *, tls: bool) -> None:
    places = "".join(f'[[site]]\nid = "s{n}"\ninstaller = "acme"\nedge = "pi{n}"\n' for n in range(count))
    more = "".join(f'{key} = "{file}"\n' for key, file in certificate(folder / "tls").items()) if tls else ""
    head = f'[broker]\nlisten = "127.0.0.1:{port}"\n{more}[health]\nlisten = ""\n[live]\nenabled = false\n'
    (folder / "fleet.toml").write_text(f'{head}[[installer]]\nid = "acme"\n{places}')


def exchange(edges: list[Edge], seconds: float, every: float) -> list[float]:
    """Send for so long, then wait for the last receipts. Returns the seconds that each receipt took."""
    waits = selectors.DefaultSelector()
    for edge in edges:
        waits.register(edge.line, selectors.EVENT_READ, edge)
    took: list[float] = []
    begun, number = monotonic(), 0
    while (now := monotonic() - begun) < seconds + 60 and (now < seconds or any(edge.open_ for edge in edges)):
        while now < seconds and number < now / every * len(edges):
            edges[number % len(edges)].send()
            number += 1
        for key, _ in waits.select(0.01):
            took += key.data.hear()
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--edges", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--every", type=float, default=5, help="seconds between two messages of an edge")
    parser.add_argument("--tls", action="store_true")
    asked = parser.parse_args()
    with TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        registry(folder, port, asked.edges, tls=asked.tls)
        command = ["-m", "cellherd", "ingest", "run", "--config", f"{name}/fleet.toml", "--state", f"{name}/state"]
        with (folder / "log").open("wb") as log, psutil.Popen([sys.executable, *command], stderr=log) as server:
            try:
                measure(folder, port, asked, server)
            finally:
                server.terminate()
                server.wait(120)
        stored = Archive(f"{name}/state/archive").scan("reading").select("stream", "seq").collect()
        print(f"stored {len(stored):,}, twice {len(stored) - stored.n_unique():,}")


def measure(folder: Path, port: int, asked: argparse.Namespace, server: psutil.Popen) -> None:
    secrets = folder / "state" / "broker" / "secrets"
    while "connected to" not in (folder / "log").read_text():
        assert server.poll() is None, (folder / "log").read_text()[-500:]
        pause.wait(0.1)
    begun, ca = monotonic(), f"{folder}/tls/ca.pem" if asked.tls else ""
    edges = [connected(f"pi{n}", port, (secrets / f"pi{n}").read_text(), ca) for n in range(asked.edges)]
    print(f"{asked.edges} edges{' over TLS' if ca else ''} let in within {monotonic() - begun:.1f} s", flush=True)
    family = server.children(recursive=True)
    broker = [one for one in family if "nats" in one.name()]
    ours = [server, *(one for one in family if one not in broker)]
    before, theirs = cpu(ours), cpu(broker)
    took = exchange(edges, asked.seconds, asked.every)
    share, rest = (100 * (cpu(group) - used) / asked.seconds for group, used in ((ours, before), (broker, theirs)))
    sent, held = sum(edge.sent for edge in edges), sum(one.memory_info().rss for one in ours) / 2**20
    print(f"sent {sent:,} ({sent / asked.seconds:.0f} a second), without a receipt {sent - len(took):,}")
    print(f"receipt after {median(took):.2f} s (median), {max(took):.2f} s (worst)")
    print(f"ingester {share:.0f} % of a core, {held:.0f} MiB; broker {rest:.0f} %", flush=True)


if __name__ == "__main__":
    main()
