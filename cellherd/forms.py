"""The form of a file of ours: which tables and columns a SQLite file has, as a number that stands in its head.

A version of CellHerd reads the forms up to its own. One that meets a later form refuses it with this reason instead of
reading what it does not know: that is how going back to an older version loses nothing.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from cellherd.errors import CellherdError

STATE = 1
"""Of the server's databases."""
_SIGNED = 0x43480000
"""`CH`, above the form itself: said twice, a flipped bit is no later version."""


class LaterForm(CellherdError):
    """A file that a later version of CellHerd wrote; nothing in it was touched."""

    def __init__(self, path: Path | str, form: int, known: int) -> None:
        super().__init__(
            f"{path} was written by a later version of CellHerd (form {form}, this version knows {known}):"
            " install that version again, or put back the backup of before the upgrade"
        )


def form_of(db: sqlite3.Connection, path: Path | str, known: int) -> int:
    """The file's form, 0 where it never told one. Raises LaterForm; sqlite3.DatabaseError where it says nonsense."""
    (form,) = db.execute("pragma user_version").fetchone()
    if form in range(known + 1):
        return int(form)
    (signed,) = db.execute("pragma application_id").fetchone()
    if signed == _SIGNED + form:
        raise LaterForm(path, form, known)
    raise sqlite3.DatabaseError(f"form {form} of the file, and {signed:#x} beside it")


def say_form(db: sqlite3.Connection, form: int) -> None:
    """Write the form down, twice."""
    db.execute(f"pragma user_version={form}")
    db.execute(f"pragma application_id={_SIGNED + form}")


def prepare_state(db: sqlite3.Connection, path: Path | str, tables: str) -> None:
    """Make the tables of one of the server's databases where they are not there. Raises LaterForm."""
    if form_of(db, path, STATE) < STATE:
        say_form(db, STATE)
    db.executescript(tables)
