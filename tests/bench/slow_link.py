"""Newest reading's delay and the edge's memory on a thin link with history behind it (bars: poll + 10 s, 120 MB RSS).

    python -m tests.bench.slow_link --days 7 --seconds 120 --kbit 64

Outbox, sender and publisher of the edge in this process; broker and receipts behind a TCP proxy that lets through so
many bits a second each way. The delay counts from the commit to the server. Devices are not polled.
"""

from __future__ import annotations

import argparse
import socket
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from time import monotonic

import psutil

from cellherd.clock import SystemClock
from cellherd.config import EdgeConfig
from collectors.entries import Entry
from collectors.orders import Receipt, parse
from collectors.outbox import Outbox
from collectors.publish import Publisher, line_of
from collectors.sender import Sender
from tests.collectors import brokers
from tests.collectors.fake_server import FakeServer
from tests.collectors.outboxes import reading
from tests.services import free_port

MODULES, PERIOD_S, BAR_S, RSS_MB = 16, 5.0, 15.0, 120
CHUNK = 512


def shaped(to: int, bytes_per_s: float, stop: Event) -> int:
    """A port that leads to another one, at so many bytes a second each way."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.5)

    def carry(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(CHUNK):
                sink.sendall(data)
                stop.wait(len(data) / bytes_per_s)

    def accept() -> None:
        while not stop.is_set():
            with suppress(OSError):
                near, _ = listener.accept()
                near.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                far = socket.create_connection(("127.0.0.1", to))
                for pair in ((near, far), (far, near)):
                    Thread(target=carry, args=pair, daemon=True).start()

    Thread(target=accept, daemon=True).start()
    return int(listener.getsockname()[1])


def fill(box: Outbox, days: float) -> int:
    """A backlog of so many days. Gives its rows."""
    slots, now = int(days * 86_400 / PERIOD_S), box.instant()
    box._spool.ask("pragma synchronous = off")
    for first in range(0, slots, 100):
        box.commit(
            [
                made(n, m, now.ts - int(PERIOD_S * 1000) * (slots - n), box)
                for n in range(first, min(first + 100, slots))
                for m in range(MODULES)
            ]
        )
    box._spool.ask("pragma synchronous = full")
    return slots * MODULES


def made(n: int, module: int, ts: int, box: Outbox) -> Entry:
    now, entry = box.instant(), reading(n % 30_000, f"m{module}")
    about = replace(entry.about, ts=ts, bt=now.bt - (now.ts - ts), boot=now.boot, clk=now.clk)
    return Entry(about, {**entry.body, "raw": None, "current_ma": 12_345 + n * 7919 % 997, "soc_pm": n % 1000})


def measure(folder: Path, days: float, seconds: float, kbit: float) -> tuple[list[float], float, int]:
    """Delays of live readings in s, the peak of memory in MB, and how much history arrived meanwhile."""
    stop = Event()
    with ExitStack() as last:
        broker = last.enter_context(brokers.embedded(folder / "broker", free_port()))
        server = FakeServer(broker.port, brokers.EDGE, *(broker.server or ()))
        last.callback(server.stop)
        last.callback(stop.set)
        port = shaped(broker.port, kbit * 125, stop)
        config = EdgeConfig.model_validate(
            {"edge": brokers.EDGE, "mqtt": {"url": f"mqtt://127.0.0.1:{port}", "password_file": broker.password_file}}
        )
        box = Outbox(folder / "outbox.db", SystemClock(), 2**31)
        rows = fill(box, days)
        box.renew()
        print(f"{rows} rows of history, {box.size() / 2**20:.0f} MiB", flush=True)
        wake = Event()
        publisher = Publisher(line_of(config, box.client), wake.set)
        sender = Sender(brokers.EDGE, box, publisher.send)
        publisher.start()
        last.callback(publisher.stop)
        waiting: dict[tuple[str, int], float] = {}
        delays: list[float] = []
        peak, connection, at, n = 0.0, 0, monotonic(), 0
        end = at + seconds
        while monotonic() < end:
            wake.wait(0.1)
            wake.clear()
            while publisher.inbox:
                order = parse(brokers.EDGE, *publisher.inbox.popleft())
                assert isinstance(order, Receipt)
                sender.receipt(order, monotonic())
            if connection and monotonic() >= at:
                at, n = at + PERIOD_S, n + 1
                committed = box.commit([made(n, m, box.instant().ts, box) for m in range(MODULES)])
                sender.committed(committed)
                waiting |= {(row.epoch, row.seq): monotonic() for row in committed}
            for key in [key for key in waiting if key in server.came]:
                delays.append(monotonic() - waiting.pop(key))  # noqa: PERF401 - it takes from `waiting` as well
            if publisher.online.is_set():
                if connection != publisher.connections:
                    connection, at = publisher.connections, monotonic()
                    sender.reconnected(publisher.lost)
                sender.turn(monotonic())
            peak = max(peak, psutil.Process().memory_info().rss / 2**20)
        delays += [monotonic() - since for since in waiting.values()]
        return delays, peak, len(server.came) - n * MODULES


def main() -> None:
    """Measure and print."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--days", type=float, default=7)
    asked.add_argument("--seconds", type=float, default=120)
    asked.add_argument("--kbit", type=float, default=64)
    told = asked.parse_args()
    with TemporaryDirectory() as folder:
        delays, peak, history = measure(Path(folder), told.days, told.seconds, told.kbit)
    delays.sort()
    print(f"live readings {len(delays)}, delay median {delays[len(delays) // 2]:.1f} s, worst {delays[-1]:.1f} s")
    print(f"bar {BAR_S:g} s {'met' if delays[-1] <= BAR_S else 'MISSED'}; history {history} rows meanwhile")
    print(f"memory {peak:.0f} MB with the fake server in it, bar {RSS_MB} {'met' if peak <= RSS_MB else 'MISSED'}")


if __name__ == "__main__":
    main()
