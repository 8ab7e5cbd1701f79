"""A device that answers with what a real one once said: the frames of a capture, over and over."""

from __future__ import annotations

from collections import defaultdict, deque
from pathlib import Path

from collectors.emulators.device import Emulator, Truths
from collectors.kernel import Answer, CanFrame, Registers, Request
from collectors.links.capture import as_text, read_capture

KEPT = 4096
"""Bytes of a buffer without a known request that are kept, in case the rest of one follows."""


def from_capture(path: Path) -> Emulator:
    """The emulator of a capture; silent to every request that the capture does not hold. Raises CellherdError."""
    _, exchanges = read_capture(path)
    answers: dict[tuple[int, str], deque[bytes]] = defaultdict(deque)
    for e in exchanges:
        if e.request is not None and isinstance(e.answer, bytes):
            answers[e.address if "@" in e.request else 0, e.request].append(e.answer)
    said = [e.answer for e in exchanges if isinstance(e.answer, CanFrame)]
    known = [bytes.fromhex(text) for _, text in answers if "@" not in text]

    def answer(request: Request, address: int, truths: Truths) -> Answer | None:
        held = answers.get((address if isinstance(request, Registers) else 0, as_text(request)))
        if not held:
            return None
        held.rotate(-1)
        return held[-1]

    def cut(buffer: bytes) -> tuple[bytes | None, bytes]:
        places = [(at, request) for request in known if (at := buffer.find(request)) >= 0]
        if not places:
            return None, buffer[-KEPT:]
        at, request = min(places)
        return request, buffer[at + len(request) :]

    return Emulator(answer=answer, cut=cut, broadcast=lambda truths: said)
