"""What is remembered of an address beside its messages: that it moved, takes nothing any more, or rests."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass, replace

from pipeline.alerts import ledger
from pipeline.alerts.channel import ChannelName, Recipient
from pipeline.alerts.state import DAY

TRIED_AGAIN_MS = DAY
"""A closed address is tried again after so long, for somebody may have opened it without a word to us."""


@dataclass(frozen=True, slots=True)
class Closed:
    """An address that took nothing at `at` (UTC ms), and what the other side said."""

    way: Recipient
    at: int
    said: str


def close(database: sqlite3.Connection, way: Recipient, now: int, said: str) -> None:
    """It takes nothing from us any more."""
    ledger.put_note(database, _name("closed", way), json.dumps([now, said]))


def reopen(database: sqlite3.Connection, way: Recipient) -> None:
    """It took something, or somebody wrote to us from there."""
    if ledger.note(database, _name("closed", way)):
        ledger.put_note(database, _name("closed", way), "")


def closed(database: sqlite3.Connection, way: Recipient, now: int) -> str:
    """Why an address is left alone for now; "" if it is not."""
    at, said = json.loads(ledger.note(database, _name("closed", way)) or '[0, ""]')
    return str(said) if at + TRIED_AGAIN_MS > now else ""


def all_closed(database: sqlite3.Connection) -> list[Closed]:
    """Every address that is closed, for those who set up the fleet."""
    rows = database.execute(
        "SELECT name, value FROM alert_note WHERE name LIKE 'closed.%' AND value != '' ORDER BY name"
    )
    return [Closed(_way(name), *json.loads(value)) for name, value in rows]


def move(database: sqlite3.Connection, way: Recipient, to: str) -> None:
    """It has another name from now on."""
    ledger.put_note(database, _name("moved", way), to)


def now_at(database: sqlite3.Connection, way: Recipient) -> Recipient:
    """The address by the name that it has now."""
    to = ledger.note(database, _name("moved", way))
    return replace(way, address=to) if to else way


def was_at(database: sqlite3.Connection, address: str) -> str:
    """The name by which fleet.toml knows a chat that may have moved."""
    asked = "SELECT name FROM alert_note WHERE name LIKE 'moved.telegram.%' AND value = ?"
    found = database.execute(asked, (address,)).fetchone()
    return _way(found[0]).address if found else address


def mute(database: sqlite3.Connection, way: Recipient, until: int) -> None:
    """Nothing but the most urgent until then (UTC ms); 0 ends it."""
    ledger.put_note(database, _name("muted", way), str(until))


def muted_until(database: sqlite3.Connection, way: Recipient) -> int:
    """Until when an address rests, UTC ms; 0 if nobody asked for it."""
    return int(ledger.note(database, _name("muted", way)) or 0)


def _name(what: str, way: Recipient) -> str:
    return f"{what}.{way.channel}.{way.address}"


def _way(name: str) -> Recipient:
    _, channel, address = name.split(".", 2)
    known: dict[str, ChannelName] = {"telegram": "telegram", "mail": "mail", "webhook": "webhook"}
    return Recipient(known[channel], address)
