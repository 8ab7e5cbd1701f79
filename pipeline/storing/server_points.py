"""What the server's other processes did, for the dashboards: messages to people, and how long the nights took."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

DELIVERIES = """
select count(*) filter (where state = 'sent'), count(*) filter (where state = 'failed'),
    count(*) filter (where state in ('due', 'sending')) from delivery
"""
NIGHT = "SELECT ms, ended FROM took ORDER BY day DESC LIMIT 1"
PATIENCE_S = 1.0


def told(state: Path) -> Mapping[str, int]:
    """messages_sent, messages_failed, messages_waiting; night_ms and night_ended (UTC ms) of the newest day.

    Files that are not there, or are busy, tell nothing.
    """
    messages = ("messages_sent", "messages_failed", "messages_waiting")
    night = ("night_ms", "night_ended")
    found = {messages: _row(state / "live.sqlite", DELIVERIES), night: _row(state / "nightly.db", NIGHT)}
    return {name: value for names, row in found.items() for name, value in zip(names, row, strict=False)}


def _row(file: Path, asked: str) -> tuple[int, ...]:
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, timeout=PATIENCE_S)) as database:
            return tuple(database.execute(asked).fetchone() or ())
    except sqlite3.Error:
        return ()
