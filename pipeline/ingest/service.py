"""The server's intake: MQTT in, journal, receipts; a process beside it stores. Start it, and pull any plug."""

from __future__ import annotations

import logging
import os
from contextlib import ExitStack, suppress
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any

from cellherd.config import FleetConfig, read_secret
from cellherd.errors import BadPayload, CellherdError
from cellherd.systemd import notify
from pipeline.enrolment.accounts import INGEST
from pipeline.enrolment.places import host_and_port
from pipeline.ingest.broker import EmbeddedBroker
from pipeline.ingest.committer import Committer, Desk
from pipeline.ingest.health import resident
from pipeline.ingest.intake import Intake
from pipeline.ingest.ledger import Ledger
from pipeline.ingest.pages import Pages
from pipeline.ingest.registry import Registry
from pipeline.ingest.replays import Replays
from pipeline.ingest.running import only_one
from pipeline.ingest.subscriber import Line, Subscriber
from pipeline.journal import files
from pipeline.journal.deadletters import DeadLetters
from pipeline.lifeline import settle
from pipeline.storing.storeroom import Storeroom, Stores

STALLED_S = 60.0
"""A thread that did not turn for so long is stuck; the process ends, for its supervisor to begin anew."""
SAY_EVERY_S = 60.0
TELL_EDGES_S = 10.0
log = logging.getLogger(__name__)


class Ingester:
    """All parts together. `status` tells how they are; `check` raises where one is dead."""

    def __init__(self, config: FleetConfig, state: Path, stores: Stores, line: Line) -> None:
        state.mkdir(parents=True, exist_ok=True)
        self._lock = only_one(state)
        folder = state / "journal"
        self.ledger = Ledger(state / "ledger.sqlite")
        self.letters = DeadLetters(state / "deadletters.sqlite")
        self.intake = Intake({site.edge: site.id for site in config.site}, self.ledger)
        self._recall(folder)
        disk = config.journal
        cap, reserve = round(disk.cap_gb * 2**30), disk.reserve_mb * 2**20
        self.journal = files.Journal(folder, self.ledger.checkpointed() + 1, cap=cap, reserve=reserve)
        self.stores = stores
        self.subscriber = Subscriber(line)
        self.replays = Replays(self.ledger, config.replay.after_s)
        desk = Desk(self.intake, self.journal, self.ledger, self.letters, stores, self.replays)
        self.committer = Committer(desk, self.subscriber)

    def start(self) -> None:
        """Start the threads and the stores."""
        self.stores.start(self.ledger.series(), self.journal.number - 1, self.journal.delete)
        self.committer.start()
        self.subscriber.start()
        settle()

    def stop(self) -> None:
        """Take nothing more in, seal what came, give the stores a moment for it, and let go of everything."""
        self.committer.stop()
        self.subscriber.stop()
        self.stores.stop()
        self.journal.close()
        self.ledger.close()
        self.letters.close()
        self._lock.close()

    def check(self) -> None:
        """Raise CellherdError if the broker refuses us or a part is dead or stuck."""
        if self.subscriber.refused and not self.intake.counts.messages:
            line = self.subscriber.line
            raise CellherdError(
                f"the broker at {line.host}:{line.port} refuses user {line.username!r} ({self.subscriber.refused}); "
                "check broker.username and broker.password_file"
            )
        parts: dict[str, Subscriber | Committer] = {"mqtt": self.subscriber, "committer": self.committer}
        stuck = [name for name, part in parts.items() if monotonic() - part.turned > STALLED_S or not part.alive()]
        if not self.stores.alive():
            stuck.append("stores")
        if stuck:
            raise CellherdError(f"{', '.join(stuck)}: a thread is dead or stuck; see the log above, then start again")

    def status(self) -> dict[str, Any]:
        """Figures for health pages and logs."""
        counts, known = self.intake.counts, self.intake.edges.known.copy()
        return {
            "connected": self.subscriber.connected.is_set(),
            "messages": counts.messages,
            "kept": counts.kept,
            "duplicates": counts.duplicates,
            "dead": self.letters.counts(),
            "journal_bytes": self.journal.bytes_kept(),
            "journal_trouble": self.committer.trouble,
            "journal_free": self.journal.free(),
            "journal_reserve": self.journal.reserve,
            "unsealed_s": self.journal.unsealed_s(),
            "commits": self.committer.commits,
            "commit_s": self.committer.commit_s,
            "receipts": self.committer.receipts,
            "missing": self.replays.missing(),
            "replays": self.replays.requests,
            "sealed": self.journal.number - 1,
            "sinks": {
                name: store | {"waited_s": self.journal.waited_s(int(store["at"]))}
                for name, store in self.stores.status().items()
            },
            "memory": {name: resident(pid) for name, pid in self.processes().items()},
            "edges": {name: edge.last_seen for name, edge in known.items()},
            "online": [name for name, edge in known.items() if edge.status.get("online") == 1],
        }

    def renew(self, config: FleetConfig) -> None:
        """Take the edges and sites of a registry that was read again; everything else waits for the next start."""
        self.intake.renew({site.edge: site.id for site in config.site})
        self.stores.renew(config)

    def processes(self) -> dict[str, int]:
        """The ids of our processes by what they do."""
        storing = self.stores.pid()
        return {"intake": os.getpid()} | ({"storing": storing} if storing else {})

    def _recall(self, folder: Path) -> None:
        """Learn from the segments that came after the last checkpoint, and bring the ledger up to date."""
        newer = [number for number in files.segments(folder) if number > self.ledger.checkpointed()]
        for number in newer:
            for entry in files.entries(folder, number):
                with suppress(BadPayload):  # kept by a version that was less strict
                    self.intake.recall(entry)
        if newer:
            self.ledger.checkpoint(newer[-1], ())


def run(config: FleetConfig, state: Path, stop: Event, registry: Registry | None = None) -> None:
    """Take readings in until `stop` is set. Raises CellherdError for what a person must mend.

    With a `registry`, edges that are enrolled, revoked or written into its file count from the next second on.
    """
    if config.influx is not None:  # the storing process would only fail in the log, again and again
        for installer in sorted({site.installer for site in config.site} or {""}):
            read_secret(config.influx.of(installer).token_file)
    with ExitStack() as last:
        broker, line = _line(config, state, last)
        stores = Storeroom(config, state)
        ingester = Ingester(config, state, stores, line)
        ingester.start()
        last.callback(ingester.stop)
        if config.health.listen:
            pages = Pages(config.health.listen, ingester.status)
            last.callback(pages.stop)
        last.callback(notify, "STOPPING=1")
        notify("READY=1")
        said = told = monotonic()
        recoveries = 0
        while not stop.wait(1.0):
            ingester.check()
            notify("WATCHDOG=1")
            if broker is not None and ingester.committer.recoveries > recoveries:
                recoveries = ingester.committer.recoveries
                broker.restart()  # its disk is ours: it may have failed in a way of which it says nothing
            if broker is not None:
                broker.look(monotonic())
            if registry is not None:
                registry.look(ingester, broker)
            if monotonic() - told >= TELL_EDGES_S:
                told = monotonic()
                stores.tell_edges(ingester.intake.edges.known.copy())
            if monotonic() - said >= SAY_EVERY_S:
                said = monotonic()
                log.info("%s", ingester.status())


def _line(config: FleetConfig, state: Path, last: ExitStack) -> tuple[EmbeddedBroker | None, Line]:
    """Our own broker where there is no other, and how to reach it."""
    broker = config.broker
    if broker.embedded:
        child = EmbeddedBroker(broker, state, [site.edge for site in config.site])
        last.callback(child.stop)
        child.start()
        return child, child.line()
    scheme, _, rest = broker.url.partition("://")
    if scheme not in ("mqtt", "mqtts"):
        raise CellherdError(f"broker.url {broker.url!r} must look like mqtts://host:8883")
    host, port = host_and_port(rest if ":" in rest else f"{rest}:{8883 if scheme == 'mqtts' else 1883}")
    ca_file = Path(broker.ca_file) if broker.ca_file else None
    enrolled = state / "broker" / "secrets" / INGEST  # `cellherd broker acl` made it
    file = broker.password_file or (str(enrolled) if enrolled.exists() else None)
    return None, Line(host, port, broker.username, read_secret(file), scheme == "mqtts", ca_file)
