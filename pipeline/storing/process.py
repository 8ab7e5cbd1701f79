"""The storing process: reads sealed journal segments and brings them to every store. Begun by the storeroom beside it.

It may be killed at any moment: what a store has, the store knows. It ends at once with its parent, and by itself, after
a moment for what is sealed, when the parent hangs up.
"""

from __future__ import annotations

import fcntl
import json
import signal
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from threading import Event, Lock, Thread
from time import time_ns

import polars as pl

from cellherd.clock import SystemClock
from cellherd.secrecy import begin_log
from pipeline.edges import Edge, Edges
from pipeline.journal.deadletters import DeadLetters
from pipeline.journal.entry import Dead, Entry
from pipeline.lifeline import die_with, settle
from pipeline.live.absence import Link
from pipeline.live.sink import LiveSink, Outlet, Ticker, to_archive
from pipeline.live.store import LiveStore
from pipeline.stores.archive import Archive, ArchiveSink
from pipeline.stores.influx import InfluxSink, InfluxWriter
from pipeline.stores.lines import fault_lines
from pipeline.stores.shares import shares
from pipeline.storing.edge_points import EdgePoints
from pipeline.storing.sinks import Feeders, Segments, Sink
from pipeline.storing.storeroom import LARGEST, LOG_FORMAT, Task


def main() -> None:
    """Serve the parent that started this process."""
    task = listen()
    with ExitStack() as last:
        letters = DeadLetters(task.state / "deadletters.sqlite")
        last.callback(letters.close)
        edges = Edges()
        archive = Archive(task.config.archive.uri or str(task.state / "archive"))
        influx = influx_sinks(task, letters)
        sinks: list[Sink] = [ArchiveSink(archive, task.series), *influx]
        for sink in influx:
            last.callback(sink.writer.close)
            points = EdgePoints(sink, edges, letters, task.state)
            points.start()
            last.callback(points.stop)
        live = [_live(task, archive, influx)] if task.config.live.enabled else []
        serve(task, [*sinks, *live], letters, edges)


def influx_sinks(task: Task, letters: DeadLetters) -> list[InfluxSink]:
    """One for all, or one for each installer that has sites: then nobody waits for another one's bucket."""
    found = []
    for share in shares(task.config):
        name = f"influx-{share.installer}" if share.installer else "influx"
        writer = InfluxWriter(share.settings, partial(_keep, letters, name))
        progress = task.state / f"{name}.{task.series}.position"
        found.append(InfluxSink(writer, share.sites, progress, name, share.installer))
    return found


def listen() -> Task:
    """What the parent wants; from here on this process ends with it, and with no signal meant for it."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    task = Task.model_validate_json(sys.stdin.buffer.read())
    die_with(task.parent, signal.SIGKILL)
    begin_log(LOG_FORMAT)
    return task


def serve(task: Task, sinks: Sequence[Sink], letters: DeadLetters, edges: Edges) -> None:
    """Feed the sinks until the parent hangs up and they have what is sealed. Exits with 1 if a thread of ours died."""
    control = socket.socket(fileno=task.control)
    segments = Segments(task.state / "journal", letters, task.upto)
    with _alone(task):
        reporting = Lock()

        def report() -> None:
            with reporting, suppress(OSError):  # the parent may be gone
                control.send(json.dumps(feeders.status()).encode())

        feeders = Feeders(sinks, segments, report)
        ended = Event()
        Thread(target=_hear, args=(control, segments, edges, ended), name="parent", daemon=True).start()
        settle()
        feeders.start()
        clock = _clock(sinks, segments, edges, feeders)
        while not ended.wait(1.0):
            if not feeders.alive():
                sys.exit(1)
        if clock is not None:
            clock.stop()
        feeders.stop()


def _live(task: Task, archive: Archive, influx: Sequence[InfluxSink]) -> LiveSink:
    """The event engine, with a handle of the archive of its own: another thread appends to the other tables."""
    outlets = {
        "archive": to_archive(Archive(archive.uri), task.series),
        **{sink.name: _faults(sink) for sink in influx},
    }
    registry = {(module.site, module.stack, module.id): module for module in task.config.module}
    return LiveSink(LiveStore(task.state / "live.sqlite"), registry, SystemClock(), outlets)


def _faults(sink: InfluxSink) -> Outlet:
    """Events to InfluxDB's `fault`, those of one installer's sites where each has a bucket."""

    def outlet(_batch: int, events: pl.DataFrame) -> None:
        theirs = events.filter(pl.col("site").is_in(list(sink.sites)))
        if not theirs.is_empty():
            sink.writer.write(sink.writer.settings.bucket, fault_lines(theirs, sink.sites))

    return outlet


def _clock(sinks: Sequence[Sink], segments: Segments, edges: Edges, feeders: Feeders) -> Ticker | None:
    """The clock of the live engine, if there is one."""
    live = next((sink for sink in sinks if isinstance(sink, LiveSink)), None)
    if live is None:
        return None

    def links() -> Mapping[str, Link] | None:
        if int(feeders.status()[live.name]["at"]) < segments.upto:
            return None  # behind with segments: whoever seems silent may stand in the next one
        known = edges.known.copy().items()
        return {name: Link(edge.last_seen, edge.status.get("online") != 0) for name, edge in known}

    ticker = Ticker(live, links)
    ticker.start()
    return ticker


def _hear(control: socket.socket, segments: Segments, edges: Edges, ended: Event) -> None:
    with suppress(ConnectionResetError):
        while message := control.recv(LARGEST):
            told = json.loads(message)
            if "upto" in told:
                segments.announce(told["upto"])
            else:
                edges.known[told["edge"]] = Edge(told["last_seen"], told["status"], told["health"])
    ended.set()


@contextmanager
def _alone(task: Task) -> Iterator[None]:
    """Wait until the storing process before this one, whose parent was killed, is gone too."""
    with (task.state / "storing.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _keep(letters: DeadLetters, store: str, line: bytes, reason: str) -> None:
    letters.put([Dead(Entry(store, line, time_ns() // 1_000_000, "", ""), "rejected", reason)])


if __name__ == "__main__":
    main()
