"""What was told and what has still to be told, in one SQLite file: nothing is forgotten, nothing told twice by design.

A trouble's state and its messages change in one transaction. An attempt is written down before it is made and its
result after it, so a power cut in between repeats one message at most. The file is locked while it is open.
"""

from __future__ import annotations

import fcntl
import json
import sqlite3
from collections.abc import Iterable
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.alerts.channel import Message as Words
from pipeline.alerts.channel import Recipient

if TYPE_CHECKING:
    from collections.abc import Iterator

SCHEMA = """
CREATE TABLE IF NOT EXISTS trouble (
    fingerprint TEXT PRIMARY KEY, site TEXT, state TEXT NOT NULL, turn INTEGER NOT NULL,
    day TEXT NOT NULL, words TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS message (
    number INTEGER PRIMARY KEY, key TEXT NOT NULL, channel TEXT NOT NULL, address TEXT NOT NULL, alert TEXT NOT NULL,
    picture BLOB, state TEXT NOT NULL DEFAULT 'due', attempts INTEGER NOT NULL DEFAULT 0,
    not_before REAL NOT NULL DEFAULT 0, said TEXT NOT NULL DEFAULT '', UNIQUE (key, channel, address)
) STRICT;
"""


@dataclass(frozen=True, slots=True)
class Trouble:
    """A trouble as it was last seen. `turn` counts how often it came and went; `words` is what was told, as JSON."""

    fingerprint: str
    site: str | None
    state: str
    turn: int
    day: str
    words: str

    def key(self, turn: int | None = None) -> str:
        """Name of this turn's message."""
        return f"{self.fingerprint}.{self.turn if turn is None else turn}"


@dataclass(frozen=True, slots=True)
class Message:
    """A message that is due to one person."""

    number: int
    recipient: Recipient
    alert: Words
    attempts: int


class Outbox:
    """Troubles and messages. Open it with `opened`."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._db = database

    def troubles(self) -> dict[str, Trouble]:
        """Every trouble ever told, by fingerprint."""
        rows = self._db.execute("SELECT fingerprint, site, state, turn, day, words FROM trouble")
        return {row[0]: Trouble(*row) for row in rows}

    def change(self, changes: Iterable[tuple[Trouble, Words | None, list[Recipient]]]) -> None:
        """Write troubles and what has to be told of them, all or nothing."""
        with self._db:
            for trouble, alert, people in changes:
                row = (*asdict(trouble).values(),)
                self._db.execute("INSERT OR REPLACE INTO trouble VALUES (?, ?, ?, ?, ?, ?)", row)
                if alert:
                    self._put(alert, people)

    def _put(self, alert: Words, people: Iterable[Recipient]) -> None:
        words = json.dumps(asdict(replace(alert, picture=None)))
        self._db.executemany(
            "INSERT OR IGNORE INTO message (key, channel, address, alert, picture) VALUES (?, ?, ?, ?, ?)",
            [(alert.key, person.channel, person.address, words, alert.picture) for person in people],
        )

    def due(self, now: float) -> list[Message]:
        """Messages that may be tried now (seconds since 1970), oldest first."""
        asked = (
            "SELECT number, channel, address, alert, picture, attempts FROM message "
            "WHERE state = 'due' AND not_before <= ? ORDER BY number"
        )
        return [
            Message(
                number,
                Recipient(channel, address),
                replace(Words(**json.loads(words)), picture=picture),
                attempts,
            )
            for number, channel, address, words, picture, attempts in self._db.execute(asked, (now,))
        ]

    def waiting(self) -> tuple[int, float | None]:
        """How many messages wait, and when the first of them may be tried."""
        n, first = self._db.execute("SELECT count(*), min(not_before) FROM message WHERE state = 'due'").fetchone()
        return n, first

    def attempt(self, number: int) -> None:
        """Write down that a message is about to be sent."""
        with self._db:
            self._db.execute("UPDATE message SET attempts = attempts + 1 WHERE number = ?", (number,))

    def result(self, number: int, state: str, said: str = "", not_before: float = 0.0) -> None:
        """Write down what became of an attempt: `sent`, `failed` for good, or `due` again. A sent picture is let go."""
        with self._db:
            self._db.execute(
                "UPDATE message SET state = ?1, said = ?2, not_before = ?3, picture = iif(?1 = 'due', picture, NULL) "
                "WHERE number = ?4",
                (state, said, not_before, number),
            )

    def hold(self, channel: str, until: float) -> None:
        """Leave a whole channel alone until then, because it asked for it."""
        with self._db:
            self._db.execute(
                "UPDATE message SET not_before = max(not_before, ?) WHERE state = 'due' AND channel = ?",
                (until, channel),
            )


@contextmanager
def opened(state: Path) -> Iterator[Outbox]:
    """The outbox in the state folder, for one process at a time; another one waits."""
    state.mkdir(parents=True, exist_ok=True)
    with (state / "alerts.lock").open("w") as lock, closing(sqlite3.connect(state / "alerts.sqlite")) as database:
        fcntl.flock(lock, fcntl.LOCK_EX)
        database.executescript(f"PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; {SCHEMA}")
        yield Outbox(database)
