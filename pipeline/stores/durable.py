"""Power-proof commits of a local Delta table: what deltalake wrote is pushed to the disk, folders included.

deltalake publishes a commit before its files are on the disk, so a power cut may leave a log entry whose files are
short or gone. Nobody was told that such a commit is safe: `mend` takes it back, and whoever made it makes it again.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from cellherd.paths import sync

LOOKED_AT = 100
"""Commits at the end of a log that may be newer than the last flush: as many as lie between two checkpoints."""
_PARQUET = b"PAR1"
log = logging.getLogger(__name__)


def entry(root: Path, version: int) -> Path:
    """The file of a commit."""
    return root / "_delta_log" / f"{version:020}.json"


def sync_commits(root: Path, first: int, last: int) -> None:
    """Flush the data files, log entries and folders of the commits `first`..`last` of the table in `root`.

    A file that is gone was compacted away and its successor is in a later commit.
    """
    entries = [entry(root, version) for version in range(first, last + 1)]
    files = [root / path for entry in entries if entry.exists() for path in _added(entry)]
    _sync_all([*files, *entries])


def sync_checkpoint(root: Path, version: int) -> None:
    """Flush a checkpoint and the pointer to it."""
    folder = root / "_delta_log"
    _sync_all([*folder.glob(f"{version:020}.checkpoint*"), folder / "_last_checkpoint"])


def sync_folders(leaf: Path) -> None:
    """Flush a new folder and the names of it and its parents."""
    for folder in (leaf, *leaf.parents):
        sync(folder)


def mend(root: Path) -> int:
    """Take back commits at the end of a log that a power cut tore, and torn checkpoints. Returns how many commits.

    Call it before a table is opened for writing. A commit that another process is making is whole before it is
    visible, so none of those is touched. What is taken back is kept beside the log, as `.torn`.
    """
    folder = root / "_delta_log"
    versions = sorted(int(path.stem) for path in folder.glob("*.json") if path.stem.isdigit())
    _mend_checkpoints(folder)
    recent = versions[-LOOKED_AT:]
    told = {version: _actions(entry(root, version)) for version in recent}
    removed = {action["remove"]["path"] for actions in told.values() for action in actions or () if "remove" in action}
    torn = next(
        (v for at, v in enumerate(recent) if v != recent[0] + at or not _is_whole(root, told[v], removed)), None
    )
    if torn is None:
        return 0
    taken_back = [version for version in recent if version >= torn]
    for version in reversed(taken_back):  # the last first: a crash in between leaves a log without a hole
        entry(root, version).rename(entry(root, version).with_suffix(".torn"))
    sync(folder)
    log.warning("%s: %d commits torn by a power cut are taken back, from %d on", root, len(taken_back), torn)
    return len(taken_back)


def _is_whole(root: Path, actions: list[dict[str, Any]] | None, removed: set[str]) -> bool:
    if actions is None:
        return False
    added = [action["add"] for action in actions if "add" in action]
    return all(add["path"] in removed or _is_parquet(root / unquote(add["path"]), add["size"]) for add in added)


def _is_parquet(path: Path, size: int | None = None) -> bool:
    try:
        with path.open("rb") as file:
            length = file.seek(0, os.SEEK_END)
            file.seek(max(0, length - len(_PARQUET)))
            return (size is None or length == size) and file.read() == _PARQUET
    except FileNotFoundError:
        return False


def _mend_checkpoints(folder: Path) -> None:
    """A checkpoint only saves time: without it the log is read from its beginning, or from the one before."""
    torn = [path for path in folder.glob("*.checkpoint*.parquet") if not _is_parquet(path)]
    pointer = folder / "_last_checkpoint"
    if torn or (pointer.exists() and not pointer.read_bytes().strip(b"\0 \n")):
        for path in (*torn, pointer):
            path.unlink(missing_ok=True)
        sync(folder)
        log.warning("%s: a checkpoint torn by a power cut is thrown away", folder)


def _actions(entry: Path) -> list[dict[str, Any]] | None:
    """The actions of a commit, None where it was not written to its end."""
    try:
        actions = [json.loads(line) for line in entry.read_text(encoding="utf-8").splitlines()]
    except (ValueError, FileNotFoundError):
        return None
    return actions if actions and all(isinstance(action, dict) for action in actions) else None


def _added(entry: Path) -> Iterable[str]:
    return [unquote(action["add"]["path"]) for action in _actions(entry) or () if "add" in action]


def _sync_all(files: list[Path]) -> None:
    there = [file for file in files if file.exists()]
    for file in there:
        sync(file)
    for folder in {parent for file in there for parent in (file.parent, file.parent.parent)}:
        sync(folder)
