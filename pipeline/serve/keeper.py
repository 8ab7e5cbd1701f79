"""Keeps what the pages show fresh: the live state every few seconds, the report every quarter of an hour."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Lock, Thread

from deltalake.exceptions import DeltaError
from polars.exceptions import PolarsError
from prometheus_client import CollectorRegistry, Gauge, generate_latest

from cellherd.config import FleetConfig
from cellherd.errors import CellherdError
from pipeline.report import build
from pipeline.serve.now import Now
from pipeline.serve.pages import Answer, Page, as_json
from pipeline.stores.archive import Archive

REFRESH_S = 5.0
REPORT_S = 900.0
STALE_MS = 120_000
WAIT = (
    b'<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="5"><title>CellHerd</title>'
    b"<p>The report is being made; this page comes back by itself.</p>"
)
log = logging.getLogger(__name__)


class Keeper:
    """Two threads around an archive. A store that is away leaves the last state standing, and /healthz says so."""

    def __init__(self, store: Archive, fleet: FleetConfig, folder: Path, wall: Callable[[], int]) -> None:
        self._store, self._fleet, self._wall = store, fleet, wall
        self._report = folder / "report.html"
        self._now = Now(fleet)
        self._lock, self._stopping = Lock(), Event()
        self._troubles: dict[str, str] = {}
        self._threads = [
            Thread(target=self._every, args=(REFRESH_S, self.refresh), name="live", daemon=True),
            Thread(target=self._every, args=(REPORT_S, self.write_report), name="report", daemon=True),
        ]

    def start(self) -> None:
        """Begin to read."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Read no more."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(timeout=5)

    def pages(self) -> dict[str, Page]:
        """The pages by their path."""
        return {
            "/state.json": self._state,
            "/report": self._report_page,
            "/healthz": self._healthz,
            "/metrics": self._metrics,
        }

    def refresh(self) -> None:
        """Read what has arrived."""
        now = self._wall()
        with self._lock:
            self._now.refresh(self._store, now)

    def write_report(self) -> None:
        """Write the report anew, whole or not at all."""
        build(self._store, self._fleet, datetime.fromtimestamp(self._wall() / 1000, UTC).date(), self._report)

    def _every(self, seconds: float, work: Callable[[], None]) -> None:
        while True:
            try:
                work()
                self._say(work.__name__, "")
            except (CellherdError, DeltaError, PolarsError, OSError) as error:
                self._say(work.__name__, f"the archive cannot be read: {error}")
            if self._stopping.wait(seconds):
                return

    def _say(self, work: str, trouble: str) -> None:
        if trouble and trouble != self._troubles.get(work):
            log.warning("%s; the last state stays", trouble)
        self._troubles[work] = trouble

    def _state(self) -> Answer:
        with self._lock:
            return as_json(self._now.state(self._wall()))

    def _report_page(self) -> Answer:
        try:
            return Answer(200, "text/html; charset=utf-8", self._report.read_bytes())
        except FileNotFoundError:
            return Answer(503, "text/html; charset=utf-8", WAIT, {"Retry-After": "5"})

    def _reasons(self) -> list[str]:
        old = self._wall() - self._now.read_at > STALE_MS
        told = {*self._troubles.values(), "the archive was not read for two minutes" if old else ""}
        return sorted(told - {""})

    def _healthz(self) -> Answer:
        why = self._reasons()
        return as_json({"healthy": not why, "reasons": why}, 503 if why else 200)

    def _metrics(self) -> Answer:
        registry = CollectorRegistry()
        with self._lock:
            told = self._now.state(self._wall())
        sums = Gauge("cellherd_serve_modules", "Modules shown, by state", ["state"], registry=registry)
        for state, count in told["sums"].items():
            sums.labels(state).set(count)
        if told["newest"] is not None:
            age = Gauge("cellherd_serve_newest_reading_age_seconds", "Age of the newest reading", registry=registry)
            age.set((told["now"] - told["newest"]) / 1000)
        return Answer(200, "text/plain; version=0.0.4; charset=utf-8", generate_latest(registry))
