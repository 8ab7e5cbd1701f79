"""What a Pylontech console prints: answers between prompts, tables with a header line, and lines of `name : value`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from cellherd.errors import BadFrame
from collectors.kernel import Unsupported

COMMANDS = (
    "pwr", "bat", "soh", "stat", "info", "getpwr", "pwrsys", "unit", "sysinfo", "bmuinfo", "log", "ci",
)  # fmt: skip
READS = "|".join(sorted(COMMANDS, key=len, reverse=True))
PROMPT = r"[A-Za-z_]{3,16}>"  # pylon>, pylon_debug> after its login, PYTES>
ECHO = re.compile(rf"(?:>?{PROMPT})*\s*({READS})(?:\s+(\d{{1,2}}))?\s*@?")
DONE, FAILED, END, PAGE = "Command completed successfully", "fail to excute", "$$", "to be continued"
PAGES = re.compile(r"Press \[Enter\][^\r\n]{0,80}exit *")
PAIR = re.compile(r"([^:]*[^:\s])\s*:[\s:]*(.*)|(Device address|Power)\s+(\d+)")
STAMP = re.compile(r"(\d{4}-\d\d-\d\d) +(\d\d:\d\d:\d\d)")
CHARGE = re.compile(r"(?<!\d)(\d+) *(mAH|mWH|WH)\b")
SHARED_COLUMN = re.compile(r"(?<!\d)(\d+)% +(\d+(?:mAH|mWH|WH)?)(?=\s|$)")
NUMBER = re.compile(r"(-?\d{1,15})(?!\d)\s*(%|[A-Za-z]*)")  # a longer one is no measurement and stays text
ONE_WORD = (  # names of columns that some firmware writes in two words, or shorter
    ("Base State", "Base.St"), ("Volt. State", "Volt.St"), ("Curr. State", "Curr.St"), ("Temp. State", "Temp.St"),
    ("V.State", "Volt.St"), ("T.State", "Temp.St"), ("Err Code", "Err.Code"), ("AH(mAH)", "CoulombAH"),
    ("WH(mWH)", "CoulombWH"), ("Bal", "BAL"),
)  # fmt: skip
HEADER = re.compile(r"(?:Power|Battery|Bat|Index)?\s*Volt(?:age)?\s.*(?:Base[. ]St|V\.State|SOHStatus)")

Row = dict[str, str]


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: the command that it echoes, with its number, and the lines behind it."""

    command: str
    number: int | None
    lines: tuple[str, ...]


def answers(text: bytes) -> list[Answer]:
    """Every whole answer in a piece of a session, line ends of any kind.

    Raises BadFrame for one that was cut, Unsupported if the device refuses the command.
    """
    said = PAGES.sub("\n", text.decode("latin-1"))
    if FAILED in said:
        raise Unsupported("the device refuses the command", text[:200])
    pieces = said.split(END) if END in said else [said]
    found = [answer for piece in pieces if (answer := _answer(piece)).lines]
    if not found or any(DONE not in answer.lines for answer in found):
        raise BadFrame(f"no whole console answer: {DONE!r} is missing", text[-200:])
    return found


def _answer(piece: str) -> Answer:
    command, number = "", None
    lines: list[str] = []
    for line in filter(None, map(str.strip, re.split(r"[\r\n]+", piece))):
        if echo := ECHO.fullmatch(line):
            command, number, lines = echo[1], int(echo[2]) if echo[2] else None, []
        elif line != "@" and not re.fullmatch(rf"(?:>?{PROMPT})+", line):
            lines.append(line)
    return Answer(command, number, tuple(lines))


def rows(answer: Answer) -> list[Row]:
    """The lines of a table by the words of its header; a row may end early. Empty if there is no table."""
    header: list[str] = []
    found = []
    for line in answer.lines:
        if HEADER.match(line):
            for words, word in ONE_WORD:
                line = re.sub(rf"(?<!\S){re.escape(words)}(?!\S)", word, line)  # noqa: PLW2901 - the line, tidied
            header = line.split()
        elif header and line != DONE:
            found.append(_row(header, line))
    return found


def _row(header: list[str], line: str) -> Row:
    line = CHARGE.sub(r"\1\2", STAMP.sub(r"\1T\2", line))
    if "SOC" not in header:
        line = SHARED_COLUMN.sub(r"\1%/\2", line)
    words = line.split()
    if len(words) > len(header):
        raise BadFrame(f"{len(words)} words under {len(header)} columns", line.encode("latin-1"))
    return dict(zip(header, words, strict=False))


def pairs(answer: Answer) -> Row:
    """The lines `name : value` before any table; of a name that comes twice, the first."""
    found: Row = {}
    for line in answer.lines:
        if HEADER.match(line):
            break
        if shape := PAIR.fullmatch(line):
            found.setdefault(*((shape[1], shape[2]) if shape[1] else (shape[3], shape[4])))
    return found


def blocks(answer: Answer, first: str) -> Iterator[Row]:
    """Groups of such lines, each of which begins with the name `first`."""
    block: Row = {}
    for line in answer.lines:
        if shape := PAIR.fullmatch(line):
            if shape[1] == first and block:
                yield block
                block = {}
            block[shape[1] or shape[3]] = shape[2] or shape[4] or ""
    if first in block:
        yield block


def number(text: str | None) -> int | None:
    """The number at the beginning of a cell; `-` and a missing cell are None."""
    shape = NUMBER.match(text or "")
    return int(shape[1]) if shape else None


def unit(text: str) -> str:
    """The unit behind the number, if it is a plain number."""
    shape = NUMBER.fullmatch(text)
    return shape[2] if shape else "?"


def slug(name: str) -> str:
    """A name in our manner of writing."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
