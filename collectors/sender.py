"""Decides what is sent next: what is new first, what piled up behind it, and all of it again until a receipt comes.

A message may be lost by the broker after it acknowledged it, so only the server's receipts count.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from random import Random

from cellherd.failpoint import failpoint
from collectors.entries import Batch, Numbered, batches, grown
from collectors.holes import Place
from collectors.messages import Whose, message
from collectors.orders import Receipt, Replay
from collectors.outbox import Outbox
from collectors.pace import Pace
from collectors.poison import DEADLY_S, Suspects

WINDOW = 10
"""Messages of what is new on their way without a receipt. What is old has a window of its own: pace.py."""
FIRST_S, LONGEST_S = 10.0, 300.0
"""Wait before the first resend and the longest; it doubles in between."""
JITTER = 0.2
SCAN = 2000
"""Rows that are looked at together when old ones are grouped into messages: 60 of each of 33 modules."""
NOT_ENROLLED = "unknown_module"
"""The code that concerns whole messages, whatever stands in them."""
OVERTAKEN, TRIES = 100, 5
"""A message that is silently thrown away somewhere: so many later ones had their receipts, and so many of its tries
were in vain while ones that left behind them had theirs. Tries while the server was away tell nothing.
"""
URGENT = 200
"""Urgent messages that overtake the rest; beyond that many they queue up like everything else."""
log = logging.getLogger(__name__)

Publish = Callable[[str, bytes], bool]
"""Hands a message to the broker; False if it cannot go now."""


@dataclass(slots=True)
class Flight:
    """A message on its way. Times are monotonic seconds."""

    batch: Batch
    old: bool
    due: float = 0.0
    wait_s: float = FIRST_S
    first: float = 0.0
    last: float = 0.0
    tries: int = 0
    overtaken: int = 0
    in_vain: int = 0
    """Tries behind which another message left and had its receipt."""
    passed: int = 0
    """The last of these tries."""


class Sender:
    """The window and its lanes. One thread; `turn` does what is due."""

    def __init__(self, edge: str, outbox: Outbox, publish: Publish, random: Random | None = None) -> None:
        self._whose = Whose(edge, outbox.stream)
        self._outbox, self._publish = outbox, publish
        self._random = random or Random()  # noqa: S311 - spreads resends, guards nothing
        self._urgent: deque[Batch] = deque()
        self._newest: dict[tuple[str, str], Batch] = {}
        self._old: deque[Batch] = deque()
        self._more = True
        """Whether rows may wait that stand in no lane and are not on their way."""
        self._flights: list[Flight] = []
        self._pace, self._suspects = Pace(), Suspects()
        self._now = 0.0
        self.progressed = 0.0
        """When the last turn found nothing more that it could do."""

    def committed(self, rows: Iterable[Numbered]) -> None:
        """New rows are on the disk. A module's newest reading takes the place of one that was not sent yet."""
        rows = list(rows)
        for batch in batches(row for row in rows if row.urgent):
            if len(self._urgent) < URGENT:
                self._urgent.append(batch)
            else:
                self._more = True
        for batch in batches(row for row in rows if not row.urgent):
            place = (batch.about.stack, batch.about.module)
            self._more |= place in self._newest
            self._newest[place] = batch

    def receipt(self, receipt: Receipt, now: float | None = None) -> None:
        """The server has something, or will never take it. `now` is monotonic seconds, if not given the last turn's."""
        self._now = self._now if now is None else now
        outbox = self._outbox
        outbox.receipt(receipt.stream, receipt.epoch, receipt.upto, receipt.also)
        if receipt.stream != outbox.stream:
            return
        if receipt.bad:
            self._refused(receipt.epoch, receipt.bad)
        for flight in self._flights:
            flight.batch = _rest(flight.batch, receipt)
        done = [flight for flight in self._flights if not flight.batch.seqs]
        self._flights = [flight for flight in self._flights if flight.batch.seqs]
        for flight in done:
            self._arrived(flight)
        if not self._flights:
            self._suspects.acquit()

    def _arrived(self, done: Flight) -> None:
        self._suspects.receipt()
        if done.old and done.tries == 1:
            self._pace.took(self._now - done.first)
        for flight in [flight for flight in self._flights if flight.first < done.first]:
            flight.overtaken += 1
            if flight.last <= done.first and flight.passed < flight.tries:  # lost, while the server is there
                flight.passed, flight.in_vain, flight.wait_s = flight.tries, flight.in_vain + 1, FIRST_S
                flight.due = min(flight.due, flight.last + FIRST_S)
            if flight.overtaken >= OVERTAKEN and flight.in_vain >= TRIES:
                self._flights.remove(flight)
                self._condemn(flight.batch)

    def _condemn(self, batch: Batch) -> None:
        """What never arrives goes on in halves; a single row is given up."""
        about = batch.about
        if len(batch.seqs) > 1:
            self._halve(batch)
            return
        log.error("%s %s: number %d never arrives; it is given up", about.stack, about.module, batch.seqs[0])
        self._outbox.reject([row for row, _ in self._outbox.read(batch)])

    def _refused(self, epoch: str, bad: Mapping[int, str]) -> None:
        """Give up what was refused alone. A message of several goes again in halves: one bad row harms no neighbour."""
        mine = [flight.batch for flight in self._flights if flight.batch.epoch == epoch]
        alone = {batch.seqs[0] for batch in mine if len(batch.seqs) == 1}
        lost = {seq: code for seq, code in bad.items() if seq in alone or code == NOT_ENROLLED}
        if self._outbox.refused(self._outbox.stream, epoch, lost):
            log.warning("the server refuses readings: %s", ", ".join(sorted(set(lost.values()))))
        for batch in mine:
            if any(seq in bad and seq not in lost for seq in batch.seqs):
                self._halve(batch)
                self._flights = [flight for flight in self._flights if flight.batch is not batch]

    def replay(self, replay: Replay, periods: Mapping[Place, int] | None = None) -> None:
        """The server wants something again. `periods` are ms by module, for what is gone."""
        back = self._outbox.replay(replay.stream, replay.epoch, replay.first, replay.last, periods)
        log.info("the server asks for %d to %d again: %d rows are sent again", replay.first, replay.last, back)
        self._more = True

    def reconnected(self, lost: float | None = None) -> None:
        """Nothing that was on its way counts any more. `lost` is when the last connection broke."""
        if lost is not None:
            deadly = [flight.batch for flight in self._flights if 0 <= lost - flight.last <= DEADLY_S]
            if (convict := self._suspects.broke(deadly)) is not None:
                self._condemn(convict)
        self._flights.clear()
        self._pace = Pace()
        self._more = True

    def turn(self, now: float) -> None:
        """Send again what had no receipt in time, then what the window has room for."""
        self._now = now
        self._suspects.survived(now)
        for late in [flight for flight in self._flights if flight.due <= now]:
            if late.old:
                self._pace.took(now - late.last)
            if not self._send(late, now):
                return
        while (flight := self._next(now)) is not None:
            if not self._send(flight, now):
                return
        self.progressed = now

    def _next(self, now: float) -> Flight | None:
        if self._suspects.ready():
            free = not self._flights and self._suspects.trial is None
            return Flight(self._suspects.begin(now), old=True) if free else None
        old = sum(flight.old for flight in self._flights)
        if self._urgent or self._newest:
            return self._new() if len(self._flights) - old < WINDOW else None
        if not self._old and self._more:
            found = self._outbox.pending(SCAN, self._taken())
            self._old.extend(grown(found) if len(found) == SCAN else batches(found))
            self._more = bool(self._old)
        if not self._old or not self._pace.may(now, old):
            return None
        return Flight(self._old.popleft(), old=True)

    def _new(self) -> Flight:
        if self._urgent:
            return Flight(self._urgent.popleft(), old=False)
        return Flight(self._newest.pop(next(iter(self._newest))), old=False)

    def _taken(self) -> set[tuple[str, int]]:
        lanes = (
            *self._urgent,
            *self._newest.values(),
            *(flight.batch for flight in self._flights),
            *self._suspects.waiting,
        )
        return {(batch.epoch, seq) for batch in lanes for seq in batch.seqs}

    def _send(self, flight: Flight, now: float) -> bool:
        """Returns whether the broker took it. What has nothing left to say ends here."""
        rows = self._outbox.read(flight.batch)
        timed = self._outbox.placed(rows) if rows else None
        if rows and timed is None:  # behind everything else, until the time is known
            self._old.append(flight.batch)
            self._flights = [other for other in self._flights if other is not flight]
            return True
        found = message(self._whose, timed, self._outbox.instant()) if timed else None
        if rows and found is None:
            self._divide(flight.batch, [row for row, _ in rows])
        if found is None:
            self._flights = [other for other in self._flights if other is not flight]
            return True
        if not self._publish(*found):
            self._more = True
            return False
        failpoint("sender.after_publish")
        if flight.due:
            flight.wait_s = min(2 * flight.wait_s, LONGEST_S)
        else:
            self._flights.append(flight)
            flight.first = now
        flight.last, flight.tries = now, flight.tries + 1
        flight.due = now + flight.wait_s * self._random.uniform(1 - JITTER, 1 + JITTER)
        return True

    def _divide(self, batch: Batch, rows: list[Numbered]) -> None:
        """A message that is too large goes in halves; a single row that is too large never goes."""
        if len(rows) == 1:
            log.error("%s %s: a reading is too large to be sent", batch.about.stack, batch.about.module)
            self._outbox.reject(rows)
            return
        self._halve(batch)

    def _halve(self, batch: Batch) -> None:
        middle = len(batch.seqs) // 2
        parts = (batch.seqs[middle:], batch.seqs[:middle])
        self._old.extendleft(Batch(batch.epoch, part, batch.about) for part in parts if part)


def _rest(batch: Batch, receipt: Receipt) -> Batch:
    if batch.epoch != receipt.epoch or not any(map(receipt.settles, batch.seqs)):
        return batch
    return Batch(batch.epoch, tuple(seq for seq in batch.seqs if not receipt.settles(seq)), batch.about)
