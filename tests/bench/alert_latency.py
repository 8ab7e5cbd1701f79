"""How long an alert takes from its reading's arrival to the channel: python -m tests.bench.alert_latency

    python -m tests.bench.alert_latency [--modules 10000] [--sites 100] [--alerts 60] [--period 10]

Broker (Mosquitto), `cellherd ingest run` with its storing process and `cellherd notify run`, as they are started by
hand and with the defaults of fleet.toml, share one core; who publishes and the fake Bot API have the other one. Every
module has a reading each period, one reading a message, spread evenly. About every second a module of another site
shows a protection: the clock starts when that reading is published and stops when the Bot API has its message.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from secrets import token_hex
from statistics import median
from time import monotonic, time_ns

import psutil
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from cellherd import topics, wire
from cellherd.wire import Line, Source
from pipeline.alerts import ledger
from tests.bench.end_to_end import mosquitto
from tests.bench.measured import pause
from tests.fakes.telegram import TOKEN, Bot, bot_api

BAR_S = 10.0
WARM = 2.5
"""Periods before the first alert: every module is known by then."""
PATIENCE_S = 120.0
"""For the alerts that are still under way when all began; the whole run takes five minutes at most."""
LATE_S = 5.0
"""A publisher so far behind its time gave a twentieth less than was asked."""
WHERE = ("--config", "fleet.toml", "--state", "state")


@dataclass
class Load:
    """Everybody's readings in their turn, and those that show a protection."""

    modules: int
    sites: int
    period: float
    client: Client
    dice: Random = field(default_factory=lambda: Random(1))
    seqs: list[int] = field(default_factory=list)
    faulty: set[int] = field(default_factory=set)
    begun: dict[str, float] = field(default_factory=dict)
    walls: dict[str, int] = field(default_factory=dict)
    late: float = 0.0

    def __post_init__(self) -> None:
        self.seqs = [0] * self.sites
        self.names = [(token_hex(16), token_hex(8)) for _ in range(self.sites)]

    def publish(self, alerts: int) -> None:
        """Until all alerts began."""
        start, sent = monotonic(), 0
        begin, gap = start + WARM * self.period, 1.1
        while len(self.begun) < alerts:
            now = monotonic()
            self.late = max(self.late, now - start - sent * self.period / self.modules)
            if now > begin + gap * len(self.begun):
                self._trip(len(self.begun))
            self._send(sent % self.modules)
            sent += 1
            pause.wait(max(0.0, start + sent * self.period / self.modules - monotonic()))

    def go_on(self, seconds: float) -> None:
        """Readings without news, so that the server stays as busy as it was."""
        end, sent = monotonic() + seconds, 0
        while monotonic() < end:
            self._send(sent % self.modules)
            sent += 1
            pause.wait(self.period / self.modules)

    def _trip(self, site: int) -> None:
        number = site + self.sites * self.dice.randrange(self.modules // self.sites)
        self.faulty.add(number)
        self.begun[f"site{site:03}"], self.walls[f"site{site:03}"] = monotonic(), time_ns() // 1_000_000
        self._send(number)

    def _send(self, number: int) -> None:
        site, now = number % self.sites, time_ns() // 1_000_000
        self.seqs[site] += 1
        faulty = number in self.faulty
        cells = [3400 + (number + cell) % 7 for cell in range(15)] + [3655 if faulty else 3401]
        row: dict[str, object] = {
            "voltage_mv": sum(cells), "current_ma": 0 if faulty else 5000, "soc_pm": 700, "cell_mv": cells,
            "temp_dc": [210, 212, 214, 211], "charge_on": int(not faulty), "discharge_on": 1, "balancing": 0,
            "faults": ["cell_overvoltage_protection"] if faulty else [],
        }  # fmt: skip
        stream, epoch = self.names[site]
        source = Source(stream, epoch, f"m{number}", "module", "jbd", "0badcafe", "ntp")
        line = Line(self.seqs[site], now, now % 10**9, row)
        payload = wire.pack(source, [line], sent_ts=now, sent_bt=now % 10**9)
        self.client.publish(topics.readings(f"site{site:03}", "s1", f"m{number}"), payload, 1)


@contextmanager
def server(folder: Path, bot: Bot, sites: int, port: int) -> Iterator[list[psutil.Process]]:
    """Ingester and notifier on this process's core."""
    token = folder / "token"
    token.touch(0o600)
    token.write_text(TOKEN)
    names = [f"site{n:03}" for n in range(sites)]
    entries = "".join(f'[[site]]\nid = "{n}"\ninstaller = "us"\nedge = "{n}"\n' for n in names)
    routes = "".join(f'[[route]]\nsite = "{n}"\npriority = 3\ntelegram = ["{n}"]\n' for n in names)
    (folder / "fleet.toml").write_text(
        f'[broker]\nembedded = false\nurl = "mqtt://127.0.0.1:{port}"\n[[installer]]\nid = "us"\n{entries}{routes}'
        f'[telegram]\nbase_url = "{bot.url}"\ntoken_file = "{token}"\n'
    )
    with (folder / "log").open("wb") as log:
        children = [
            subprocess.Popen(
                [sys.executable, "-m", "cellherd", room, "run", *WHERE], cwd=folder, stdout=log, stderr=log
            )
            for room in ("ingest", "notify")
        ]
    try:
        pause.wait(12)
        assert all(child.poll() is None for child in children), (folder / "log").read_text()
        yield [
            one for child in children for one in (psutil.Process(child.pid), *psutil.Process(child.pid).children(True))
        ]
    finally:
        for child in children:
            child.terminate()
            child.wait(60)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--modules", type=int, default=10_000)
    parser.add_argument("--sites", type=int, default=100)
    parser.add_argument("--alerts", type=int, default=60)
    parser.add_argument("--period", type=float, default=10)
    told = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder, bot_api() as bot:
        os.sched_setaffinity(0, cores[:1])  # children stay there
        here = Path(folder)
        with mosquitto(here / "broker", {}) as (port, *_), server(here, bot, told.sites, port) as processes:
            for thread in psutil.Process().threads():
                os.sched_setaffinity(thread.id, cores[1:] or cores)
            load, waits = measure(told, bot, port, processes)
            if waits:
                where(here / "state", load)
    sys.exit(verdict(waits, load, told.alerts) != "met")


def where(state: Path, load: Load) -> None:
    """Print where the time goes, as medians, by the server's own notes."""
    with ledger.opened(state) as database:
        found = [
            (alert.members[0].entered, queued, at)
            for alert in ledger.alerts(database).values()
            for queued, at in database.execute(
                "SELECT d.queued, min(a.at) FROM delivery d JOIN attempt a ON a.delivery = d.number "
                "WHERE d.thread = ? GROUP BY d.number LIMIT 1", (alert.id,)
            )
        ]  # fmt: skip
        begun = {alert.site: alert.members[0] for alert in ledger.alerts(database).values()}
    taken = median((begun[site].entered - wall) / 1000 for site, wall in load.walls.items() if site in begun)
    held, left = (median((row[i + 1] - row[i]) / 1000 for row in found) for i in (0, 1))
    print(
        f"of the median: {taken:.1f} s until the notifier has the event, {held:.1f} s collected, {left:.1f} s to send"
    )


def verdict(waits: list[float], load: Load, alerts: int) -> str:
    """In words. A publisher that was late itself says nothing about the server."""
    if load.late > LATE_S:
        return f"not judged, the publisher was late by {load.late:.1f} s: the machine is not free"
    return "met" if len(waits) == alerts and waits[-1] <= BAR_S else "MISSED"


def measure(told: argparse.Namespace, bot: Bot, port: int, processes: list[psutil.Process]) -> tuple[Load, list[float]]:
    """Print the figures of one run. Returns the load and how long each alert took, in order."""
    client = Client(CallbackAPIVersion.VERSION2)
    client.max_inflight_messages_set(2000)
    client.connect("127.0.0.1", port)
    client.loop_start()
    load, stamped = Load(told.modules, told.sites, told.period, client), _Stamps()
    bot.sent = stamped
    at, before, queued = monotonic(), _cpu(processes), _queued(processes)
    load.publish(told.alerts)
    end = monotonic() + PATIENCE_S
    while len(stamped.first) < told.alerts and monotonic() < end:
        load.go_on(0.5)
    busy, queueing = (
        (after - before) / (monotonic() - at)
        for after, before in ((_cpu(processes), before), (_queued(processes), queued))
    )
    waits = sorted(stamped.first[name] - begin for name, begin in load.begun.items() if name in stamped.first)
    client.disconnect()
    missing = told.alerts - len(waits)
    print(f"{told.modules:,} modules every {told.period:g} s; {len(waits)} alerts, {missing} missing")
    if waits:
        p99 = waits[int(0.99 * len(waits))]
        print(f"from arrival to the channel: median {median(waits):.1f} s, p99 {p99:.1f}, worst {waits[-1]:.1f}")
    print(f"bar {BAR_S:g} s: {verdict(waits, load, told.alerts)}")
    print(f"ingester, storing process and notifier used {100 * busy:.0f} % of a core")
    print(f"and stood in the queue for it {100 * queueing:.0f} % of the time; publisher late by {load.late:.2f} s")
    return load, waits


class _Stamps(list[dict[str, object]]):
    """What arrives, with the moment of the first message to each chat."""

    def __init__(self) -> None:
        super().__init__()
        self.first: dict[str, float] = {}

    def append(self, message: dict[str, object]) -> None:
        super().append(message)
        self.first.setdefault(str(message["chat_id"]), monotonic())


def _cpu(processes: list[psutil.Process]) -> float:
    return sum(times.user + times.system for times in (one.cpu_times() for one in processes if one.is_running()))


def _queued(processes: list[psutil.Process]) -> float:
    """Seconds for which the threads were ready to run and had no processor."""
    files = [f"/proc/{one.pid}/task/{thread.id}/schedstat" for one in processes for thread in one.threads()]
    return sum(int(Path(file).read_text().split()[1]) / 1e9 for file in files if Path(file).exists())


if __name__ == "__main__":
    main()
