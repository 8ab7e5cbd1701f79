"""What an edge costs: memory, CPU, start. 16 emulated modules, each on a pty of its own, read every 5 s, as in a house.

    python -m tests.bench.edge --seconds 60

Prints one line a figure with its bar. A real Raspberry Pi was not measured. What a day writes to the disk is what the
process wrote in the time measured (write_bytes of /proc/PID/io: what it made the kernel write, pages of a file system
not counted) extrapolated to 24 hours.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from time import monotonic

import psutil

from cellherd.settings import Broker
from collectors.emulators.battery import Battery, Plan
from collectors.emulators.device import EmulatedDevice
from collectors.emulators.fleet import start
from pipeline.ingest.broker import EmbeddedBroker, edge_credentials
from tests.services import free_port

MODULES, PERIOD_S = 16, 5.0
RSS_MB, CPU_PERCENT, START_S = 60, 1.0, 2.0


def config(folder: Path, port: int, links: list[str]) -> Path:
    """An edge.toml for these devices."""
    _, password = edge_credentials(folder, "bench")
    text = f'edge = "bench"\n[mqtt]\nurl = "mqtt://127.0.0.1:{port}"\npassword_file = "{password}"\n'
    for number, link in enumerate(links, 1):
        text += f'\n[[device]]\nstack = "s"\ndriver = "jbd"\nlink = "{link}"\nmodules = ["m{number}"]\n'
        text += f"period_s = {PERIOD_S}\n"
    (folder / "edge.toml").write_text(text)
    return folder / "edge.toml"


def measure(folder: Path, seconds: float) -> tuple[float, float, float, float]:
    """RSS in MB, CPU in percent of a core once it runs, seconds from the start to the outbox, MB written in a day."""
    with ExitStack() as last:
        port = free_port()
        broker = EmbeddedBroker(Broker(listen=f"127.0.0.1:{port}"), folder, ["bench"])
        broker.start()
        last.callback(broker.stop)
        running = start([EmulatedDevice("jbd", {0: Battery(Plan(seed=i))}) for i in range(MODULES)])
        for one in running:
            last.callback(one.stop)
        path = config(folder, port, [one.link for one in running])
        command = [sys.executable, "-m", "cellherd", "edge", "run", "--config", str(path), "--state", str(folder / "e")]
        began = monotonic()
        edge = psutil.Popen(command, stderr=subprocess.DEVNULL)
        last.callback(edge.wait)
        last.callback(edge.terminate)
        while not (folder / "e" / "outbox.db").exists():
            Event().wait(0.02)
        took = monotonic() - began
        Event().wait(5)
        before, written = sum(edge.cpu_times()[:2]), edge.io_counters().write_bytes
        Event().wait(seconds)
        used, wrote = sum(edge.cpu_times()[:2]) - before, edge.io_counters().write_bytes - written
        return edge.memory_info().rss / 2**20, 100 * used / seconds, took, wrote / seconds * 86400 / 1e6


def main() -> None:
    """Measure and print."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--seconds", type=float, default=60)
    with TemporaryDirectory() as folder:
        rss, cpu, took, wrote = measure(Path(folder), asked.parse_args().seconds)
    for name, figure, bar, unit in (
        ("memory", rss, RSS_MB, "MB RSS"),
        ("processor", cpu, CPU_PERCENT, "% of a core"),
        ("start to an open outbox", took, START_S, "s"),
    ):
        print(f"{name:<24} {figure:7.2f} {unit:<12} bar {bar:<5} {'met' if figure <= bar else 'MISSED'}")
    print(f"{'writes in a day':<24} {wrote:7.0f} MB           extrapolated")


if __name__ == "__main__":
    main()
