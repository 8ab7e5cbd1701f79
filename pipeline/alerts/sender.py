"""Sends what is due by one channel: at least once, with patience, and with every attempt written down."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from threading import Event
from typing import Any

from cellherd.clock import Clock
from cellherd.config import FleetConfig
from cellherd.failpoint import failpoint
from pipeline.alerts import addresses
from pipeline.alerts.channel import Channel, ChannelName, Message, NotSent
from pipeline.alerts.messages import listed
from pipeline.alerts.outbox import EDITED, Delivery, Outbox
from pipeline.alerts.people import Person, address, as_person
from pipeline.alerts.rules import MINUTE
from pipeline.sentences import say

BACKOFF_MS = 15_000
LONGEST_MS = 60 * MINUTE
IDLE_S = 0.5
Draw = Callable[[Mapping[str, Any]], bytes | None]
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class NoWay:
    """The channel that a route names and fleet.toml does not set up."""

    name: str
    edits: bool = False

    def send(self, _address: str, _message: Message) -> str:
        """Say so. Raises NotSent."""
        raise NotSent(f"fleet.toml sets up no [{self.name}]", final=True)

    def edit(self, address: str, _reference: str, message: Message) -> str:
        """Say so. Raises NotSent."""
        return self.send(address, message)


@dataclass(slots=True)
class Sender:
    """One channel's way out. Only one process sends at a time: the caller holds the lock."""

    name: ChannelName
    way: Channel
    outbox: Outbox
    fleet: FleetConfig
    clock: Clock
    draw: Draw | None = None
    backoff_ms: int = BACKOFF_MS
    failed: list[str] = field(default_factory=list)
    news: Event = field(default_factory=Event)
    """Set by whoever has put something into the outbox, or wants `run` to end."""
    turned: int = 0
    """When it looked for work last, UTC ms: a sender that hangs shows by it."""

    def run(self, stop: Event) -> None:
        """Send until `stop` is set."""
        while not stop.is_set():
            try:
                sent = self.send_due()
            except Exception:
                log.exception("sending by %s failed; the next round tries again", self.name)
                sent = 0
            self.failed.clear()
            if not sent:
                self.news.wait(IDLE_S)
            self.news.clear()

    def send_due(self) -> int:
        """Try everything that is due now, each once. Returns how many left."""
        self.turned = now = self.clock.wall()
        for late in self.outbox.late(self.name, now, round(self.fleet.alerts.second_after_min * MINUTE)):
            self._give_up(late, f"{self.name} took too long", now)
        sent = 0
        for delivery in self.outbox.due(self.name, now):
            self.turned = self.clock.wall()
            held, left = self._try(delivery)
            sent += left
            if held:
                break
        return sent

    def _try(self, delivery: Delivery) -> tuple[bool, bool]:
        """One attempt: whether the channel wants a pause, and whether the message left."""
        told = addresses.closed(self.outbox.database, delivery.recipient, self.clock.wall())
        if told and delivery.spare:
            self._give_up(delivery, told, self.clock.wall())
            return False, False
        message = self._with_picture(delivery)
        self.outbox.attempt(delivery.number, self.clock.wall())
        failpoint("alert-attempt")
        try:
            reference = self._send(delivery, message)
        except NotSent as error:
            return self._refused(delivery, error), False
        except Exception as error:
            log.exception("a bug in the channel %s", self.name)
            return self._refused(delivery, NotSent(f"{type(error).__name__} in {self.name}", unsure=True)), False
        failpoint("alert-sent")
        addresses.reopen(self.outbox.database, delivery.recipient)
        self.outbox.sent(delivery.number, self.clock.wall(), reference)
        failpoint("alert-noted")
        return False, True

    def _send(self, delivery: Delivery, message: Message) -> str:
        try:
            return self._tell(delivery, message)
        except NotSent as error:
            if not error.moved:
                raise
            addresses.move(self.outbox.database, delivery.recipient, error.moved)
            log.warning("%s %s is %s now: write it into fleet.toml", self.name, delivery.recipient.address, error.moved)
        return self._tell(delivery, message)

    def _tell(self, delivery: Delivery, message: Message) -> str:
        to = addresses.now_at(self.outbox.database, delivery.recipient).address
        if delivery.reference and self.way.edits:
            try:
                return self.way.edit(to, delivery.reference, replace(message, repeat=False))
            except NotSent as error:
                if not error.final or message.kind not in EDITED or message.kind == "changed":
                    raise
        return self.way.send(to, message)

    def _with_picture(self, delivery: Delivery) -> Message:
        if delivery.plot is None or self.draw is None:
            return delivery.message
        try:
            return replace(delivery.message, picture=self.draw(delivery.plot))
        except Exception:
            log.exception("no picture for %s", delivery.message.key)
            return delivery.message

    def _refused(self, delivery: Delivery, error: NotSent) -> bool:
        now = self.clock.wall()
        told = f"{self.name} to {delivery.recipient.address}: {error}"
        if error.gone:
            addresses.close(self.outbox.database, delivery.recipient, now, told)
        if error.final:
            self.failed.append(told)
            self._give_up(delivery, told, now)
            return False
        pause = min(self.backoff_ms * 2 ** min(delivery.attempts, 20), LONGEST_MS)
        wait = round(1000 * error.retry_s) if error.retry_s is not None else pause
        self.outbox.again(delivery.number, told, now + wait, unsure=error.unsure)
        if error.retry_s is not None:
            self.outbox.hold(self.name, now + wait)
        return error.retry_s is not None

    def _give_up(self, delivery: Delivery, told: str, now: int) -> None:
        """This way is closed: the person's other one, else whoever looks after such things, takes it on."""
        log.warning("not sent: %s", told)
        if delivery.spare and delivery.message.kind != "changed":
            other = Person(delivery.person, (delivery.spare,))
            self.outbox.put(delivery.message, other, now=now, not_before=now, priority=delivery.priority)
        elif delivery.message.kind not in ("changed", "digest"):
            self._tell_caretaker(delivery, told, now)
        self.outbox.failed(delivery.number, now, told)

    def _tell_caretaker(self, delivery: Delivery, told: str, now: int) -> None:
        name = self.fleet.alerts.caretaker
        entry = next((entry for entry in self.fleet.person if entry.id == name and name != delivery.person), None)
        if entry is None:
            return
        person = as_person(entry, self.fleet)
        lines = [say(person.language, "not_told", subject=delivery.message.subject), told]
        title = say(person.language, "undelivered")
        said = listed(f"undelivered.{delivery.number}", "summary", title, lines, person.language)
        ways = [way for way in person.ways if way != delivery.recipient]
        for way in ways[:1]:
            self.outbox.put(said, address(way), now=now, not_before=now, priority=delivery.priority)
