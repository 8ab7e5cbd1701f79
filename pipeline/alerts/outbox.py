"""What has still to be told, and what became of it: nothing is forgotten, nothing told twice by design.

An attempt is written down before it is made and its result after it, so a process that dies in between repeats one
message at most, and says that it may be one.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from pipeline.alerts.channel import Message, Recipient
from pipeline.alerts.ledger import transaction
from pipeline.alerts.people import Person

EDITED = ("changed", "resolved")
"""Kinds that take the place of an earlier message where the channel can do that, and so come after it."""
COUNTED = "('raised', 'again', 'escalated', 'chattering')"
BLOCKED = (
    "(kind IN ('changed', 'resolved') AND EXISTS (SELECT 1 FROM delivery e WHERE e.thread = d.thread "
    "AND e.channel = d.channel AND e.address = d.address AND e.number < d.number AND e.state IN ('due', 'sending')))"
)
COLUMNS = "number, channel, address, person, message, attempts, priority, spare, plot, repeat, first"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message on its way to one address. `spare` is the person's other way; times are UTC ms."""

    number: int
    recipient: Recipient
    person: str
    message: Message
    attempts: int
    priority: int
    spare: Recipient | None = None
    plot: dict[str, Any] | None = None
    reference: str = ""
    first: int = 0


@dataclass(frozen=True, slots=True)
class Outbox:
    """The deliveries of one file."""

    database: sqlite3.Connection

    def put(  # noqa: PLR0913 - a row has these columns
        self, message: Message, person: Person, *, now: int, not_before: int, priority: int, plot: Any = None,
        state: str = "due",
    ) -> None:  # fmt: skip
        """Write a message for a person, by the first of their ways; the same one again changes nothing."""
        way, *more = person.ways
        first = max(now, not_before)
        row = (
            message.key, message.kind, message.thread, priority, person.id, way.channel, way.address,
            json.dumps(asdict(more[0])) if more else None, json.dumps(asdict(replace(message, picture=None))),
            json.dumps(plot, default=str) if plot else None, state, now, first, first,
        )  # fmt: skip
        self.database.execute(
            "INSERT OR IGNORE INTO delivery (key, kind, thread, priority, person, channel, address, spare, message, "
            "plot, state, queued, first, not_before) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            row,
        )

    def lately(self, person: Person, since: int) -> int:
        """How many new messages a person's first way was given since then."""
        way = person.ways[0]
        asked = f"SELECT count(*) FROM delivery WHERE channel = ? AND address = ? AND queued > ? AND kind IN {COUNTED}"  # noqa: S608 - a constant
        return int(self.database.execute(asked, (way.channel, way.address, since)).fetchone()[0])

    def last(self, way: Recipient, kind: str) -> int:
        """When a way was given a message of this kind last, UTC ms; 0 if it never was."""
        asked = "SELECT coalesce(max(queued), 0) FROM delivery WHERE channel = ? AND address = ? AND kind = ?"
        return int(self.database.execute(asked, (way.channel, way.address, kind)).fetchone()[0])

    def told(self, thread: str, now: int) -> list[tuple[str, Recipient, bool]]:
        """Who was told of a trouble since it was last over: person, way, and whether all of it waits for morning."""
        asked = (
            "SELECT person, channel, address, min(state = 'due' AND attempts = 0 AND first > ?2) FROM delivery "
            "WHERE thread = ?1 AND number > coalesce((SELECT max(number) FROM delivery WHERE thread = ?1 "
            "AND kind = 'resolved'), 0) AND state != 'dropped' GROUP BY person, channel, address ORDER BY min(number)"
        )
        rows = self.database.execute(asked, (thread, now))
        return [(person, Recipient(channel, address), bool(waits)) for person, channel, address, waits in rows]

    def drop(self, thread: str, way: Recipient) -> None:
        """Let go what waits for somebody's morning about a trouble that is over."""
        self.database.execute(
            "UPDATE delivery SET state = 'dropped', said = 'over before quiet hours ended' WHERE thread = ? "
            "AND channel = ? AND address = ? AND state = 'due' AND attempts = 0",
            (thread, way.channel, way.address),
        )

    def due(self, channel: str, now: int) -> list[Delivery]:
        """Messages that may be tried now by a channel, the most urgent first. An edit waits for what it edits."""
        asked = (
            f"SELECT {COLUMNS} FROM delivery d "  # noqa: S608 - a constant
            "WHERE state = 'due' AND channel = ? AND not_before <= ? "
            f"AND NOT {BLOCKED} ORDER BY priority, number LIMIT 50"
        )
        return [self._delivery(row) for row in self.database.execute(asked, (channel, now))]

    def _delivery(self, row: Sequence[Any]) -> Delivery:
        number, channel, address, person, words, attempts, priority, spare, plot, repeat, first = row
        said = json.loads(words)
        message = replace(Message(**{**said, "choices": tuple(said["choices"])}), repeat=bool(repeat))
        asked = (
            "SELECT reference FROM delivery WHERE thread = ? AND channel = ? AND address = ? AND number < ? "
            "AND reference != '' AND kind NOT IN ('changed', 'resolved') ORDER BY number DESC LIMIT 1"
        )
        edits = message.kind in EDITED and message.thread
        found = self.database.execute(asked, (message.thread, channel, address, number)).fetchone() if edits else None
        return Delivery(
            number, Recipient(channel, address), person, message, attempts, priority,
            Recipient(**json.loads(spare)) if spare else None, json.loads(plot) if plot else None,
            found[0] if found else "", first,
        )  # fmt: skip

    def waiting(self) -> tuple[int, int | None]:
        """How many messages wait, and when the first of them may be tried (UTC ms)."""
        first = f"min(CASE WHEN NOT {BLOCKED} THEN not_before END)"
        asked = f"SELECT count(*), {first} FROM delivery d WHERE state IN ('due', 'sending')"  # noqa: S608 - constants
        n, first = self.database.execute(asked).fetchone()
        return n, first

    def recover(self) -> int:
        """After a start: attempts without a result may have arrived. They are made again, and say so."""
        asked = "UPDATE delivery SET state = 'due', repeat = 1 WHERE state = 'sending'"
        return self.database.execute(asked).rowcount

    def attempt(self, number: int, now: int) -> None:
        """Write down that a message is about to be sent."""
        with transaction(self.database):
            self.database.execute(
                "UPDATE delivery SET attempts = attempts + 1, state = 'sending' WHERE number = ?", (number,)
            )
            self.database.execute("INSERT INTO attempt (delivery, at) VALUES (?, ?)", (number, now))

    def sent(self, number: int, now: int, reference: str) -> None:
        """It left."""
        with transaction(self.database):
            self._end(number, now, "sent", "")
            self.database.execute("UPDATE delivery SET reference = ? WHERE number = ?", (reference, number))

    def failed(self, number: int, now: int, said: str) -> None:
        """It will never leave by this way."""
        with transaction(self.database):
            self._end(number, now, "failed", said)

    def again(self, number: int, said: str, not_before: int, *, unsure: bool) -> None:
        """It did not leave; try again later. `unsure`: or did it?"""
        with transaction(self.database):
            self._outcome(number, "unsure" if unsure else "not sent", said)
            self.database.execute(
                "UPDATE delivery SET state = 'due', said = ?, not_before = ?, repeat = max(repeat, ?) WHERE number = ?",
                (said, not_before, unsure, number),
            )

    def _end(self, number: int, now: int, state: str, said: str) -> None:
        self._outcome(number, state, said)
        row = (state, said, now, number)
        self.database.execute("UPDATE delivery SET state = ?, said = ?, ended = ? WHERE number = ?", row)

    def _outcome(self, number: int, outcome: str, said: str) -> None:
        self.database.execute(
            "UPDATE attempt SET outcome = ?, said = ? WHERE delivery = ? AND outcome = 'unknown' "
            "AND rowid = (SELECT max(rowid) FROM attempt WHERE delivery = ?)",
            (outcome, said, number, number),
        )

    def hold(self, channel: str, until: int) -> None:
        """Leave a whole channel alone until then, because it asked for it."""
        self.database.execute(
            "UPDATE delivery SET not_before = max(not_before, ?) WHERE state = 'due' AND channel = ?", (until, channel)
        )

    def late(self, channel: str, now: int, patience: int) -> list[Delivery]:
        """Messages that were tried in vain for too long and have another way to go."""
        asked = (
            f"SELECT {COLUMNS} FROM delivery "  # noqa: S608 - a constant
            "WHERE state = 'due' AND channel = ? AND spare IS NOT NULL AND attempts > 0 AND first + ? <= ?"
        )
        return [self._delivery(row) for row in self.database.execute(asked, (channel, patience, now))]

    def collapsed(self) -> list[tuple[str, Recipient, int, list[tuple[int, str]]]]:
        """What the flood guard keeps back: person, way, highest urgency, and the messages' numbers and subjects."""
        found: dict[tuple[str, str, str], list[tuple[int, str, int]]] = {}
        asked = (
            "SELECT person, channel, address, number, json_extract(message, '$.subject'), priority FROM delivery "
            "WHERE state = 'collapsed' ORDER BY priority, number"
        )
        for person, channel, address, *row in self.database.execute(asked):
            found.setdefault((person, channel, address), []).append((row[0], row[1], row[2]))
        return [
            (person, Recipient(channel, address), min(p for *_, p in rows), [(n, s) for n, s, _ in rows])  # type: ignore[arg-type]
            for (person, channel, address), rows in found.items()
        ]

    def summarised(self, numbers: Sequence[int], key: str) -> None:
        """These were told in a summary."""
        self.database.executemany(
            "UPDATE delivery SET state = 'summarised', said = ? WHERE number = ?", [(key, number) for number in numbers]
        )

    def set_back(self, now: int, ms: int) -> None:
        """The clock was set back by so much: nothing waits for a time of the old one, nor counts as sent after now."""
        self.database.execute(
            "UPDATE delivery SET queued = min(queued, ?1), first = first - ?2, not_before = not_before - ?2 "
            "WHERE queued > ?1 OR state IN ('due', 'sending', 'collapsed')",
            (now, ms),
        )

    def forget(self, before: int) -> None:
        """Drop what ended before a time."""
        old = "SELECT number FROM delivery WHERE queued < ? AND state NOT IN ('due', 'sending', 'collapsed')"
        self.database.execute(f"DELETE FROM attempt WHERE delivery IN ({old})", (before,))  # noqa: S608 - a constant
        self.database.execute(f"DELETE FROM delivery WHERE number IN ({old})", (before,))  # noqa: S608 - a constant
