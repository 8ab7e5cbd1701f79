"""How the ingester is: in one word with the reasons, and in Prometheus' form. Pure functions of `Ingester.status()`.

A store is known by its name only, so whatever is fed from the journal shows up here by itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.exposition import generate_latest

Status: TypeAlias = Mapping[str, Any]

STILL_MS = 120_000
"""A store that has something to do and did not get further for so long is stuck, whatever it says."""


def reasons(status: Status, now: int) -> list[str]:
    """What keeps the ingester from doing all of its work at `now` (UTC ms); empty = all is well."""
    found = [] if status["connected"] else ["broker: not connected"]
    if status["journal_trouble"]:
        found.append(f"journal: nothing is taken in: {status['journal_trouble']}")
    elif status["journal_free"] < 2 * status["journal_reserve"]:
        found.append(f"disk: {status['journal_free'] >> 20} MB left; intake stops at {status['journal_reserve'] >> 20}")
    if not status["sinks"]:
        found.append("stores: nothing heard from the storing process yet")
    for name, store in status["sinks"].items():
        behind = status["sealed"] - store["at"]
        if store["trouble"]:
            found.append(f"{name}: {behind} segments behind: {store['trouble']}")
        elif behind > 0 and now - store.get("moved", now) > STILL_MS:
            found.append(f"{name}: {behind} segments behind and does not get further")
    return found


def metrics(status: Status, now: int) -> bytes:
    """Prometheus' text form, version 0.0.4."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Told([*_intake(status, now), *_stores(status), *_edges(status)]))
    return generate_latest(registry)


class _Told:
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        """What the registry asks for."""
        return self._families


def _intake(status: Status, now: int) -> Iterator[Metric]:
    for name, about, value in (
        ("messages", "Messages that came over MQTT.", status["messages"]),
        ("readings", "Readings and records taken in for the first time.", status["kept"]),
        ("duplicates", "Readings and records that were known already.", status["duplicates"]),
        ("receipts", "Receipts given to edges.", status["receipts"]),
        ("replays", "Requests to edges for numbers that never came.", status["replays"]),
        ("dead_letters_dropped", "Dead letters dropped for want of room.", status["dead"]["dropped"]),
    ):
        yield CounterMetricFamily(f"cellherd_{name}", about, value)
    for name, about, value in (
        ("healthy", "1 if /healthz says so.", int(not reasons(status, now))),
        ("broker_connected", "1 while messages can flow.", int(status["connected"])),
        ("dead_letters", "Dead letters kept.", status["dead"]["kept"]),
        ("journal_bytes", "Size of the journal.", status["journal_bytes"]),
        (
            "journal_stopped",
            "1 while the disk takes nothing and no receipt is given.",
            int(bool(status["journal_trouble"])),
        ),
        ("journal_disk_free_bytes", "What is left on the journal's disk.", status["journal_free"]),
        ("journal_unsealed_seconds", "Age of the oldest message that no store was told of.", status["unsealed_s"]),
        ("journal_sealed_segment", "Number of the newest sealed segment.", status["sealed"]),
    ):
        yield GaugeMetricFamily(f"cellherd_{name}", about, value)
    about = "Journal commits, fsync included."
    yield SummaryMetricFamily("cellherd_journal_commit_seconds", about, status["commits"], status["commit_s"])
    memory = GaugeMetricFamily("cellherd_resident_memory_bytes", "Memory of each of our processes.", labels=["process"])
    for name, size in status["memory"].items():
        memory.add_metric([name], size)
    yield memory


def _stores(status: Status) -> Iterator[Metric]:
    gauges = {
        "behind_segments": "Sealed segments that the store does not have yet.",
        "behind_seconds": "How long the oldest of them has waited.",
        "stuck": "1 while the store takes nothing.",
        "away_since_seconds": "Unix time at which that began, 0 while it takes everything.",
    }
    families = {n: GaugeMetricFamily(f"cellherd_store_{n}", about, labels=["store"]) for n, about in gauges.items()}
    times = {
        part: SummaryMetricFamily(f"cellherd_store_{part}_seconds", about, labels=["store"])
        for part, about in (("decode", "Decoding of segments."), ("write", "Writing of segments, flush included."))
    }
    for name, store in status["sinks"].items():
        families["behind_segments"].add_metric([name], max(0, status["sealed"] - store["at"]))
        families["behind_seconds"].add_metric([name], store["waited_s"])
        families["stuck"].add_metric([name], int(bool(store["trouble"])))
        families["away_since_seconds"].add_metric([name], store.get("since", 0) / 1000)
        for part, family in times.items():
            family.add_metric([name], store.get("segments", 0), store.get(f"{part}_s", 0.0))
    yield from families.values()
    yield from times.values()


def _edges(status: Status) -> Iterator[Metric]:
    yield GaugeMetricFamily("cellherd_edges_online", "Edges whose retained status says online.", len(status["online"]))
    seen = GaugeMetricFamily("cellherd_edge_last_seen_seconds", "Unix time of an edge's last message.", labels=["edge"])
    for name, ts in status["edges"].items():
        seen.add_metric([name], ts / 1000)
    yield seen
    about = "Numbers that an edge knows of and that never came, those on their way too."
    missing = GaugeMetricFamily("cellherd_edge_numbers_missing", about, labels=["edge"])
    for name, count in status["missing"].items():
        missing.add_metric([name], count)
    yield missing


def resident(pid: int) -> int:
    """Bytes of memory that a process occupies; 0 where it is gone, or the system does not say."""
    with suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0
