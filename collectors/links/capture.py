"""Captures: a conversation with a device as JSON Lines, recorded from a link and played back as one.

The first line names the driver: {"capture": 1, "driver": "jbd"}. Every further line is one answer:
{"ts": ms, "address": n, "request": text or null, "answer": hex, or ID#DATA for CAN}. A question without a sound
answer stands there with what came instead: {.., "request": text, "failed": "bad", "reason": text, "heard": hex};
playing back, it fails again.
"""

from __future__ import annotations

import json
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any, TextIO

from cellherd.errors import BadFrame, CellherdError, Silent
from collectors.kernel import (
    Answer,
    CanFrame,
    Chunk,
    Driver,
    Registers,
    Request,
    Send,
    Unsupported,
    refuse_unless_permitted,
)
from collectors.links import Link, Place

VERSION = 1


class WasSilent(Silent):
    """A question that had no answer when it was recorded; the capture goes on behind it."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One line of a capture; `request` is None for what a device said unasked, `failed` is why there was no answer."""

    ts: int
    address: int
    request: str | None
    answer: Chunk
    failed: Silent | BadFrame | None = None


def as_text(request: Request) -> str:
    """A request as a capture writes it: hex, registers as `3@4608+40`, or ID#DATA."""
    match request:
        case Send(data):
            return data.hex()
        case Registers(function, start, count):
            return f"{function}@{start}+{count}"
    return str(request)


def read_capture(path: Path) -> tuple[str, list[Exchange]]:
    """The driver's name and all exchanges. Raises CellherdError with the line that is wrong."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CellherdError(f"{path}: cannot be read as a capture, {error}") from None
    entries = list(_entries(path, lines))
    if not entries or entries[0].get("capture") != VERSION:
        raise CellherdError(f'{path}: a capture begins with {{"capture": 1, "driver": "..."}}')
    try:
        return str(entries[0]["driver"]), [_exchange(entry) for entry in entries[1:]]
    except (KeyError, ValueError, TypeError) as error:
        raise CellherdError(f"{path}: an exchange lacks something or is no hex: {error}") from None


def _entries(path: Path, lines: list[str]) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line)
        except ValueError:
            entry = None
        if not isinstance(entry, dict):
            raise CellherdError(f"{path}: line {number} is not a JSON object; the capture may be cut there")
        yield entry


def _exchange(entry: dict[str, Any]) -> Exchange:
    at = int(entry["ts"]), int(entry["address"]), entry["request"]
    if "failed" in entry:
        heard, reason = bytes.fromhex(entry["heard"]), str(entry["reason"])
        return Exchange(*at, heard, _failed(str(entry["failed"]), reason, heard))
    return Exchange(*at, _chunk(str(entry["answer"])))


def _failed(kind: str, reason: str, heard: bytes) -> Silent | BadFrame:
    if kind == "silent":
        return WasSilent(reason)
    return {"unsupported": Unsupported, "bad": BadFrame}[kind](reason, heard)


def _chunk(text: str) -> Chunk:
    name, is_can, data = text.partition("#")
    return CanFrame(int(name, 16), bytes.fromhex(data), len(name) > 3) if is_can else bytes.fromhex(text)


class Replay:
    """A Link that answers from a capture, each answer once and in its order; `ts` is when the last one came, ms UTC."""

    def __init__(self, path: Path, driver: Driver, halt: Event) -> None:
        name, exchanges = read_capture(path)
        if name != driver.name:
            raise CellherdError(f"{path}: was recorded from {name}, not {driver.name}")
        self._path, self._driver, self._halt = path, driver, halt
        self.ts = exchanges[0].ts if exchanges else 0
        self._answers: dict[tuple[int, str | None], deque[Exchange]] = defaultdict(deque)
        for exchange in exchanges:
            self._answers[exchange.address, exchange.request].append(exchange)

    def ask(self, request: Request, *, address: int) -> Answer:
        """See Link; Silent where the capture holds no (further) answer, and what failed fails again."""
        refuse_unless_permitted(self._driver, request)
        exchanges = self._answers[address, as_text(request)]
        if not exchanges:
            raise Silent(f"{self._path}: holds no further answer to {as_text(request)} at address {address}")
        failed = exchanges[0].failed
        answer = self._take(exchanges)
        if failed is not None:
            raise failed
        return answer.data if isinstance(answer, CanFrame) else answer

    def hear(self, timeout: float) -> Chunk | None:
        """See Link; quiet once the capture has ended."""
        heard = self._answers[0, None]
        if heard:
            return self._take(heard)
        self._halt.wait(timeout)
        return None

    def _take(self, exchanges: deque[Exchange]) -> Chunk:
        exchange = exchanges.popleft()
        self.ts = exchange.ts
        return exchange.answer

    def close(self) -> None:
        """Nothing is open."""


def open_replay(place: Place, driver: Driver, halt: Event) -> Replay:
    """A capture as a link. Raises CellherdError."""
    return Replay(Path(place.target), driver, halt)


def _failure(error: Silent | BadFrame) -> dict[str, str]:
    if isinstance(error, Silent):
        return {"failed": "silent", "reason": str(error), "heard": ""}
    kind = "unsupported" if isinstance(error, Unsupported) else "bad"
    return {"failed": kind, "reason": error.reason, "heard": error.frame.hex()}


class Recorder:
    """A Link that writes down what passes through another one."""

    def __init__(self, link: Link, file: TextIO, driver: Driver, now: Callable[[], int]) -> None:
        self._link, self._file, self._now = link, file, now
        self._line({"capture": VERSION, "driver": driver.name})

    def ask(self, request: Request, *, address: int) -> Answer:
        """See Link."""
        asked = {"address": address, "request": as_text(request)}
        try:
            answer = self._link.ask(request, address=address)
        except (Silent, BadFrame) as error:
            self._line({"ts": self._now(), **asked, **_failure(error)})
            raise
        self._line({"ts": self._now(), **asked, "answer": answer.hex()})
        return answer

    def hear(self, timeout: float) -> Chunk | None:
        """See Link."""
        chunk = self._link.hear(timeout)
        if chunk is not None:
            said = chunk.hex() if isinstance(chunk, bytes) else str(chunk)
            self._line({"ts": self._now(), "address": 0, "request": None, "answer": said})
        return chunk

    def close(self) -> None:
        """See Link."""
        self._link.close()

    def _line(self, entry: dict[str, object]) -> None:
        self._file.write(json.dumps(entry) + "\n")
        self._file.flush()
