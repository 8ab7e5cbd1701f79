"""Room on the disk: a ballast file that can be thrown off, since on a full disk SQLite cannot even delete."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

BALLAST = 8 * 2**20
RESERVE = 2 * 2**20
"""Bytes of the disk that the outbox leaves free for its write-ahead log."""
ROOMY = 4
"""The ballast is taken on again where so many times its size is free."""

log = logging.getLogger(__name__)


def disk_free(folder: Path) -> int:
    """Bytes that we may still use there."""
    return shutil.disk_usage(folder).free


class Ballast:
    """The file beside the outbox. Nothing here raises: a disk that fails shows itself at the next commit."""

    def __init__(self, path: Path, free: Callable[[Path], int] = disk_free) -> None:
        self._path, self._free = path, free

    def room(self) -> int:
        """Bytes by which the outbox may grow now; below 0 it must shrink. Much, where the disk does not tell."""
        try:
            return self._free(self._path.parent) - RESERVE
        except OSError:
            return BALLAST

    def take_on(self) -> None:
        """Make the file where there is room for it."""
        with suppress(OSError):
            if not self._path.exists() and self._free(self._path.parent) >= ROOMY * BALLAST:
                self._fill()

    def _fill(self) -> None:
        made = self._path.with_name(self._path.name + ".new")
        handle = os.open(made, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.posix_fallocate(handle, 0, BALLAST)
        except OSError:
            made.unlink()
            raise
        finally:
            os.close(handle)
        made.replace(self._path)

    def throw_off(self) -> bool:
        """Give its room to the outbox. Returns whether there was any."""
        try:
            self._path.unlink()
        except OSError:
            return False
        log.warning("the disk is full; %s was given up so that the outbox can go on", self._path)
        return True
