"""Decides what becomes of a message: kept, known already, or dead. What every store must see alike is decided here."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from cellherd.clock import EARLIEST
from cellherd.errors import BadPayload
from cellherd.topics import Topic
from pipeline.edges import Edges
from pipeline.ingest.envelope import Envelope, numbers, open_envelope, parse_topic
from pipeline.ingest.intervals import Intervals
from pipeline.ingest.ledger import Ledger
from pipeline.ingest.receipts import Receipts, Source
from pipeline.journal.entry import Dead, Entry

MOST_RUNS = 50_000
"""Holes in the numbers of one source above which no more of it is taken: no honest outbox sends such."""


log = logging.getLogger(__name__)


@dataclass(slots=True)
class Counts:
    """What came since the start, in messages, and readings and records."""

    messages: int = 0
    kept: int = 0
    duplicates: int = 0
    dead: int = 0


class Intake:
    """Takes messages one by one. `sites` is the registry: which site an edge belongs to.

    The caller makes the entries durable before it sends the receipts that are owed for them.
    """

    def __init__(self, sites: Mapping[str, str], ledger: Ledger) -> None:
        self._sites = sites
        self._ledger = ledger
        self.receipts = Receipts()
        self.edges = Edges()
        self.counts = Counts()

    def renew(self, sites: Mapping[str, str]) -> None:
        """Go on with another registry; one assignment, so that it may come from another thread."""
        self._sites = sites

    def take(self, topic: str, payload: bytes, arrival_ts: int) -> Entry | Dead | None:
        """An entry for the journal, a dead letter, or None where there is nothing new to keep."""
        self.counts.messages += 1
        try:
            parsed = parse_topic(topic)
        except BadPayload as error:
            return self._dead(topic, payload, arrival_ts, error)
        try:
            return self._placed(parsed, topic, payload, arrival_ts)
        except BadPayload as error:
            self._refuse(parsed, payload, error)
            return self._dead(topic, payload, arrival_ts, error)
        except Exception as error:
            log.exception("a message on %s shows a mistake of ours; it is kept as a dead letter", topic)
            return self._dead(topic, payload, arrival_ts, BadPayload("schema", f"our mistake: {error!r}"))

    def recall(self, entry: Entry) -> None:
        """Learn again from an entry that the ledger does not know of yet."""
        topic = parse_topic(entry.topic)
        envelope = open_envelope(topic, entry.payload)
        source = (topic.edge, envelope.stream, envelope.epoch)
        self._remember(source, self._ledger.seen(source), envelope.seqs)
        self._learn(topic, envelope, entry.arrival_ts)

    def _site(self, topic: Topic) -> str:
        site = self._sites.get(topic.edge)
        if site is None:
            raise BadPayload("unknown_module", f"edge {topic.edge!r} is not in the registry (fleet.toml)")
        return site

    def _placed(self, topic: Topic, name: str, payload: bytes, arrival_ts: int) -> Entry | None:
        site = self._site(topic)
        if topic.channel in "sh":
            self.edges.says(topic, payload, arrival_ts)
            return None
        envelope = open_envelope(topic, payload)
        source = (topic.edge, envelope.stream, envelope.epoch)
        known = self._ledger.seen(source)
        if len(known) > MOST_RUNS:
            raise BadPayload("range", f"more than {MOST_RUNS} holes in the numbers of epoch {envelope.epoch}")
        seqs = envelope.seqs
        skip = known.among(seqs) if seqs[0] <= known.after() else ()
        self.edges.came(topic.edge, arrival_ts)
        self.receipts.owe(source, seqs)
        self.counts.duplicates += len(skip)
        offset = self._learn(topic, envelope, arrival_ts)
        if len(skip) == len(seqs):
            return None
        unit = self._ledger.identity.unit(site, (topic.edge, topic.stack, topic.module))
        self._remember(source, known, seqs)
        self.counts.kept += len(seqs) - len(skip)
        return Entry(name, payload, arrival_ts, site, unit, offset, skip)

    def _remember(self, source: Source, known: Intervals, seqs: list[int]) -> None:
        if seqs[-1] - seqs[0] + 1 == len(seqs):  # they are distinct and in order
            known.add(seqs[0], seqs[-1])
        else:
            known.add_all(seqs)
        self._ledger.touch(source)

    def _learn(self, topic: Topic, envelope: Envelope, arrival_ts: int) -> int | None:
        offset = self._ledger.anchor(topic.edge, envelope.boot, arrival_ts - envelope.sent_bt)
        if envelope.serial is not None:
            place = (topic.edge, topic.stack, topic.module)
            self._ledger.identity.learn(place, envelope.serial, _said(envelope, offset, arrival_ts))
        if envelope.gone is not None:
            epoch, first, last = envelope.gone
            self._ledger.tell((topic.edge, envelope.stream, epoch), first, last)
        return None if envelope.clk == "ntp" else offset

    def _refuse(self, topic: Topic, payload: bytes, error: BadPayload) -> None:
        found = numbers(topic, payload)
        if found is not None:
            stream, epoch, seqs = found
            self.receipts.refuse((topic.edge, stream, epoch), seqs, error.code)
            if len(seqs) == 1 and topic.edge in self._sites:  # of several the good ones come again
                self._ledger.tell((topic.edge, stream, epoch), seqs[0], seqs[0])

    def _dead(self, topic: str, payload: bytes, arrival_ts: int, error: BadPayload) -> Dead:
        self.counts.dead += 1
        return Dead(Entry(topic, payload, arrival_ts, "", ""), error.code, error.reason)


def _said(envelope: Envelope, offset_ms: int, arrival_ts: int) -> int:
    """When a record was made, UTC ms, by the clock that counts for readings too; at the latest when it came."""
    if envelope.when is None:
        return arrival_ts
    own, bt = envelope.when
    ts = own if envelope.clk in ("ntp", "srv") else offset_ms + bt
    return ts if EARLIEST <= ts <= arrival_ts else arrival_ts
