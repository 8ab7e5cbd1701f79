"""A disk that forgets at a power cut what nobody had synced: what SQLite writes, and what we write through `os`.

SQLite's files come through a VFS that is the machine's own one with four calls changed; the journal's through an `os`
that notes what it does. Contents count from a sync of the file on, names from a sync of their folder on. Of what was
not synced a cut keeps any part, in any order, torn at sectors.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

SECTOR = 512
_OK, _IOERR = 0, 10
_JOURNALS = 0x00080000 | 0x00000800
"""Open flags of a write-ahead log and of a rollback journal: the Unix VFS syncs their folder with their first sync."""
Change = tuple[int, bytes | None]
"""An offset and what was written there; None cuts the file off at it."""


class PowerCutError(OSError):
    """The disk has no power any more."""


@dataclass
class _File:
    """What of a file is safe, and what happened to it since."""

    safe: bytes = b""
    since: list[Change] = field(default_factory=list)

    def sync(self) -> None:
        self.safe, self.since = applied(self.safe, self.since), []

    def after_a_cut(self, random: Random) -> bytes:
        how = random.choice(("nothing", "beginning", "anything"))
        if how == "nothing":
            return self.safe
        if how == "beginning":
            return applied(self.safe, self.since[: random.randint(0, len(self.since))])
        return applied(self.safe, [torn(one, random) for one in self.since if random.random() < 0.5])


def applied(content: bytes, changes: list[Change]) -> bytes:
    """Contents after these changes."""
    whole = bytearray(content)
    for at, some in changes:
        if some is None:
            del whole[at:]
            whole.extend(bytes(max(0, at - len(whole))))
        else:
            whole.extend(bytes(max(0, at - len(whole))))
            whole[at : at + len(some)] = some
    return bytes(whole)


def torn(change: Change, random: Random) -> Change:
    """A write of which only the first sectors came through, sometimes."""
    at, some = change
    if some is None or random.random() < 0.7:
        return change
    return at, some[: random.randint(0, len(some) // SECTOR) * SECTOR]


class Disk:
    """Everything below `folder`. `fuse` is after how many more writes and syncs the power fails, None for never."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.fuse: int | None = None
        self.dark = False
        """Whether it has no power: every call fails, and nothing of it counts."""
        self._files: dict[Path, _File] = {}
        self._named: dict[Path, _File] = {}
        """Files whose names are safe."""

    def holds(self, path: Path) -> bool:
        """Whether a path lies here."""
        return self.folder in path.parents

    def made(self, path: Path) -> None:
        """A file was opened that perhaps was not there before."""
        self._files.setdefault(path, _File())

    def changed(self, path: Path, change: Change) -> None:
        """Something was written. Raises PowerCutError if it did not come to that."""
        self._burn()
        self._files[path].since.append(change)

    def synced(self, path: Path, *, with_name: bool = False) -> None:
        """A file was synced. Raises PowerCutError if it did not come to that."""
        self._burn()
        self._files[path].sync()
        if with_name:
            self.folder_synced(path.parent)

    def folder_synced(self, folder: Path) -> None:
        """All names of a folder are safe: those of new files, and that others are gone."""
        self._named = {path: file for path, file in self._named.items() if path.parent != folder}
        self._named |= {path: file for path, file in self._files.items() if path.parent == folder and path.exists()}

    def gone(self, path: Path) -> None:
        """A file was deleted; another of its name is another file."""
        self._files.pop(path, None)

    def _burn(self) -> None:
        if self.dark or self.fuse == 0:
            self.dark = True
            raise PowerCutError("no power")
        if self.fuse is not None:
            self.fuse -= 1

    def cut(self, random: Random) -> Callable[[], None]:
        """The power fails. What it gives, called when every file here is closed, lays out what is left."""
        self.dark = True
        here = {path: file for path, file in self._files.items() if path.exists()}
        left = {
            path: file.after_a_cut(random)
            for path, file in (*here.items(), *self._named.items())
            if self._named.get(path) is file or (path not in self._named and random.random() < 0.5)
        }
        left = {path: text for path, text in left.items() if path in here or random.random() < 0.5}

        def lay_out() -> None:
            for path in self.folder.rglob("*"):
                if path.is_file():
                    path.unlink()
            for path, text in left.items():
                path.write_bytes(text)
            self._files = {path: _File(text) for path, text in left.items()}
            self._named = dict(self._files)
            self.dark, self.fuse = False, None

        return lay_out


class NotedOs:
    """Stands in for `os` in a module that writes to one of the disks."""

    def __init__(self, disks: list[Disk]) -> None:
        self._disks = disks
        self._open: dict[int, Path] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def _disk(self, path: Path) -> Disk | None:
        return next((disk for disk in self._disks if disk.holds(path) or disk.folder == path), None)

    def open(self, name: Path, flags: int, mode: int = 0o777) -> int:
        """As of `os`."""
        path = Path(name).resolve()
        disk = self._disk(path)
        if disk is not None and disk.dark:
            raise PowerCutError("no power")
        handle = os.open(path, flags, mode)
        if disk is not None:
            self._open[handle] = path
            if not path.is_dir():
                disk.made(path)
        return handle

    def write(self, handle: int, some: bytes) -> int:
        """As of `os`."""
        path = self._open[handle]
        if (disk := self._disk(path)) is not None:
            disk.changed(path, (path.stat().st_size, bytes(some)))
        return os.write(handle, some)

    def ftruncate(self, handle: int, size: int) -> None:
        """As of `os`."""
        path = self._open[handle]
        if (disk := self._disk(path)) is not None:
            disk.changed(path, (size, None))
        os.ftruncate(handle, size)

    def fsync(self, handle: int) -> None:
        """As of `os`, also of a folder, but nothing goes to the real disk."""
        path = self._open[handle]
        if (disk := self._disk(path)) is None:
            return
        if path.is_dir():
            if disk.dark:
                raise PowerCutError("no power")
            disk.folder_synced(path)
        else:
            disk.synced(path)

    fdatasync = fsync

    def close(self, handle: int) -> None:
        """As of `os`."""
        self._open.pop(handle, None)
        os.close(handle)


class _Methods(ctypes.Structure):
    """Begin of sqlite3_io_methods; all of it is 19 pointers behind the version."""

    _fields_ = (("version", ctypes.c_int), ("calls", ctypes.c_void_p * 19))


class _Vfs(ctypes.Structure):
    """sqlite3_vfs (sqlite3.h)."""

    _fields_ = (
        ("version", ctypes.c_int), ("file_size", ctypes.c_int), ("longest_path", ctypes.c_int),
        ("next", ctypes.c_void_p), ("name", ctypes.c_char_p), ("app_data", ctypes.c_void_p),
        ("open", ctypes.c_void_p), ("delete", ctypes.c_void_p), ("calls", ctypes.c_void_p * 14),
    )  # fmt: skip


_CLOSE, _WRITE, _TRUNCATE, _SYNC = 0, 2, 3, 4
_P, _I, _L = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64
_OPEN_T = ctypes.CFUNCTYPE(_I, _P, _P, _P, _I, _P)
_DELETE_T = ctypes.CFUNCTYPE(_I, _P, _P, _I)
_CLOSE_T = ctypes.CFUNCTYPE(_I, _P)
_WRITE_T = ctypes.CFUNCTYPE(_I, _P, _P, _I, _L)
_TRUNCATE_T = ctypes.CFUNCTYPE(_I, _P, _L)
_SYNC_T = ctypes.CFUNCTYPE(_I, _P, _I)


class _Noting:
    """The changed calls of the VFS. Files are known by the address of their sqlite3_file."""

    def __init__(self, real: _Vfs, real_at: int, disks: list[Disk]) -> None:
        self._disks, self._real_at = disks, real_at
        self._files: dict[int, tuple[Disk, Path, int, int]] = {}
        """Disk, path, open flags and the real methods of each open file."""
        self._tables: dict[int, _Methods] = {}
        self._open, self._delete = _OPEN_T(real.open), _DELETE_T(real.delete)
        self.calls = (_OPEN_T(self.open), _DELETE_T(self.delete))
        self._own = {
            _CLOSE: _CLOSE_T(self.close), _WRITE: _WRITE_T(self.write),
            _TRUNCATE: _TRUNCATE_T(self.truncate), _SYNC: _SYNC_T(self.sync),
        }  # fmt: skip

    def _find(self, name: int | None) -> tuple[Disk | None, Path]:
        """Of a name by its address, which the real VFS keeps. A temporary file has none."""
        path = Path(os.fsdecode(ctypes.string_at(name))) if name else Path()
        return next((disk for disk in self._disks if disk.holds(path)), None), path

    def open(self, _vfs: int, name: int | None, file: int, flags: int, out: int) -> int:
        disk, path = self._find(name)
        if disk is not None and disk.dark:
            return _IOERR
        code = int(self._open(self._real_at, name, file, flags, out))
        if disk is None or code != _OK:
            return code
        methods = ctypes.cast(file, ctypes.POINTER(ctypes.c_void_p))
        real = int(methods[0] or 0)
        disk.made(path)
        self._files[file] = (disk, path, flags, real)
        methods[0] = ctypes.addressof(self._table(real))
        return code

    def _table(self, real: int) -> _Methods:
        if real not in self._tables:
            table = _Methods.from_buffer_copy(_Methods.from_address(real))
            for at, call in self._own.items():
                table.calls[at] = ctypes.cast(call, ctypes.c_void_p).value
            self._tables[real] = table
        return self._tables[real]

    def _really(self, sort: Callable[[int], Any], at: int, file: int) -> Any:
        return sort(int(_Methods.from_address(self._files[file][3]).calls[at] or 0))

    def close(self, file: int) -> int:
        code = int(self._really(_CLOSE_T, _CLOSE, file)(file))
        self._files.pop(file)
        return code

    def write(self, file: int, some: int, size: int, at: int) -> int:
        disk, path, _, _ = self._files[file]
        try:
            disk.changed(path, (at, ctypes.string_at(some, size)))
        except PowerCutError:
            return _IOERR
        return int(self._really(_WRITE_T, _WRITE, file)(file, some, size, at))

    def truncate(self, file: int, size: int) -> int:
        disk, path, _, _ = self._files[file]
        try:
            disk.changed(path, (size, None))
        except PowerCutError:
            return _IOERR
        return int(self._really(_TRUNCATE_T, _TRUNCATE, file)(file, size))

    def sync(self, file: int, _flags: int) -> int:
        disk, path, flags, _ = self._files[file]
        try:
            disk.synced(path, with_name=bool(flags & _JOURNALS))
        except PowerCutError:
            return _IOERR
        return _OK

    def delete(self, _vfs: int, name: int, sync: int) -> int:
        disk, path = self._find(name)
        if disk is not None and disk.dark:
            return _IOERR
        code = int(self._delete(self._real_at, name, 0))
        if disk is not None and code == _OK:
            disk.gone(path)
            if sync:
                disk.folder_synced(path.parent)
        return code


def why_not() -> str:
    """Why SQLite's files cannot be watched here, "" if they can."""
    try:
        library = ctypes.CDLL("libsqlite3.so.0")
    except OSError:
        return "Python's sqlite3 does not use the system's libsqlite3.so.0"
    import sqlite3  # noqa: PLC0415 - after the library, to compare them

    library.sqlite3_libversion.restype = ctypes.c_char_p
    same = library.sqlite3_libversion().decode() == sqlite3.sqlite_version and _shared()
    return "" if same else "Python's sqlite3 has a SQLite of its own inside"


def _shared() -> bool:
    return Path("/proc/self/maps").read_text().count("libsqlite3.so") > 0


@contextmanager
def watched(*disks: Disk) -> Iterator[NotedOs]:
    """SQLite's files on these disks are noted, for as long as this lasts. Gives the `os` for everybody else."""
    library = ctypes.CDLL("libsqlite3.so.0")
    library.sqlite3_vfs_find.restype = ctypes.c_void_p
    library.sqlite3_vfs_register.argtypes = (ctypes.c_void_p, ctypes.c_int)
    library.sqlite3_vfs_unregister.argtypes = (ctypes.c_void_p,)
    real_at = int(library.sqlite3_vfs_find(None))
    real = _Vfs.from_address(real_at)
    noting = _Noting(real, real_at, list(disks))
    vfs = _Vfs.from_buffer_copy(real)
    vfs.name, vfs.next = b"forgetful", None
    vfs.open, vfs.delete = (ctypes.cast(call, ctypes.c_void_p).value for call in noting.calls)
    library.sqlite3_vfs_register(ctypes.addressof(vfs), 1)
    try:
        yield NotedOs(list(disks))
    finally:
        library.sqlite3_vfs_unregister(ctypes.addressof(vfs))
        library.sqlite3_vfs_register(real_at, 1)
