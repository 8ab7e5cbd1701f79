"""Frames as people write them, and what they say as plain objects: for the command line, replays and tests."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict

from cellherd.errors import BadFrame
from cellherd.reading import Measured, as_row, beyond
from collectors.kernel import CanFrame, Chunk, Driver

CAN = re.compile(r"(?:\([\d.]+\)\s+\S+\s+)?([0-9A-Fa-f]{1,8})#([0-9A-Fa-f.\s]*)")
"""ID#DATA, alone or in a line of candump's log; more than three digits are an extended id."""
HEX = re.compile(r"(?:0[xX])?(?:[0-9A-Fa-f]{2}[\s:]*)+")


def parse(driver: Driver, text: str) -> Chunk:
    """A frame from its text: ID#DATA for CAN, the line itself or hex for ASCII protocols, hex for all others.

    Raises BadFrame with what the driver would have liked.
    """
    if driver.spans_lines and not HEX.fullmatch(text.strip()):
        return _bytes(text)
    text = text.strip().removesuffix("\\r")
    if "can" in driver.links:
        return _can(text)
    if HEX.fullmatch(text):
        return bytes.fromhex(text.removeprefix("0x").removeprefix("0X").replace(":", ""))
    if driver.ascii:
        return text.encode("ascii", "replace") + b"\r"
    raise BadFrame(f"{text[:60]!r} is not hex, two digits a byte")


def _bytes(text: str) -> bytes:
    """The text byte for byte, Latin-1, also where an argument's bytes were no UTF-8."""
    try:
        return text.encode("latin-1", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("ascii", "replace")


def _can(text: str) -> CanFrame:
    shape = CAN.fullmatch(text)
    data = re.sub(r"[.\s]", "", shape[2]) if shape else ""
    if shape is None or len(data) % 2:
        raise BadFrame(f"{text[:60]!r} is not ID#DATA, like 356#7A13F2FE6B01")
    return CanFrame(int(shape[1], 16), bytes.fromhex(data), extended=len(shape[1]) > 3 or int(shape[1], 16) > 0x7FF)


def results(driver: Driver, texts: Iterable[str], request: bytes | None = None) -> Iterator[dict[str, object]]:
    """One object for each frame and module; a bad frame gives `{"error": "bad_frame", ...}` and decoding goes on."""
    for text in texts:
        try:
            for measured in driver.decode(parse(driver, text), request):
                yield render(measured)
        except BadFrame as error:
            yield {"error": "bad_frame", "reason": str(error) if error.frame else error.reason}


def render(measured: Measured) -> dict[str, object]:
    """Only what the frame carried: names and units of cellherd.reading, all other numbers under `extra`."""
    said: dict[str, object] = {} if measured.module is None else {"module": measured.module}
    if measured.kind != "module":
        said["kind"] = measured.kind
    said |= as_row(measured)
    info = dict(measured.info)
    extra: dict[str, object] = {**measured.extra, **beyond(measured)}
    extra |= {f"limit_{name}": value for name, value in measured.limits.items()}
    extra |= measured.counters
    extra |= {name: value for name, value in info.items() if not isinstance(value, str)}
    texts = {name: value for name, value in info.items() if isinstance(value, str)}
    log = [asdict(entry) for entry in measured.log]
    said |= {name: value for name, value in (("extra", extra), ("info", texts), ("log", log)) if value}
    return said
