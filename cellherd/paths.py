"""Where the state of a machine lives."""

from __future__ import annotations

import os
from pathlib import Path


def default_state() -> Path:
    """CELLHERD_STATE, else systemd's state directory, else the user's state folder."""
    own = os.environ.get("CELLHERD_STATE") or os.environ.get("STATE_DIRECTORY", "").split(":")[0]
    if own:
        return Path(own)
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "cellherd"


def sync(path: Path) -> None:
    """Make a file's bytes, or the names in a folder, survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
