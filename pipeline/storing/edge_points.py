"""Tells InfluxDB how the collectors are, for the dashboards: a point every few seconds, none while one is away."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from threading import Event, Thread
from time import time_ns

import polars as pl

from cellherd.settings import Site
from pipeline.edges import Edges, number
from pipeline.journal.deadletters import DeadLetters
from pipeline.stores.errors import StoreAway
from pipeline.stores.influx import InfluxSink, InfluxWriter
from pipeline.stores.lines import edge_lines, server_lines
from pipeline.storing import server_points

EVERY_S = 10.0
LONGEST = 40
"""Characters of a version: an edge says it, and may say anything."""
_PORTS = ("polls_ok", "polls_bad", "crc_bad")  # counted port by port
_NUMBERS = dict.fromkeys(("online", "depth", "oldest_ms", "drops", *_PORTS), pl.Int64)
log = logging.getLogger(__name__)


class EdgePoints:
    """A thread of its own, since InfluxDB may hang. What it cannot write is left out: the next point says more.

    It also writes dead letters of its store again that a person wants so.
    """

    def __init__(self, sink: InfluxSink, edges: Edges, letters: DeadLetters, state: Path) -> None:
        self._writer, self._edges, self._letters, self._name = sink.writer, edges, letters, sink.name
        self._state = state
        self._sites = sink.sites
        self._said: dict[str, int] = {}
        self._stopping = Event()
        self._thread = Thread(target=self._run, name="edge points", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; a write in hand is waited for shortly."""
        self._stopping.set()
        self._thread.join(timeout=2)

    def _counts(self) -> pl.DataFrame:
        """What our own side counts, now: payloads nobody could read, points that their bucket would not keep, messages
        to people, the last night's time.
        """
        dead = self._letters.counts()
        told = {"dead_letters": dead["kept"], "dead_letters_dropped": dead["dropped"], "too_old": self._writer.too_old}
        told |= server_points.told(self._state)
        return pl.DataFrame({"ts": [time_ns() // 1_000_000], **{name: [value] for name, value in told.items()}})

    def _run(self) -> None:
        while not self._stopping.wait(EVERY_S):
            points = frame(self._edges, self._sites, self._said)
            try:
                self._writer.write(self._writer.settings.bucket, edge_lines(points, self._sites))
                self._writer.write(self._writer.settings.bucket, server_lines(self._counts()))
                again(self._letters, self._name, self._writer)
            except StoreAway as error:
                log.info("no edge points: %s", error)


def again(letters: DeadLetters, store: str, writer: InfluxWriter) -> None:
    """Write the wanted dead letters of a store; what is refused once more becomes one again. Raises StoreAway."""
    for letter in letters.wanted(store=store):
        writer.write(writer.settings.bucket, letter.dead.entry.payload)
        letters.remove(letter)


def frame(edges: Edges, sites: Mapping[str, Site], said: dict[str, int]) -> pl.DataFrame:
    """One row for each edge heard of since `said` (edge: arrival of its last message), which is brought forward."""
    places = {site.edge: site.id for site in sites.values()}
    rows = []
    for name, edge in edges.known.copy().items():
        if edge.last_seen == said.get(name) or name not in places:
            continue
        said[name] = edge.last_seen
        oldest = number(edge.health.get("oldest_ts"))
        row: dict[str, str | int | None] = {"ts": edge.last_seen, "site": places[name], "edge": name}
        row |= {"online": number(edge.status.get("online")), "depth": number(edge.health.get("depth"))}
        row |= {"oldest_ms": None if oldest is None else edge.last_seen - oldest}
        row |= {"version": str(edge.status.get("version") or "")[:LONGEST] or None}
        row |= {"drops": number(edge.health.get("drops"))} | _of_ports(edge.health.get("ports"))
        rows.append(row)
    return pl.DataFrame(
        rows, schema={"ts": pl.Int64, "site": pl.String, "edge": pl.String, "version": pl.String, **_NUMBERS}
    )


def _of_ports(ports: object) -> dict[str, int | None]:
    told = [port for port in ports.values() if isinstance(port, dict)] if isinstance(ports, dict) else []
    return {key: sum(number(port.get(key)) or 0 for port in told) if told else None for key in _PORTS}
