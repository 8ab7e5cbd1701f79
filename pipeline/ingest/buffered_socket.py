"""A socket that reads and writes in large pieces, for a client that asks for one byte at a time."""

from __future__ import annotations

import ssl
from contextlib import suppress
from typing import Any

PIECE = 1 << 18


class BufferedSocket:
    """As much of a non-blocking socket as an MQTT client uses. What was sent leaves with `flush`."""

    def __init__(self, plain: Any) -> None:
        self._plain = plain
        self._in = b""
        self._at = 0
        self._out = bytearray()

    def recv(self, size: int) -> bytes:
        """At most `size` bytes. Raises BlockingIOError where none are there."""
        end = self._at + size
        taken = self._in[self._at : end]
        if taken:
            self._at = end
            return taken
        self._in, self._at = self._plain.recv(PIECE), size
        return self._in[:size]

    def buffered(self) -> bool:
        """Whether bytes wait that select() cannot see."""
        return self._at < len(self._in)

    def send(self, data: bytes) -> int:
        """Keep the bytes until `flush`."""
        self._out += data
        return len(data)

    def flush(self) -> bool:
        """Send what the kernel takes; True once nothing is left. Raises OSError where the line is gone."""
        while self._out:
            try:
                del self._out[: self._plain.send(self._out)]
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
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
