"""The table in which events wait for whoever tells people: all that the engine and the alerts know of one another."""

PENDING = """
CREATE TABLE IF NOT EXISTS pending_event (n INTEGER PRIMARY KEY AUTOINCREMENT, event_id TEXT NOT NULL UNIQUE,
  told_at INTEGER NOT NULL, row TEXT NOT NULL);
"""
