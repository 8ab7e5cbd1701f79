"""How long it takes until both ends know that a line died without a word (bar: 35 s), at the real keepalive.

    python -m tests.bench.dead_link [--broker embedded|mosquitto]

The edge's line to a real broker leads through a proxy that at a random moment of its keepalive swallows everything and
closes nothing. Printed: seconds until the edge counts itself offline, and until the server is told by the will.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from random import uniform
from tempfile import TemporaryDirectory
from time import monotonic

from tests.bench.measured import pause
from tests.chaos.proxy import Proxy
from tests.collectors import brokers
from tests.collectors.fake_server import FakeServer
from tests.collectors.test_publish import KNOWN_S, Loop, config


def measure(broker: brokers.Broker, folder: Path) -> tuple[float, float]:
    """Seconds until the edge knows, and until the server does."""
    server, proxy = FakeServer(broker.port, brokers.EDGE, *(broker.server or ())), Proxy(broker.port)
    proxy.start()
    with Loop(folder, config(broker, url=f"mqtt://127.0.0.1:{proxy.port}")) as loop:
        said = server.retained["s"]
        assert server.wait(lambda: said and said[-1]["online"] == 1)
        assert loop.publisher is not None
        pause.wait(uniform(1, 20))
        proxy.mood = "blackhole"
        began, edge, told = monotonic(), 0.0, 0.0
        while not (edge and told) and monotonic() < began + 120:
            edge = edge or (0.0 if loop.publisher.online.is_set() else monotonic() - began)
            told = told or (monotonic() - began if said[-1]["online"] == 0 else 0.0)
            pause.wait(0.05)
    proxy.stop()
    server.stop()
    return edge or 120.0, told or 120.0


def main() -> None:
    """Measure and print."""
    asked = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    asked.add_argument("--broker", choices=("embedded", "mosquitto"), default="embedded")
    name = asked.parse_args().broker
    with TemporaryDirectory() as folder, getattr(brokers, name)(Path(folder)) as broker:
        edge, server = measure(broker, Path(folder))
    print(f"{name}: known at the edge after {edge:.1f} s, at the server after {server:.1f} s, bar {KNOWN_S:g}")
    sys.exit(0 if max(edge, server) <= KNOWN_S else 1)


if __name__ == "__main__":
    main()
