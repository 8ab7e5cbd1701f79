"""Looks at an SQLite file and its write-ahead log before SQLite does: where a bit is bad there, it may not say so.

A log is read up to the first frame whose checksum is wrong, and what was committed behind that is gone without a word.
File format: sqlite.org/fileformat2.html, sections 1.3 (header) and 4.1, 4.2 (log, checksums).
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, replace
from pathlib import Path
from struct import unpack_from

from collectors.tables import PAGE

HEADER, FRAME = 32, 24
MAGIC = b"SQLite format 3\0"
FIXED = {16: PAGE, 18: 0x0202, 20: 64, 22: 0x2020}
"""Where two bytes of the header stand that never change once the file has its log, and what they say."""
NEAR = 4
"""So many bits may the salt of a frame of this round be off; one of another round is off by about sixteen."""
Sums = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Frame:
    """A page in the log: its number, the place of its content in the file, whether its checksum is right.

    The last one of a commit `ends` it.
    """

    number: int
    at: int
    sound: bool
    ends: bool


def broken(path: Path) -> str:
    """What is wrong with the file or its log that SQLite would not say, "" if nothing is. Raises OSError.

    The last commit in the log may be one that a power cut tore, and then it never was one: SQLite leaves it out.
    """
    with path.open("rb") as file:
        head = file.read(100)
    if head and head[:16] != MAGIC:
        return "it does not begin as a database"
    if head and any(unpack_from(">H", head, at)[0] != value for at, value in FIXED.items()):
        return "its header is not that of a file with a log"
    wal = path.with_name(path.name + "-wal")
    data = wal.read_bytes() if wal.exists() else b""
    done = _commits(data)[:-1]
    if done and not _head_sound(data):
        return "the head of its log has a wrong checksum"
    return "" if all(frame.sound for commit in done for frame in commit) else "a page of its log has a wrong checksum"


def frames(data: bytes) -> list[Frame]:
    """The frames of a log's present round, up to its last commit, or to one that a bad bit may hide.

    Of a last commit with a bad frame none is sound: it may be one that the power cut short, and whose pages belong
    together.
    """
    commits = _commits(data)
    if commits and any(not frame.sound for frame in commits[-1]):
        commits[-1] = [replace(frame, sound=False) for frame in commits[-1]]
    elif commits and not commits[-1][-1].ends:
        commits.pop()
    return [frame for commit in commits for frame in commit]


def _commits(data: bytes) -> list[list[Frame]]:
    """The frames of each commit of the present round; the last one may have no end."""
    if len(data) < HEADER + FRAME + PAGE:
        return []
    words = "<" if data[3] == 0x82 else ">"
    salt = data[16:24] if _head_sound(data) else data[HEADER + 8 : HEADER + 16]
    sums: Sums = unpack_from(">II", data, 24)
    places = range(HEADER, len(data) - FRAME - PAGE + 1, FRAME + PAGE)
    near = [at for at in places if _apart(data[at + 8 : at + 16], salt) <= NEAR]
    found: list[list[Frame]] = [[]]
    for at in places[: (near[-1] - HEADER) // (FRAME + PAGE) + 1 if near else 0]:
        number, size_after = unpack_from(">II", data, at)
        told: Sums = unpack_from(">II", data, at + 16)
        counted = _sums(data[at : at + 8] + data[at + FRAME : at + FRAME + PAGE], sums, words)
        ours = _apart(data[at + 8 : at + 16], salt)
        found[-1].append(Frame(number, at + FRAME, counted == told and not ours, ours <= NEAR and size_after > 0))
        sums = told
        if found[-1][-1].ends:
            found.append([])
    return found if found[-1] else found[:-1]


def _head_sound(data: bytes) -> bool:
    return _sums(data[:24], (0, 0), "<" if data[3] == 0x82 else ">") == unpack_from(">II", data, 24)


def _apart(one: bytes, other: bytes) -> int:
    return (int.from_bytes(one) ^ int.from_bytes(other)).bit_count()


def _sums(data: bytes, sums: Sums, words: str) -> Sums:
    one, other = sums
    numbers = array("I", data)
    if (words == "<") != (array("I", b"\1\0\0\0")[0] == 1):
        numbers.byteswap()
    pairs = iter(numbers)
    for first, second in zip(pairs, pairs, strict=True):
        one = (one + first + other) & 0xFFFFFFFF
        other = (other + second + one) & 0xFFFFFFFF
    return one, other
