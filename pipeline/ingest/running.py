"""Whether an ingester works on a state folder: it holds a lock there for as long as it lives."""

from __future__ import annotations

import fcntl
from io import TextIOWrapper
from pathlib import Path

from cellherd.errors import CellherdError

LOCK = "ingest.lock"


def only_one(state: Path) -> TextIOWrapper:
    """Take the lock, held until the file is closed. Raises CellherdError where another ingester has it."""
    lock = (state / LOCK).open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise CellherdError(f"another ingester works on {state}; stop it, or give this one its own --state") from None
    return lock


def is_running(state: Path) -> bool:
    """Whether somebody holds the lock."""
    try:
        with (state / LOCK).open("r") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False
