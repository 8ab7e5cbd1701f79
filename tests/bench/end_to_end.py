# ruff: noqa: T201 - a script that prints its figures
"""What a reading costs from the broker to the archive, and how fast it goes, beside a floor measured the same way.

    python -m tests.bench.end_to_end [--broker nats|mosquitto|both] [--each 12|2|1] [--seconds S] [--repeat N]

Ours is the whole intake as `cellherd ingest run` runs it: MQTT, journal (fsync), receipts, and the storing process
with decoding, archive (fsync) and line protocol that goes nowhere. The floor does the least that could be called the
same: paho's own loop counts messages, and a plain write_deltalake, without fsync, writes the same number of the same
rows, decoded beforehand, in portions as large as a segment. Broker, publisher (tests.bench.load) and the measured
process share the machine, and the same load is put on both: as many messages as they take, for S seconds, so that
receiving and storing overlap as they do in a long backlog. What is sent at the end still counts.

readings/s: all readings, by the time from the first publish until the last row is stored (ours: durable).
CPU: user and system time of ours, both processes, from before the first publish until then; starting does not count.
RSS: the most that both processes held at one moment, pages that they share counted twice.
Each figure is the median of N runs; the ratio is taken run by run, ours right after its floor.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from statistics import median
from threading import Event, Thread
from time import monotonic, process_time
from typing import Any

import paho.mqtt.client as mqtt
import polars as pl
import psutil
from deltalake import write_deltalake
from paho.mqtt.enums import CallbackAPIVersion

from cellherd.settings import FleetConfig
from pipeline import storeroom
from pipeline.broker import EmbeddedBroker, edge_credentials
from pipeline.decode import decode
from pipeline.entry import Entry
from pipeline.ingest import Ingester
from pipeline.storeroom import Storeroom
from pipeline.stores.archive import Archive
from pipeline.subscriber import Line
from tests.bench.load import BLOCK, NOW, Odometer, Publisher, messages
from tests.pipeline.plain_edge import free_port

CPU_BARS = {12: (30, 25), 2: (50, 40), 1: (80, 36)}
"""us of CPU a reading, by readings a message: bar and aim (design 9)."""
RATIO_BAR = 0.6
RSS_BAR = 512
PORTION = 48_000
Login = tuple[str, str]
Lines = Iterator[tuple[int, Login, Login]]
"""Port, the receiver's login, the edge's login."""
pause = Event()


@dataclass(frozen=True)
class Task:
    """What a measured process is told."""

    role: str
    state: str
    port: int
    username: str
    password: str
    each: int


def fleet(port: int) -> FleetConfig:
    site = {"id": "site1", "installer": "acme", "edge": "pi1"}
    return FleetConfig.model_validate(
        {"broker": {"listen": f"127.0.0.1:{port}"}, "installer": [{"id": "acme"}], "site": [site]}
    )


def measured(task: Task, came: Callable[[], int], finish: Callable[[], None]) -> dict[str, float]:
    """Wall seconds, CPU seconds and MiB from the first message until `finish` has stored the last of them."""
    us = psutil.Process()
    family = [us, *us.children()]
    stopped, most = Event(), [0]

    def watch() -> None:
        odometer = Odometer(Path(task.state) / "odometer")
        while not stopped.wait(0.01):
            odometer.show(came())
            most[0] = max(most[0], sum(one.memory_info().rss for one in family if one.is_running()))

    used = cpu(family)
    print("ready", flush=True)
    Thread(target=watch, daemon=True).start()
    load = json.loads(sys.stdin.readline())
    while came() < load["messages"]:
        assert monotonic() < load["begun"] + 300, f"only {came()} of {load['messages']} came"
        pause.wait(0.01)
    finish()
    wall = monotonic() - load["begun"]
    stopped.set()
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = process_time() + children.ru_utime + children.ru_stime - used
    return {"wall": wall, "cpu": spent, "rss": most[0] / 2**20, "readings": load["messages"] * task.each}


def cpu(family: list[psutil.Process]) -> float:
    return sum(times.user + times.system for times in (one.cpu_times() for one in family))


def ours(task: Task) -> dict[str, float]:
    storeroom.DRAIN_S = 300  # all of it counts
    config, state = fleet(task.port), Path(task.state) / "ours"
    stores = Storeroom(config, state, [sys.executable, "-m", "tests.bench.nowhere"])
    ingester = Ingester(config, state, stores, Line("127.0.0.1", task.port, task.username, task.password))
    ingester.start()
    assert ingester.subscriber.connected.wait(20), "no broker"
    while not stores.status():
        pause.wait(0.1)
    found = measured(task, lambda: ingester.intake.counts.messages, ingester.stop)
    stored = Archive(str(state / "archive")).scan("reading").select("epoch", "seq").collect()
    assert stored.n_unique() == len(stored) == found["readings"], f"{len(stored)} stored"
    return found


def floor(task: Task) -> dict[str, float]:
    entries = [Entry(topic, payload, NOW, "site1", "u") for topic, payload in messages(task.each)]
    frame = pl.concat([decode(entries).frames["reading"]] * (PORTION // BLOCK[task.each]))
    portion = frame.to_arrow()
    count, written = 0, 0

    def take(_client: Any, _data: Any, _message: mqtt.MQTTMessage) -> None:
        nonlocal count
        count += 1

    def store() -> None:
        """Write what came since, a portion at a time; the rest only once nothing more comes."""
        nonlocal written
        while (waiting := count * task.each - written) >= PORTION or (waiting and ended.is_set()):
            rows = min(waiting, PORTION)
            write_deltalake(f"{task.state}/floor", portion.slice(0, rows), mode="append", partition_by=["date"])
            written += rows

    def storing() -> None:
        while not ended.wait(0.01):
            store()
        store()

    ended = Event()
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=f"floor-{token_hex(4)}")
    client.username_pw_set(task.username, task.password)
    client.on_message = take
    client.connect("127.0.0.1", task.port)
    client.subscribe("fleet/#", 1)
    client.loop_start()
    writer = Thread(target=storing)
    writer.start()
    pause.wait(1)
    return measured(task, lambda: count, lambda: (ended.set(), writer.join())[1])


@contextmanager
def nats(state: Path) -> Lines:
    port = free_port()
    child = EmbeddedBroker(fleet(port).broker, state, ["pi1"])
    child.start()
    try:
        user, file = edge_credentials(state, "pi1")
        yield port, ("ingest", child.line().password or ""), (user, file.read_text())
    finally:
        child.stop()


@contextmanager
def mosquitto(state: Path) -> Lines:
    port = free_port()
    state.mkdir(parents=True, exist_ok=True)
    config = state / "mosquitto.conf"
    config.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n"
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


def run(broker: str, role: str, each: int, seconds: float) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder, BROKERS[broker](Path(folder)) as (port, login, edge):
        task = Task(role, folder, port, *login, each)
        command = [sys.executable, "-m", "tests.bench.end_to_end", "--task", json.dumps(vars(task))]
        odometer, publisher = Odometer(Path(folder) / "odometer"), Publisher(port, edge, each)
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdin is not None
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            begun = monotonic()
            sent = publisher.publish(seconds, odometer)
            print(json.dumps({"messages": sent, "begun": begun}), file=child.stdin, flush=True)
            found: dict[str, float] = json.loads(child.stdout.readline())
            return found


def compare(broker: str, each: int, seconds: float, repeat: int) -> None:
    """Print a line for each bar."""
    runs = [tuple(run(broker, role, each, seconds) for role in ("floor", "ours")) for _ in range(repeat)]
    base, mine = ([{**one, "speed": one["readings"] / one["wall"]} for one in side] for side in zip(*runs, strict=True))
    cost, least = (median(1e6 * one["cpu"] / one["readings"] for one in side) for side in (mine, base))
    ratio = median(our["speed"] / their["speed"] for our, their in zip(mine, base, strict=True))
    fast, fastest = (median(one["speed"] for one in side) for side in (mine, base))
    rss = median(one["rss"] for one in mine)
    bar, aim = CPU_BARS[each]
    of = f"{broker:9} {each:2} a message  "
    said = "met, aim too" if cost <= aim else f"met, aim {aim}" if cost <= bar else "MISSED"
    print(f"{of} CPU a reading     {cost:6.1f} us   bar <= {bar:4}  {said:12}  floor {least:.1f} us")
    said = "met" if ratio >= RATIO_BAR else "MISSED"
    print(
        f"{of} of the floor's    {ratio:6.2f}      bar >= {RATIO_BAR:4}  {said:12}  {fast:,.0f} of {fastest:,.0f} readings/s"
    )
    said = "met" if rss <= RSS_BAR else "MISSED"
    print(f"{of} RSS               {rss:6.0f} MiB  bar <= {RSS_BAR:4}  {said}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--broker", choices=[*BROKERS, "both"], default="both")
    parser.add_argument("--each", type=int, choices=CPU_BARS, help="readings a message; without it, all three")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--task", help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.task:
        task = Task(**json.loads(told.task))
        print(json.dumps({"ours": ours, "floor": floor}[task.role](task)), flush=True)
        os._exit(0)
    for broker in BROKERS if told.broker == "both" else [told.broker]:
        for each in [told.each] if told.each else CPU_BARS:
            compare(broker, each, told.seconds, told.repeat)


if __name__ == "__main__":
    main()
