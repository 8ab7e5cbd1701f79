"""A socket that reads and writes in large pieces, and takes PUBLISH packets (MQTT 3.1.1, section 3.3) out by itself.

paho takes seven times as long for a message (tests/bench/receiving.py). So the packets that come by the thousand are
read here, and paho gets every other packet whole, never a part of one.
"""

from __future__ import annotations

import ssl
from contextlib import suppress
from typing import Any, NamedTuple

PIECE = 1 << 18
_PUBLISH = 3
_LONGEST = 4
"""Bytes of a packet's length."""
_NOTHING_YET = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Publish(NamedTuple):
    """What a PUBLISH packet holds; `mid` is 0 at QoS 0."""

    topic: bytes
    payload: bytes
    mid: int
    qos: int


class BufferedSocket:
    """As much of a non-blocking socket as an MQTT client uses. What was sent leaves with `flush`.

    `fill`, then `publishes`; then, while `others` says so, whoever knows the other packets may `recv` one.
    """

    def __init__(self, plain: Any) -> None:
        self._plain = plain
        self._room = memoryview(bytearray(PIECE))
        self._in = b""
        self._at = self._given = 0
        """What was taken out already, and up to where `recv` may take."""
        self._ended = False
        self._out = bytearray()

    def fill(self) -> None:
        """Read what the kernel has, at most a piece. An end of the line shows in `others` and `recv`.

        Always into the same room: a piece made for each read and cut short afterwards leaves the heap of this thread in
        fragments that no later piece fits into, and the process grows (docs/reliability.md).
        """
        try:
            size = self._plain.recv_into(self._room)
        except _NOTHING_YET:
            return
        except OSError:  # it is gone: the next recv says it again, or says the end
            size = 0
        self._ended = not size
        self._in = b"".join((self._in[self._at :], self._room[:size]))
        self._given, self._at = self._given - self._at, 0

    def publishes(self) -> list[Publish]:
        """All whole PUBLISH packets up to the first packet of another kind, of a higher QoS than 1, or cut short."""
        found: list[Publish] = []
        content, at = self._in, self._at
        while (packet := _packet(content, at)) is not None:
            begin, end = packet
            kind = content[at]
            qos = kind >> 1 & 3
            body = begin + 2 + int.from_bytes(content[begin : begin + 2], "big")
            if kind >> 4 != _PUBLISH or qos > 1 or body + 2 * qos > end:
                break
            mid = int.from_bytes(content[body : body + 2], "big") if qos else 0
            found.append(Publish(content[begin + 2 : body], content[body + 2 * qos : end], mid, qos))
            at = end
        self._at = self._given = at
        return found

    def others(self) -> bool:
        """Whether a whole packet of another kind is next, or the end of the line; `recv` gives that and no more."""
        packet = _packet(self._in, self._at)
        self._given = packet[1] if packet else self._at
        return self._ended or packet is not None

    def recv(self, size: int) -> bytes:
        """At most `size` bytes of what `others` let through, b"" at the end. Raises BlockingIOError after it."""
        taken = self._in[self._at : min(self._at + size, self._given)]
        if not taken and not self._ended:
            raise BlockingIOError
        self._at += len(taken)
        return taken

    def send(self, data: bytes) -> int:
        """Keep the bytes until `flush`."""
        self._out += data
        return len(data)

    def flush(self) -> bool:
        """Send what the kernel takes; True once nothing is left. Raises OSError where the line is gone."""
        while self._out:
            try:
                del self._out[: self._plain.send(self._out)]
            except _NOTHING_YET:
                return False
        return True

    def setblocking(self, blocking: bool) -> None:
        """See socket."""
        self._plain.setblocking(blocking)

    def settimeout(self, seconds: float | None) -> None:
        """See socket."""
        self._plain.settimeout(seconds)

    def fileno(self) -> int:
        """See socket."""
        number: int = self._plain.fileno()
        return number

    def close(self) -> None:
        """See socket; what was not flushed yet gets one more chance."""
        with suppress(OSError):
            self.flush()
        self._plain.close()


def _packet(content: bytes, at: int) -> tuple[int, int] | None:
    """Where the body of the packet at `at` begins and ends; None while it is not all there.

    A length that is none (five bytes or more) lets everything through: paho refuses it.
    """
    length, shift = 0, 0
    for begin in range(at + 1, min(at + 1 + _LONGEST, len(content))):
        byte = content[begin]
        length |= (byte & 127) << shift
        if byte < 128:
            end = begin + 1 + length
            return (begin + 1, end) if end <= len(content) else None
        shift += 7
    return (at + 1, len(content)) if len(content) > at + _LONGEST else None
