"""Frames of Pylontech, Seplos V2 and PACE: ASCII hex between `~` and CR, a length that checks itself, a checksum."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

from cellherd.errors import BadFrame
from cellherd.reading import Measured
from collectors.kernel import Send, Unsupported

VERSION, BATTERY = 0x20, 0x46
PAIR = rb"[0-9A-Fa-f]{2}"
FRAME = re.compile(rb"~(%b)(%b)46(%b)(%b%b)((?:%b)*)(%b%b)" % ((PAIR,) * 8))
RETURNS = {
    0x01: "wrong version",
    0x02: "it saw a wrong checksum",
    0x03: "it saw a wrong length checksum",
    0x04: "it does not know this command",
    0x05: "wrong format",
    0x06: "wrong data",
    0x07: "it has no such data",
    0x90: "wrong address",
    0x91: "modules do not reach one another",
    0xE1: "wrong kind of battery",
    0xE2: "it could not do that",
    0xE3: "it is at fault",
    0xE4: "that is not permitted",
}
UNKNOWN_COMMAND = 0x04
GROUP = b"\xff"
"""In a request: of every module behind the one that is addressed."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A sound frame. `code` is the command of a request, the return code of an answer."""

    version: int
    address: int
    code: int
    info: bytes


def checksum(body: bytes) -> int:
    """Two's complement of the sum of the characters, 16 bits; both examples in the maker's document have it wrong."""
    return -sum(body) & 0xFFFF


def length(info: bytes) -> int:
    """LENGTH of a payload: the count of its characters, and above it the complement of that count's nibbles."""
    count = 2 * len(info)
    return (-(count >> 8 & 15) - (count >> 4 & 15) - (count & 15) & 15) << 12 | count


def write(address: int, code: int, info: bytes = b"", version: int = VERSION) -> bytes:
    """A request, or an answer as a battery would write it."""
    body = f"{version:02X}{address:02X}{BATTERY:02X}{code:02X}{length(info):04X}{info.hex().upper()}".encode()
    return b"~" + body + f"{checksum(body):04X}\r".encode()


def ask(address: int, command: int, info: bytes = b"") -> Send:
    """A request to one module, or to a group by its first address and `info` FF."""
    return Send(write(address, command, info))


def split(text: bytes) -> Frame:
    """The last frame in the text, with or without its CR. Raises BadFrame."""
    text = text[max(text.rfind(b"~"), 0) :].rstrip()
    shape = FRAME.fullmatch(text)
    if shape is None:
        raise BadFrame("not a frame of this kind: ~, pairs of hex digits, and CR", text)
    version, address, code, stated, _, check = (int(part or b"0", 16) for part in shape.groups())
    info = bytes.fromhex(shape[5].decode())
    if stated != length(info):
        raise BadFrame(f"length should be {length(info):04X}, not {stated:04X}", text)
    if check != checksum(text[1:-4]):
        raise BadFrame(f"checksum should be {checksum(text[1:-4]):04X}, not {check:04X}", text)
    return Frame(version, address, code, info)


def split_answer(text: bytes) -> Frame:
    """An answer that says OK. Raises BadFrame, Unsupported if the module does not know the command."""
    frame = split(text)
    if frame.code == UNKNOWN_COMMAND:
        raise Unsupported(f"module {frame.address} answers 04, {RETURNS[4]}", text)
    if frame.code:
        raise BadFrame(f"module {frame.address} answers {frame.code:02X}, {RETURNS.get(frame.code, 'unknown')}", text)
    return frame


Read = Callable[[int, Frame, bool | None], tuple[Measured, ...]]
"""What an answer says to this command, asked of a group or not (None: unknown). Raises BadFrame if it cannot be one."""


def said(text: bytes, request: bytes | None, commands: Iterable[int], read: Read) -> tuple[Measured, ...]:
    """An answer does not name its command: the request tells, or else the first of `commands` whose shape it has.

    Raises BadFrame, Unsupported for return code 04.
    """
    answer = split_answer(text)
    if request is not None:
        asked = split(request)
        return read(asked.code, answer, asked.info == GROUP)
    for command in commands:
        with suppress(BadFrame):
            return read(command, answer, None)
    raise BadFrame("an answer of no known shape; give its request too", answer.info)


def find(request: bytes, buffer: bytes, read: Read) -> bytes | None:
    """The answer to `request` inside the buffer, see kernel.Extract; late answers have other shapes."""
    asked, broken = split(request), None
    for line in buffer.split(b"\r")[:-1]:
        text = line[max(line.rfind(b"~"), 0) :] + b"\r"
        if text == request or not text.startswith(b"~") or text[3:7].upper() != request[3:7]:
            continue
        try:
            answer = split(text)
        except BadFrame as error:
            broken = broken or error
            continue
        if answer.code or _fits(asked, answer, read):
            return text
    if broken:
        raise broken
    return None


def _fits(asked: Frame, answer: Frame, read: Read) -> bool:
    try:
        return read(asked.code, answer, asked.info == GROUP) is not None
    except BadFrame:
        return False
