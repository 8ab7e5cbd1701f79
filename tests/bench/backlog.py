"""How fast an edge sends what piled up while nobody heard it, with a real ingester and its embedded broker.

    python -m tests.bench.backlog --hours 2

Outbox, sender and publisher of the edge in this process, 16 modules read every 5 s. Prints readings a second, how full
the messages were, how long a receipt took from the turn that sent its message, and what both ends cost.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory
from threading import Event
from time import monotonic, thread_time
from unittest.mock import patch

import psutil

from cellherd.clock import SystemClock
from cellherd.config import EdgeConfig
from collectors.orders import Receipt, parse
from collectors.outbox import Outbox
from collectors.pace import Pace
from collectors.publish import Publisher, line_of
from collectors.sender import Sender
from tests.bench.edges import registry
from tests.bench.measured import cpu, pause
from tests.bench.slow_link import fill
from tests.services import free_port

EDGE = "pi0"


@dataclass
class Sent:
    """What the edge did, and the seconds and processor time that it took."""

    messages: int = 0
    seconds: float = 0.0
    cpu: float = 0.0


def send(box: Outbox, config: EdgeConfig) -> Sent:
    """Send everything that waits, as the edge's own thread does."""
    wake, done = Event(), Sent()
    publisher = Publisher(line_of(config, box.client), wake.set)

    def publish(topic: str, payload: bytes) -> bool:
        done.messages += 1
        return publisher.send(topic, payload)

    sender, connected, used = Sender(EDGE, box, publish), 0.0, thread_time()
    publisher.start()
    while box.depth():
        wake.wait(0.5)
        wake.clear()
        while publisher.inbox:
            order = parse(EDGE, *publisher.inbox.popleft())
            assert isinstance(order, Receipt)
            sender.receipt(order, monotonic())
        if publisher.online.is_set():
            connected = connected or monotonic()
            sender.turn(monotonic())
    done.seconds, done.cpu = monotonic() - connected, thread_time() - used
    publisher.stop()
    return done


def measure(folder: Path, hours: float) -> None:
    """Fill an outbox, start the server, send."""
    port = free_port()
    registry(folder, port, 1, tls=False)
    box = Outbox(folder / "outbox.db", SystemClock(), 2**31)
    rows = fill(box, hours / 24)
    command = ["-m", "cellherd", "ingest", "run", "--config", f"{folder}/fleet.toml", "--state", f"{folder}/state"]
    with ExitStack() as last:
        log = last.enter_context((folder / "log").open("wb"))
        server = last.enter_context(psutil.Popen([sys.executable, *command], stderr=log))
        last.callback(server.terminate)
        while "connected to" not in (folder / "log").read_text():
            assert server.poll() is None, (folder / "log").read_text()[-500:]
            pause.wait(0.1)
        secret = f"{folder}/state/broker/secrets/{EDGE}"
        mqtt = {"url": f"mqtt://127.0.0.1:{port}", "password_file": secret}
        before, took, original = cpu([server]), list[float](), Pace.took

        def watched(pace: Pace, seconds: float) -> None:
            took.append(seconds)
            original(pace, seconds)

        with patch.object(Pace, "took", watched):
            done = send(box, EdgeConfig.model_validate({"edge": EDGE, "mqtt": mqtt}))
        spent = cpu([server]) - before
    box.close()
    deciles = quantiles(took, n=10)
    print(f"{rows:,} readings in {done.seconds:.1f} s: {rows / done.seconds:,.0f} a second")
    a_second, each = done.messages / done.seconds, rows / done.messages
    print(f"{done.messages} messages, {each:.1f} readings in each, {a_second:.0f} a second")
    print(f"receipt after {deciles[4]:.2f} s (median), {deciles[8]:.2f} s (nine of ten)")
    edge, intake = (1e6 * seconds / rows for seconds in (done.cpu, spent))
    print(f"CPU a reading: edge {edge:.0f} us, intake {intake:.0f} us")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--hours", type=float, default=2)
    with TemporaryDirectory() as folder:
        measure(Path(folder), parser.parse_args().hours)


if __name__ == "__main__":
    main()
