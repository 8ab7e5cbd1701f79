"""Power-proof commits of a local Delta table: what deltalake wrote is pushed to the disk, folders included."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote


def sync_commits(root: Path, first: int, last: int) -> None:
    """Flush the data files, log entries and folders of the commits `first`..`last` of the table in `root`.

    A file that is gone was compacted away and its successor is in a later commit.
    """
    log = root / "_delta_log"
    entries = [log / f"{version:020}.json" for version in range(first, last + 1)]
    files = [root / path for entry in entries if entry.exists() for path in _added(entry)]
    _sync_all([*files, *entries])


def sync_checkpoint(root: Path, version: int) -> None:
    """Flush a checkpoint and the pointer to it."""
    log = root / "_delta_log"
    _sync_all([*log.glob(f"{version:020}.checkpoint*"), log / "_last_checkpoint"])


def sync_folders(leaf: Path) -> None:
    """Flush a new folder and the names of it and its parents."""
    for folder in (leaf, *leaf.parents):
        _sync(folder)


def _added(entry: Path) -> Iterable[str]:
    actions = map(json.loads, entry.read_text(encoding="utf-8").splitlines())
    return [unquote(action["add"]["path"]) for action in actions if "add" in action]


def _sync_all(files: list[Path]) -> None:
    there = [file for file in files if file.exists()]
    for file in there:
        _sync(file)
    for folder in {parent for file in there for parent in (file.parent, file.parent.parent)}:
        _sync(folder)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
