"""From turns to deliveries: who hears of it, when they may hear it, and what is too much for one hour."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cellherd.config import FleetConfig
from pipeline.alerts.addresses import muted_until
from pipeline.alerts.channel import PROGRAMS, Message
from pipeline.alerts.messages import listed, message
from pipeline.alerts.news import news_of, plot_of
from pipeline.alerts.outbox import Outbox
from pipeline.alerts.people import URGENT, Person, known, person_of, told_of
from pipeline.alerts.rules import MINUTE
from pipeline.alerts.state import Turn
from pipeline.sentences import clock, say

HOUR = 60 * MINUTE
LISTED = 20
SUMMARY_MS = {1: MINUTE, 2: 15 * MINUTE, 3: 15 * MINUTE}
"""Summaries come at most so often, by the highest urgency in them."""


@dataclass(frozen=True, slots=True)
class Teller:
    """Writes deliveries into an outbox, in the transaction of whoever calls. `edits`: channels that can edit."""

    outbox: Outbox
    fleet: FleetConfig
    edits: frozenset[str]

    def tell(self, turns: Iterable[Turn], now: int) -> None:
        """Write down what turns have people told."""
        for turn in turns:
            if turn.kind in ("changed", "resolved"):
                self._follow(turn, now)
                continue
            people = self._asked(turn, now)
            for person in people:
                self._put(turn, person, now)
        self._summaries(now)

    def _asked(self, turn: Turn, now: int) -> list[Person]:
        if turn.kind == "escalated":
            return [person_of(turn.why, self.fleet, now)]
        people = {person.id: person for person in told_of(turn.alert.site, turn.alert.priority, self.fleet, now)}
        for name, way, _ in self.outbox.told(turn.alert.id, now):
            people.setdefault(name, known(name, way, self.fleet))
        return list(people.values())

    def _follow(self, turn: Turn, now: int) -> None:
        """What changes a message is told to those who were told; whose morning it waits for will not be disturbed."""
        for name, way, waits in self.outbox.told(turn.alert.id, now):
            if turn.kind == "resolved" and waits:
                self.outbox.drop(turn.alert.id, way)
            elif turn.kind == "resolved" or way.channel in self.edits:
                self._put(turn, known(name, way, self.fleet), now)

    def _put(self, turn: Turn, person: Person, now: int) -> None:
        urgency, way = turn.alert.priority, person.ways[0]
        said = message(news_of(turn, self.fleet, person, now))
        silent = turn.kind in ("changed", "resolved") and way.channel in self.edits
        counted = not silent and way.channel not in PROGRAMS
        much = counted and self.outbox.lately(person, now - HOUR) >= self.fleet.alerts.flood_per_hour
        first = person.may_hear_at(now, urgency)
        if urgency > URGENT:
            first = max(first, muted_until(self.outbox.database, way))
        self.outbox.put(
            said, person, now=now, not_before=now if silent else first, priority=urgency,
            plot=plot_of(turn.alert, person.language) if turn.kind not in ("changed", "resolved") else None,
            state="collapsed" if much else "due",
        )  # fmt: skip

    def _summaries(self, now: int) -> None:
        """One message instead of many, for those who have had their share of this hour."""
        for name, way, priority, rows in self.outbox.collapsed():
            last = self.outbox.last(way, "summary")
            person = known(name, way, self.fleet)
            if now - last < SUMMARY_MS[min(priority, 3)] or person.may_hear_at(now, priority) > now:
                continue
            said = summary(f"summary.{way.channel}.{way.address}.{now}", [subject for _, subject in rows], person, now)
            self.outbox.put(said, person, now=now, not_before=now, priority=priority)
            self.outbox.summarised([number for number, _ in rows], said.key)


def summary(key: str, subjects: list[str], person: Person, now: int) -> Message:
    """Many messages as one."""
    language, left = person.language, len(subjects) - LISTED
    more = [say(language, "summary_more", n=left)] if left > 0 else []
    title = say(language, "summary_title", n=len(subjects), at=clock(now, person.tz, language))
    return listed(key, "summary", title, subjects[:LISTED] + more, language)
