"""The ingester's diary: what came is on disk here before anybody is told so, and stays until every store has it.

A journal is a folder of numbered segments. A segment is a row of frames: mark, length, CRC-32 and many entries. What
a crash tore or a disk flipped costs that frame and no other. One writer; readers take sealed segments only.
"""

from __future__ import annotations

import logging
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from time import monotonic, time

from cellherd.errors import CellherdError
from cellherd.failpoint import failpoint
from cellherd.forms import LaterForm
from pipeline.journal.entry import Entry

FORM = 1
MARK = b"CHJ%d" % FORM
_FRAME = struct.Struct("<4sII")  # mark, length, crc
_ENTRY = struct.Struct("<qqIHHHI")  # arrival, offset, skipped seqs, lengths of topic, site, unit and payload
_UNKNOWN = -(2**63)  # stands for "no offset"
_bytes, _text = lru_cache(65536)(str.encode), lru_cache(65536)(bytes.decode)  # topics, sites and units: few, and short
_SUFFIX = ".journal"
log = logging.getLogger(__name__)


class JournalFull(CellherdError):
    """The journal has reached its size: the stores are too far behind. Nothing is taken in until there is room."""


class Journal:
    """The writing end. `number` is the segment being written, at least `first`; all below it are sealed.

    A segment is due for sealing after `age_s` seconds or `size` bytes. `cap` bounds all segments together, and
    `reserve` are bytes that stay free on the disk, so that the stores can still drain the journal there.
    """

    age_s = 5.0

    def __init__(self, folder: Path, first: int = 1, *, size: int = 2**22, cap: int = 2**35, reserve: int = 0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._size, self._cap, self.reserve = size, cap, reserve
        self._sizes = {number: _path(folder, number).stat().st_size for number in segments(folder)}
        self.number = max(first, *(number + 1 for number in self._sizes), 1)
        self._file: int | None = None
        self._written = 0
        self._opened = 0.0

    def append(self, entries: Sequence[Entry]) -> None:
        """Write the entries as one frame and wait until the disk has it.

        Raises JournalFull at the cap and OSError if the disk refuses; nothing was written then, try again.
        """
        frame = _frame(entries)
        if sum(self._sizes.values()) + self._written + len(frame) > self._cap:
            raise JournalFull(f"{self.folder} holds {self._cap >> 20} MB: the stores must catch up first")
        if self.reserve and self.free() < self.reserve + len(frame):
            raise JournalFull(f"the disk of {self.folder} has {self.free() >> 20} MB left: make room")
        file = self._file if self._file is not None else self._open()
        try:
            _write(file, frame)
            failpoint("journal-written")
            os.fdatasync(file)
        except OSError:
            self._abandon(file)
            raise
        self._written += len(frame)

    def due(self) -> bool:
        """Whether the segment is old or large enough to be sealed."""
        return self._written > 0 and (self._written >= self._size or monotonic() - self._opened >= self.age_s)

    def seal(self) -> int:
        """Close the segment and begin the next one. Returns the number of the sealed one, 0 if it was empty."""
        if self._file is None or not self._written:
            return 0
        os.close(self._file)
        sealed, self._file = self.number, None
        self._sizes[sealed] = self._written
        self.number, self._written = sealed + 1, 0
        return sealed

    def delete(self, upto: int) -> None:
        """Delete sealed segments up to and including a number."""
        for number in [n for n in self._sizes.copy() if n <= min(upto, self.number - 1)]:
            _path(self.folder, number).unlink(missing_ok=True)
            self._sizes.pop(number, None)

    def sealed(self) -> list[int]:
        """Numbers of the sealed segments that are still there, in order."""
        return sorted(self._sizes.copy())

    def bytes_kept(self) -> int:
        """Size of all segments, for health and back-pressure."""
        return sum(self._sizes.copy().values()) + self._written

    def free(self) -> int:
        """Bytes that are left on the journal's disk."""
        disk = os.statvfs(self.folder)
        return disk.f_bavail * disk.f_frsize

    def unsealed_s(self) -> float:
        """Age of the oldest message that the stores have not been told of, in seconds; 0 if there is none."""
        return monotonic() - self._opened if self._written else 0.0

    def waited_s(self, number: int) -> float:
        """How long ago the first sealed segment above a number was sealed, in seconds; 0 if there is none."""
        following = min((one for one in self._sizes.copy() if one > number), default=None)
        if following is None:
            return 0.0
        try:
            return max(0.0, time() - _path(self.folder, following).stat().st_mtime)
        except FileNotFoundError:  # every store has it by now
            return 0.0

    def close(self) -> None:
        """Let go of the file; nothing is lost, the next start goes on from it."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        self._file = os.open(_path(self.folder, self.number), flags, 0o600)
        self._opened = monotonic()
        sync(self.folder)
        return self._file

    def _abandon(self, file: int) -> None:
        """After a failed write: cut the torn frame off, and never sync this file again: the kernel forgot its pages."""
        with suppress(OSError):  # a reader knows a torn frame
            os.ftruncate(file, self._written)
        os.close(file)
        self._file = None
        self._sizes[self.number] = self._written
        self.number, self._written = self.number + 1, 0


def segments(folder: Path) -> list[int]:
    """Numbers of all segments in the folder, in order."""
    return sorted(int(path.stem) for path in folder.glob(f"*{_SUFFIX}") if path.stem.isdigit())


def next_segment(folder: Path, number: int) -> int | None:
    """The lowest segment above a number, None if there is none."""
    following = number + 1  # nearly always there, and a folder may hold a week of segments
    return (
        following
        if _path(folder, following).exists()
        else min((n for n in segments(folder) if n > number), default=None)
    )


def entries(folder: Path, number: int) -> Iterator[Entry]:
    """The entries of a segment, in order; what is damaged is left out and logged. Raises LaterForm."""
    path = _path(folder, number)
    content = path.read_bytes()
    good = 0
    while good < len(content):
        _refuse_later(path, content, good)
        at, end = _next_frame(content, good)
        if at != good:
            log.warning("journal segment %d: bytes %d to %d are damaged and left out", number, good, at)
        yield from _decode(content, at + _FRAME.size, end)
        good = end


def _next_frame(content: bytes, at: int) -> tuple[int, int]:
    """Where the next whole frame begins and ends; the content's end if there is none."""
    while (at := content.find(MARK, at)) >= 0:
        if (end := _end(content, at)) is not None:
            return at, end
        at += 1
    return len(content), len(content)


def _refuse_later(path: Path, content: bytes, at: int) -> None:
    """Where a frame must begin, one of a later version is no damage: its readings wait for that version."""
    form = content[at + 3 : at + 4]
    if content.startswith(MARK[:3], at) and form.isdigit() and int(form) > FORM and _end(content, at) is not None:
        raise LaterForm(path, int(form), FORM)


def _path(folder: Path, number: int) -> Path:
    return folder / f"{number:012}{_SUFFIX}"


def _write(file: int, frame: bytearray) -> None:
    rest = memoryview(frame)
    while rest:
        rest = rest[os.write(file, rest) :]


def _frame(entries: Sequence[Entry]) -> bytearray:
    frame = bytearray().join([bytes(_FRAME.size), *(part for entry in entries for part in _encode(entry))])
    body = memoryview(frame)[_FRAME.size :]
    _FRAME.pack_into(frame, 0, MARK, len(body), zlib.crc32(body))
    return frame


def _encode(entry: Entry) -> tuple[bytes, ...]:
    topic, site, unit = _bytes(entry.topic), _bytes(entry.site), _bytes(entry.unit)
    offset = _UNKNOWN if entry.offset_ms is None else entry.offset_ms
    skip, payload = entry.skip, entry.payload
    head = _ENTRY.pack(entry.arrival_ts, offset, len(skip), len(topic), len(site), len(unit), len(payload))
    return head, topic, site, unit, struct.pack(f"<{len(skip)}q", *skip) if skip else b"", payload


def _end(content: bytes, at: int) -> int | None:
    """Where the frame that begins here ends, None if it is not whole."""
    if at + _FRAME.size > len(content):
        return None
    _, length, crc = _FRAME.unpack_from(content, at)
    body = memoryview(content)[at + _FRAME.size : at + _FRAME.size + length]
    return at + _FRAME.size + length if len(body) == length and zlib.crc32(body) == crc else None


def _decode(content: bytes, at: int, end: int) -> Iterator[Entry]:
    """The entries between two places of a segment."""
    while at < end:
        arrival, offset, skipped, topic_size, site_size, unit_size, payload_size = _ENTRY.unpack_from(content, at)
        at += _ENTRY.size
        site_at = at + topic_size
        unit_at = site_at + site_size
        skip_at = unit_at + unit_size
        payload_at = skip_at + 8 * skipped
        topic, site, unit = _text(content[at:site_at]), _text(content[site_at:unit_at]), _text(content[unit_at:skip_at])
        skip = struct.unpack_from(f"<{skipped}q", content, skip_at) if skipped else ()
        at = payload_at + payload_size
        yield Entry(topic, content[payload_at:at], arrival, site, unit, None if offset == _UNKNOWN else offset, skip)


def sync(folder: Path) -> None:
    """Make the names of new files in a folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
