"""What a reading costs from the broker to the archive, and how fast it goes, beside a floor measured the same way.

    python -m tests.bench.end_to_end [--broker nats|mosquitto|both] [--each 12|2|1] [--seconds S] [--repeat N] [--tls]

Ours is the whole intake as `cellherd ingest run` runs it: MQTT, journal (fsync), receipts, and the storing process
with decoding, archive (fsync) and line protocol that goes nowhere. The floor does the least that could be called the
same: paho's own loop counts messages, and a plain write_deltalake, without fsync, writes the same number of the same
rows, decoded beforehand, in portions as large as a segment. Broker, publisher (tests.bench.load) and the measured
process share the machine, and the same load is put on both: as many messages as they take, for S seconds, so that
receiving and storing overlap as they do in a long backlog. What is sent at the end still counts.

readings/s: all readings, by the time from the first publish until the last row is stored (ours: durable).
CPU: user and system time of ours, both processes, from before the first publish until then; starting does not count.
RSS: the most that both processes held at one moment, pages that they share counted twice.
Each figure is the median of N runs; the ratio is taken run by run, ours right after its floor. Where mq-bridge is
installed (pip install mq-bridge) it runs beside (tests.bench.peer). Many edges at once: python -m tests.bench.edges.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from time import monotonic

from pipeline.enrolment.authority import authority
from pipeline.ingest.broker import EmbeddedBroker, edge_credentials
from pipeline.stores.archive import Archive
from tests.bench.load import Odometer, Publisher
from tests.bench.measured import Task, pause
from tests.bench.ours import fleet
from tests.services import free_port

CPU_BARS = {12: (30, 25), 2: (50, 40), 1: (80, 36)}
"""us of CPU a reading, by readings a message: bar and aim (design 9)."""
RATIO_BAR = 0.6
RSS_BAR = 512
Login = tuple[str, str]
Lines = Iterator[tuple[int, Login, Login]]
"""Port, the receiver's login, the edge's login."""


@contextmanager
def nats(state: Path, tls: dict[str, str]) -> Lines:
    port = free_port()
    child = EmbeddedBroker(fleet(port).broker.model_copy(update=tls), state, ["pi1"])
    child.start()
    try:
        user, file = edge_credentials(state, "pi1")
        yield port, ("ingest", child.line().password or ""), (user, file.read_text())
    finally:
        child.stop()


@contextmanager
def mosquitto(state: Path, tls: dict[str, str]) -> Lines:
    port = free_port()
    state.mkdir(parents=True, exist_ok=True)
    config = state / "mosquitto.conf"
    lines = f"certfile {tls['cert_file']}\nkeyfile {tls['key_file']}\nuser root\n" if tls else ""
    config.write_text(
        f"listener {port} 127.0.0.1\n{lines}allow_anonymous true\npersistence false\n"
        "max_inflight_messages 4000\nmax_queued_messages 0\nset_tcp_nodelay true\nlog_type none\n"
    )
    program = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
    child = subprocess.Popen([program, "-c", str(config)])
    pause.wait(0.5)
    try:
        yield port, ("ingest", "x"), ("pi1", "x")
    finally:
        child.terminate()
        child.wait(10)


BROKERS = {"nats": nats, "mosquitto": mosquitto}


def certificate(folder: Path) -> dict[str, str]:
    """A broker's certificate from an authority of our own, as broker.cert_file and key_file; ca.pem lies beside."""
    now = datetime.now(UTC)
    authority(folder, now).issue_server(["127.0.0.1"], now)
    return {"cert_file": f"{folder}/server.pem", "key_file": f"{folder}/server.key"}


def run(broker: str, role: str, each: int, asked: argparse.Namespace) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder, ExitStack() as last:
        tls = certificate(Path(folder) / "tls") if asked.tls else {}
        ca = f"{folder}/tls/ca.pem" if tls else ""
        port, login, edge = last.enter_context(BROKERS[broker](Path(folder), tls))
        command = [sys.executable, "-m", f"tests.bench.{role}", json.dumps(vars(Task(folder, port, *login, each, ca)))]
        odometer, publisher = Odometer(Path(folder) / "odometer"), Publisher(port, edge, each, ca)
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdin is not None
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            begun = monotonic()
            sent = publisher.publish(asked.seconds, odometer)
            print(json.dumps({"messages": sent, "begun": begun}), file=child.stdin, flush=True)
            found: dict[str, float] = json.loads(child.stdout.readline())
        if role == "ours":
            stored = Archive(f"{folder}/ours/archive").scan("reading").select("epoch", "seq").collect()
            assert stored.n_unique() == len(stored) == sent * each, f"{len(stored)} of {sent * each} stored"
        return found


def compare(broker: str, each: int, asked: argparse.Namespace) -> None:
    """Print a line for each bar."""
    runs = [tuple(run(broker, role, each, asked) for role in ("floor", "ours")) for _ in range(asked.repeat)]
    beside = run(broker, "peer", each, asked) if find_spec("mq_bridge") else None
    base, mine = ([{**one, "speed": one["readings"] / one["wall"]} for one in side] for side in zip(*runs, strict=True))
    cost, least = (median(1e6 * one["cpu"] / one["readings"] for one in side) for side in (mine, base))
    storing = median(1e6 * one["storing"] / one["readings"] for one in mine)
    ratio = median(our["speed"] / their["speed"] for our, their in zip(mine, base, strict=True))
    fast, fastest = (median(one["speed"] for one in side) for side in (mine, base))
    rss = median(one["rss"] for one in mine)
    bar, aim = CPU_BARS[each]
    said = "met, aim too" if cost <= aim else f"{_said(cost <= bar)}, aim {aim}"
    of = f"{broker:9} {each:2} a message {'TLS ' if asked.tls else ''}"
    print(f"{of} CPU a reading   {cost:5.1f} us  bar <= {bar:<4} {said:12} storing {storing:.1f}; floor {least:.1f}")
    rates = f"{fast:,.0f} of {fastest:,.0f} readings/s"
    print(f"{of} of the floor's  {ratio:5.2f}     bar >= {RATIO_BAR:<4} {_said(ratio >= RATIO_BAR):12} {rates}")
    print(f"{of} RSS             {rss:5.0f} MiB bar <= {RSS_BAR:<4} {_said(rss <= RSS_BAR)}", flush=True)
    print(f"{of} {_peer(beside)}", flush=True)


def _peer(told: dict[str, float] | None) -> str:
    if told is None:
        return "mq-bridge to Parquet: not installed, pip install mq-bridge"
    cost, rate = 1e6 * told["cpu"] / told["readings"], told["readings"] / told["wall"]
    return f"mq-bridge to Parquet {cost:.1f} us of CPU, {rate:,.0f} readings/s, {told['rss']:.0f} MiB (does not unpack)"


def _said(met: bool) -> str:
    return "met" if met else "MISSED"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--broker", choices=[*BROKERS, "both"], default="both")
    parser.add_argument("--each", type=int, choices=CPU_BARS, help="readings a message; without it, all three")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--tls", action="store_true", help="all of them over TLS, the publisher too")
    told = parser.parse_args()
    for broker in BROKERS if told.broker == "both" else [told.broker]:
        for each in [told.each] if told.each else CPU_BARS:
            compare(broker, each, told)


if __name__ == "__main__":
    main()
