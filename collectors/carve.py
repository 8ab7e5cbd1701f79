"""Takes rows out of a damaged SQLite file page by page, whatever else of it is gone. No I/O but reading.

A row needs only its own page (and the overflow pages behind it), so a file without its first page, cut off, or with
holes still gives up what it holds; the caller's checksum tells which rows are sound. File format:
sqlite.org/fileformat2.html, sections 1.5 (free list), 1.6 (pages, cells, overflow), 2.1 (records), 4.1 (log).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from struct import unpack_from
from typing import TypeAlias

from collectors.wal import frames

INDEX_INNER, INDEX_LEAF, TABLE_LEAF = 0x02, 0x0A, 0x0D
MOST_OVERFLOW = 64
"""Overflow pages of one row: a body of more than 256 KiB is none of ours."""

Value: TypeAlias = int | float | str | bytes | None
Record: TypeAlias = tuple[int, list[Value]]
"""Type of the page that it stood on, and its columns; a table's row has its own number where its key stands."""


class Pages:
    """The pages of a file, each as the last commit in its write-ahead log left it. Raises OSError."""

    def __init__(self, path: Path, page: int = 4096) -> None:
        self.page = page
        self._file = path.open("rb")
        wal = path.with_name(path.name + "-wal")
        self._wal = wal.open("rb") if wal.exists() else None
        found = frames(wal.read_bytes()) if wal.exists() else []
        self._frames = {frame.number: frame.at for frame in found if frame.sound}
        self._doubtful = [frame.at for frame in found if not frame.sound]
        """Pages of the log in which a bit is bad: perhaps even their number, so they take no other's place."""
        self.count = max(path.stat().st_size // page, *self._frames, 0)

    def read(self, number: int) -> bytes:
        """A page, numbered from 1; short or empty where the file ends."""
        if number in self._frames:
            return self._logged(self._frames[number])
        self._file.seek((number - 1) * self.page)
        return self._file.read(self.page)

    def _logged(self, at: int) -> bytes:
        if self._wal is None:
            return b""
        self._wal.seek(at)
        return self._wal.read(self.page)

    def all(self) -> Iterator[tuple[int, bytes]]:
        """Number and content of every page, 0 for those of the log whose number may be wrong."""
        for number in range(1, self.count + 1):
            yield number, self.read(number)
        for at in self._doubtful:
            yield 0, self._logged(at)

    def free(self) -> set[int]:
        """Pages that hold what was deleted, as far as the list of them can be followed."""
        found: set[int] = set()
        first = self.read(1)
        trunk = unpack_from(">I", first, 32)[0] if first[:6] == b"SQLite" else 0
        while 0 < trunk <= self.count and trunk not in found:
            page = self.read(trunk)
            found.add(trunk)
            if len(page) < self.page:
                break
            trunk, leaves = unpack_from(">II", page)
            found.update(unpack_from(f">{min(leaves, self.page // 4 - 2)}I", page, 8))
        return found

    def close(self) -> None:
        """Close the files."""
        self._file.close()
        if self._wal is not None:
            self._wal.close()


def records(pages: Pages) -> Iterator[Record]:
    """All records of all pages that are in use, in the order of the pages. What makes no sense is passed over."""
    free = pages.free()
    for number, page in pages.all():
        start = 100 if number == 1 else 0
        if number not in free and len(page) == pages.page and page[start] in (INDEX_INNER, INDEX_LEAF, TABLE_LEAF):
            for record in _on(pages, page, start):
                yield page[start], record


def _on(pages: Pages, page: bytes, start: int) -> Iterator[list[Value]]:
    kind = page[start]
    (cells,) = unpack_from(">H", page, start + 3)
    pointers = start + (12 if kind == INDEX_INNER else 8)
    for at in range(pointers, min(pointers + 2 * cells, pages.page - 1), 2):
        try:
            yield _cell(pages, page, kind, unpack_from(">H", page, at)[0])
        except (IndexError, ValueError):
            continue


def _cell(pages: Pages, page: bytes, kind: int, at: int) -> list[Value]:
    size, at = _varint(page, at + (4 if kind == INDEX_INNER else 0))
    if kind != TABLE_LEAF:
        return _record(_payload(pages, page, at, size, (pages.page - 12) * 64 // 255 - 23))
    key, at = _varint(page, at)
    found = _record(_payload(pages, page, at, size, pages.page - 35))
    return [key if i == 0 and value is None else value for i, value in enumerate(found)]


def _payload(pages: Pages, page: bytes, at: int, size: int, most: int) -> bytes:
    usable = pages.page
    if size <= most:
        return page[at : at + size]
    least = (usable - 12) * 32 // 255 - 23
    local = least + (size - least) % (usable - 4)
    local = local if local <= most else least
    found, following = page[at : at + local], int.from_bytes(page[at + local : at + local + 4])
    for _ in range(MOST_OVERFLOW):
        if len(found) >= size or not 0 < following <= pages.count:
            break
        more = pages.read(following)
        following, found = int.from_bytes(more[:4]), found + more[4:]
    return found[:size]


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for i in range(8):
        byte = data[at + i]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + i + 1
    return value << 8 | data[at + 8], at + 9


def _record(payload: bytes) -> list[Value]:
    end, at = _varint(payload, 0)
    body = end
    found: list[Value] = []
    while at < end:
        kind, at = _varint(payload, at)
        size = _SIZES[kind] if kind < len(_SIZES) else (kind - 12) // 2
        if body + size > len(payload):
            raise ValueError("the record is cut")
        found.append(_value(kind, payload[body : body + size]))
        body += size
    return found


_SIZES = (0, 1, 2, 3, 4, 6, 8, 8, 0, 0, 0, 0)


def _value(kind: int, data: bytes) -> Value:
    if kind == 0:
        return None
    if kind < 7:
        return int.from_bytes(data, signed=True)
    if kind == 7:
        return float(unpack_from(">d", data)[0])
    if kind < 12:
        return kind - 8
    return data.decode(errors="replace") if kind % 2 else data
