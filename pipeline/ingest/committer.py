"""The one who writes: takes what came, makes it durable, and only then says so."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from threading import Event, Thread
from time import monotonic, perf_counter, time_ns

from cellherd.failpoint import failpoint
from pipeline.ingest.intake import Intake
from pipeline.ingest.ledger import Ledger
from pipeline.ingest.replays import Replays
from pipeline.ingest.subscriber import Message, Subscriber
from pipeline.journal.deadletters import DeadLetters
from pipeline.journal.entry import Dead, Entry
from pipeline.journal.files import Journal, JournalFull
from pipeline.storing.storeroom import Stores

RETRY_S = 1.0
LETTERS_S = 5.0
HOLES_S = 0.5
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Desk:
    """Everything that the committer writes on."""

    intake: Intake
    journal: Journal
    ledger: Ledger
    letters: DeadLetters
    stores: Stores
    replays: Replays


class Committer:
    """A thread that turns about ten times a second, or every 2,000 messages. `turned` is its last turn, monotonic.

    `trouble` says why nothing can be taken in, `recoveries` how often that ended. Since the start, `commits` to the
    journal took `commit_s` seconds altogether, and so many `receipts` were given.
    """

    def __init__(self, desk: Desk, subscriber: Subscriber) -> None:
        self._desk, self._subscriber = desk, subscriber
        self._stopping = Event()
        self.turned = self._looked = self._sought = monotonic()
        self.trouble = ""
        self.recoveries = 0
        self.commits, self.commit_s, self.receipts = 0, 0.0, 0
        self._thread = Thread(target=self._run, name="committer", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def alive(self) -> bool:
        """Whether the thread lives; it ends by itself only through a mistake, and then the process must."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Commit what came, seal the segment, end."""
        self._stopping.set()
        self._thread.join(timeout=15)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._turn(self._subscriber.take())
        self._turn(self._subscriber.take(wait_s=0))
        self._seal()

    def _turn(self, messages: list[Message]) -> None:
        self.turned = monotonic()
        desk = self._desk
        outcomes = [desk.intake.take(m.topic, m.payload, m.arrival_ts) for m in messages]
        self._keep(outcomes)
        failpoint("journal-synced")
        receipts = [*desk.intake.receipts.due(monotonic(), time_ns() // 1_000_000, desk.ledger.seen)]
        self.receipts += len(receipts)
        self._subscriber.done(messages, [*receipts, *self._requests()])
        if desk.journal.due():
            self._seal()
        if self.turned - self._looked >= LETTERS_S:
            self._looked = self.turned
            self._take_letters_again()

    def _requests(self) -> Iterable[tuple[str, bytes]]:
        """For numbers that never came."""
        if self.turned - self._sought < HOLES_S:
            return ()
        self._sought = self.turned
        return self._desk.replays.due(self.turned, self._desk.intake.edges.known)

    def _keep(self, outcomes: list[Entry | Dead | None]) -> None:
        entries = [one for one in outcomes if isinstance(one, Entry)]
        dead = [one for one in outcomes if isinstance(one, Dead)]
        if dead:
            self._until_done(lambda: self._desk.letters.put(dead))
        if entries:
            self._until_done(lambda: self._append(entries))

    def _until_done(self, write: Callable[[], None]) -> None:
        """A full or failing disk stops us here: no acknowledgement, no receipt, until it takes the bytes."""
        while True:
            try:
                write()
            except (OSError, JournalFull, sqlite3.Error) as error:
                if isinstance(error, JournalFull):
                    self._seal()  # so that the stores get all there is: only they can make room
                if not self.trouble:
                    log.warning("nothing is taken in for now: %s", error)
                self.trouble = str(error)
                self.turned = monotonic()
                if self._stopping.wait(RETRY_S):
                    raise
            else:
                self.recoveries += bool(self.trouble)
                self.trouble = ""
                return

    def _append(self, entries: list[Entry]) -> None:
        begin = perf_counter()
        self._desk.journal.append(entries)
        self.commits, self.commit_s = self.commits + 1, self.commit_s + perf_counter() - begin

    def _seal(self) -> None:
        sealed = self._desk.journal.seal()
        if sealed:
            edges = tuple(self._desk.intake.edges.changed())
            self._until_done(lambda: self._desk.ledger.checkpoint(sealed, edges))
            self._desk.stores.announce(sealed)

    def _take_letters_again(self) -> None:
        for letter in self._desk.letters.wanted():
            entry = letter.dead.entry
            known = bool(entry.site)  # it passed the envelope once; its numbers are taken, only its inside was not read
            self._keep([entry if known else self._desk.intake.take(entry.topic, entry.payload, entry.arrival_ts)])
            self._desk.letters.remove(letter)
