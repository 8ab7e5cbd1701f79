"""One step of the alerts on disk: take what came in, step the machine, write state and deliveries, all or nothing.

The caller holds the lock, so what is remembered here is what stands in the file.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from cellherd.clock import Clock
from cellherd.config import FleetConfig
from cellherd.failpoint import failpoint
from pipeline.alerts import ledger
from pipeline.alerts.digest import Morning, digest
from pipeline.alerts.machine import Step, step
from pipeline.alerts.outbox import Outbox
from pipeline.alerts.people import as_person
from pipeline.alerts.rules import Rules, rules_of
from pipeline.alerts.signals import of_event, of_night
from pipeline.alerts.state import DAY, Action, Alert, Signal, earlier
from pipeline.alerts.telling import Teller

HEARTBEAT = "heartbeat"
"""The note of when the notifier beat last, UTC ms."""
SET_BACK_MS = 60_000
"""A clock that goes back by less stands still until it is there again."""
KEEP_DELIVERIES_MS = 90 * DAY
KEEP_ALERTS_MS = 120 * DAY
"""Longer than deliveries: a turn's number is never used twice while a delivery of it is known."""
log = logging.getLogger(__name__)


@dataclass(slots=True)
class Notifier:
    """The machine with its memory. `edits`: the channels that can edit."""

    database: sqlite3.Connection
    fleet: FleetConfig
    clock: Clock
    edits: frozenset[str] = frozenset()
    alerts: dict[str, Alert] = field(init=False)
    _rules: Rules = field(init=False)
    _last: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        """Remember what was."""
        self.alerts = ledger.alerts(self.database)
        self._rules = rules_of(self.fleet)
        self._last = int(ledger.note(self.database, HEARTBEAT) or 0)

    def step(self) -> int:
        """Take what waits, look at the clock, and write what came of it. Returns how many turns people are told."""
        now = self._now()
        events, others = ledger.inputs(self.database)
        signals, actions, covered = self._read(events, others)
        silences = [silence for silence in ledger.silences(self.database) if silence.end > now]
        done = step(self.alerts, (signals, actions), silences, now, self._rules)
        if events or others or done.changed or done.turns:
            with ledger.transaction(self.database):
                self._write(done, now)
                for site, day in covered.items():
                    ledger.put_note(self.database, f"covered.{site}", day)
                ledger.drop_inputs(self.database, *(rows[-1][0] if rows else 0 for rows in (events, others)))
                failpoint("alert-written")
            failpoint("alert-committed")
            self.alerts.update(done.changed)
        return len(done.turns)

    def _now(self) -> int:
        """The time, which never goes back: where the clock was set back, all that is remembered goes back with it."""
        wall = self.clock.wall()
        ahead = self._last - wall
        if ahead > SET_BACK_MS:
            log.warning("the clock was set back by %d s", ahead // 1000)
            with ledger.transaction(self.database):
                self.alerts = {name: earlier(alert, ahead) for name, alert in self.alerts.items()}
                ledger.put_alerts(self.database, list(self.alerts.values()))
                Outbox(self.database).set_back(wall, ahead)
                ledger.drop_notes(self.database, "digest.")
                ledger.put_note(self.database, HEARTBEAT, str(wall))
            self._last = wall
        self._last = max(wall, self._last)
        return self._last

    def _write(self, done: Step, now: int) -> None:
        ledger.put_alerts(self.database, list(done.changed.values()))
        Teller(Outbox(self.database), self.fleet, self.edits).tell(done.turns, now)

    def summaries(self) -> None:
        """Write the summaries that are due for those whose share of the hour was full."""
        with ledger.transaction(self.database):
            Teller(Outbox(self.database), self.fleet, self.edits).tell((), self.clock.wall())

    def mornings(self) -> int:
        """Write the digests that are due. Returns how many."""
        now, made = self.clock.wall(), 0
        covered = {site.id: ledger.note(self.database, f"covered.{site.id}") for site in self.fleet.site}
        for entry in self.fleet.person:
            person = as_person(entry, self.fleet)
            said = json.loads(ledger.note(self.database, f"digest.{person.id}") or '["", 0]')
            morning = Morning(person, said[1] or now - DAY, now, covered)
            if not morning.due(said[0]):
                continue
            found = digest(morning, self.alerts.values(), self.fleet)
            with ledger.transaction(self.database):
                if found:
                    not_before = person.may_hear_at(now, 2)
                    Outbox(self.database).put(found, person, now=now, not_before=not_before, priority=3)
                kept = now if found or not said[1] else said[1]
                ledger.put_note(self.database, f"digest.{person.id}", json.dumps([morning.day, kept]))
            made += found is not None
        return made

    def forget(self) -> None:
        """Drop what is long over."""
        now = self.clock.wall()
        old = [a.id for a in self.alerts.values() if not a.open and a.at < now - KEEP_ALERTS_MS]
        with ledger.transaction(self.database):
            self.database.executemany("DELETE FROM alert WHERE id = ?", [(name,) for name in old])
            Outbox(self.database).forget(now - KEEP_DELIVERIES_MS)
        for name in old:
            del self.alerts[name]

    def _read(
        self, events: Sequence[tuple[int, str]], others: Sequence[tuple[int, str, str]]
    ) -> tuple[list[Signal], list[Action], dict[str, str]]:
        """Inputs as values; one that cannot be read is said and left out, and harms no other."""
        signals: list[Signal] = []
        actions: list[Action] = []
        covered: dict[str, str] = {}
        for _, row in events:
            signals += _whole(lambda said: [of_event(said)], row)
        for _, kind, body in others:
            if kind == "night":
                signals += _whole(lambda said: of_night(said["rows"], said["covered"], self.alerts), body)
                covered.update(_whole(lambda said: said["covered"].items(), body))
            else:
                actions += _whole(lambda said: [msgspec.convert(said, Action)], body)
        return signals, actions, covered


def _whole(read: Any, text: str) -> list[Any]:
    try:
        return list(read(json.loads(text)))
    except (KeyError, ValueError, TypeError, AttributeError):
        log.exception("an input of the alerts cannot be read and is left out: %.200s", text)
        return []
