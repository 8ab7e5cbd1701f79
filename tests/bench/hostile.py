"""What hostile input costs the neighbours: their receipts' delay while one login does its worst (bar: below 5 s).

    python -m tests.bench.hostile --seconds 15

Real processes: `cellherd ingest run` with its embedded broker, and InfluxDB's place taken by a door that answers as it
is told. Five edges send a reading a second each; meanwhile `evil-pi`, a valid login, goes through F20 to F23, and the
door through F24. Printed for each: delay of the neighbours' receipts (median, worst), messages that were sent to harm,
and memory of the ingester's processes. At the end every reading of the neighbours must be in the archive once, and no
traceback in the log. Ends with 1 where a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import cycle
from pathlib import Path
from random import Random
from statistics import median
from tempfile import TemporaryDirectory
from threading import Event, Thread

import psutil

from cellherd import topics
from pipeline.stores.archive import Archive
from tests.bench.edges import Edge, connected, exchange
from tests.bench.measured import pause
from tests.pipeline.plain_edge import NOW, PlainEdge, reading
from tests.pipeline.test_hostile_logins import NAMES, attacks
from tests.services import free_port

NEIGHBOURS, BAR_S, MOST_MB, GROWTH_MB = 5, 5.0, 512, 64
CODES = (400, 401, 404, 413, 422, 429, 500, 503)
Harm = tuple[str, bytes]


def spoiled(evil: PlainEdge) -> Iterator[Harm]:
    """F20: good messages with bits turned over, cut, glued together, or with values that cannot be."""
    dice, name = Random(20), topics.readings("evil-pi", "s1", "m1")
    for seq in range(1, 2000):
        good = bytearray(reading(evil.stream, evil.epoch, [seq]))
        yield name, bytes(good[: dice.randrange(len(good))])
        yield name, bytes(good + good)
        yield name, bytes(good).replace(b'"voltage_mv":[', b'"voltage_mv":[9')
        good[dice.randrange(len(good))] ^= 1 << dice.randrange(8)
        yield name, bytes(good)


def spoofs(evil: PlainEdge) -> Iterator[Harm]:
    """F22: under others' names, to their command topics, and to names that are none."""
    forged = reading(evil.stream, evil.epoch, [1])
    for number in range(NEIGHBOURS):
        yield topics.readings(f"pi{number}", "s1", "m1"), forged
        yield f"cmd/pi{number}/receipt", b'{"v":1,"upto":999999}'
        yield topics.status(f"pi{number}"), b'{"v":1,"online":0}'
    yield from ((f"fleet/evil-pi/r/{name}/m1", forged) for name in ("$SYS", "..", "s1//x", "S1", "x" * 300))


def names(evil: PlainEdge) -> Iterator[Harm]:
    """F23: serials that other languages would take for more than a text."""
    for seq, name in enumerate(NAMES * 20, 1):
        head = {"v": 1, "stream": evil.stream, "epoch": "f" * 16, "seq": seq, "module": "m1", "kind": "module"}
        times = {"boot": "0badcafe", "bt": 1, "ts": NOW, "clk": "ntp", "sent_bt": 1, "sent_ts": NOW}
        body = {"event": "info", "body": {"serial": name, "model": name}}
        yield topics.records("evil-pi", "s1", "m1"), json.dumps({**head, **times, **body}).encode()


class Door(ThreadingHTTPServer):
    """InfluxDB's place: answers 204 until it is told to answer worse; 0 hangs up in the midst."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.codes = cycle((204,))
        Thread(target=self.serve_forever, daemon=True).start()


class _Answer(BaseHTTPRequestHandler):
    server: Door

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        code = next(self.server.codes)
        if not code:
            self.connection.close()
            return
        self.send_response(code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nobody wants to read it."""


def storm(evil: PlainEdge, harm: Callable[[PlainEdge], Iterator[Harm]] | None, over: Event, sent: list[int]) -> None:
    """Everything again and again until it is over, as fast as the broker takes it."""
    while harm is not None and not over.is_set():
        for topic, payload in harm(evil):
            if over.is_set():
                return
            told = evil.client.publish(topic, payload, 1)
            sent[0] += 1
            if sent[0] % 50 == 0:
                told.wait_for_publish(2)


@contextmanager
def server(folder: Path, port: int, door: Door) -> Iterator[psutil.Popen]:
    """`cellherd ingest run`, from when it has its broker."""
    edges = [*(f"pi{n}" for n in range(NEIGHBOURS)), "evil-pi"]
    places = "".join(f'[[site]]\nid = "at-{edge}"\ninstaller = "acme"\nedge = "{edge}"\n' for edge in edges)
    head = f'[broker]\nlisten = "127.0.0.1:{port}"\n[health]\nlisten = ""\n[[installer]]\nid = "acme"\n'
    influx = f'[influx]\nurl = "http://127.0.0.1:{door.server_port}"\n'
    (folder / "fleet.toml").write_text(head + influx + places)
    command = ["-m", "cellherd", "ingest", "run", "--config", f"{folder}/fleet.toml", "--state", f"{folder}/state"]
    with (folder / "log").open("wb") as log, psutil.Popen([sys.executable, *command], stderr=log) as process:
        try:
            while "connected to" not in (folder / "log").read_text():
                assert process.poll() is None, (folder / "log").read_text()[-500:]
                pause.wait(0.1)
            yield process
        finally:
            process.terminate()
            process.wait(120)


def held(process: psutil.Popen) -> float:
    """MiB of the ingester's two processes, the broker left out."""
    ours = [process, *(one for one in process.children(recursive=True) if "nats" not in one.name())]
    return sum(one.memory_info().rss for one in ours) / 2**20


def phases() -> Iterator[tuple[str, Callable[[PlainEdge], Iterator[Harm]] | None, tuple[int, ...]]]:
    """What is done in turn: a name, what evil-pi sends, what the door answers."""
    yield "nothing", None, (204,)
    yield "F20 spoiled messages", spoiled, (204,)
    yield "F21 bombs and nonsense", attacks, (204,)
    yield "F22 spoofing", spoofs, (204,)
    yield "F23 hostile names", names, (204,)
    yield "F24 a store that refuses", None, CODES
    yield "F24 a store that hangs up", None, (0,)
    yield "all together", attacks, (*CODES, 0)


def measure(folder: Path, seconds: float) -> bool:
    """Print a line for each phase. Returns whether every bar was met."""
    port, door, worst = free_port(), Door(), 0.0
    with server(folder, port, door) as process:
        secrets = folder / "state" / "broker" / "secrets"
        edges = [connected(f"pi{n}", port, (secrets / f"pi{n}").read_text(), "") for n in range(NEIGHBOURS)]
        exchange(edges, 3, 1)
        levels: list[float] = []
        with PlainEdge(port, "evil-pi", (secrets / "evil-pi").read_text()) as evil:
            for name, harm, codes in phases():
                door.codes = cycle(codes)
                took, sent = beside(edges, evil, harm, seconds)
                worst = max(worst, *took)
                levels.append(held(process))
                told = f"receipts after {median(took):.2f} s, worst {max(took):.2f} s"
                print(f"{name:26} {told}; {sent} sent to harm; {levels[-1]:.0f} MiB", flush=True)
        grown = max(levels) - levels[1]  # from the first storm on: until then it has done nothing yet
        door.codes = cycle((204,))
    grew = f"grew by {grown:.0f}, bar {GROWTH_MB}"
    print(f"worst {worst:.2f} s, bar {BAR_S:g}; memory {max(levels):.0f} MiB, bar {MOST_MB}; {grew}")
    return worst <= BAR_S and max(levels) <= MOST_MB and grown <= GROWTH_MB and unharmed(folder, edges)


def beside(
    edges: list[Edge], evil: PlainEdge, harm: Callable[[PlainEdge], Iterator[Harm]] | None, seconds: float
) -> tuple[list[float], int]:
    """Seconds that each receipt of the neighbours took meanwhile, and how many messages were sent to harm."""
    over, sent = Event(), [0]
    attacker = Thread(target=storm, args=(evil, harm, over, sent), daemon=True)
    attacker.start()
    took = exchange(edges, seconds, 1)
    over.set()
    attacker.join(10)
    assert all(not edge.open_ for edge in edges), "a reading of a neighbour never got its receipt"
    return took, sent[0]


def unharmed(folder: Path, edges: list[Edge]) -> bool:
    """Whether every reading of the neighbours is stored once, and nothing was unforeseen."""
    stored = Archive(f"{folder}/state/archive").scan("reading").select("edge", "stream", "epoch", "seq").collect()
    theirs = stored.filter(stored["edge"] != "evil-pi")
    wanted = sum(edge.sent for edge in edges)
    tracebacks = (folder / "log").read_text().count("Traceback")
    print(f"neighbours' readings stored {len(theirs)} of {wanted}, tracebacks {tracebacks}")
    return len(theirs) == theirs.n_unique() == wanted and not tracebacks


def main() -> None:
    """Measure, print, judge."""
    asked = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    asked.add_argument("--seconds", type=float, default=15, help="of each of the eight phases")
    told = asked.parse_args()
    with TemporaryDirectory() as folder:
        sys.exit(0 if measure(Path(folder), told.seconds) else 1)


if __name__ == "__main__":
    main()
