"""Emulated devices on wires: a pty, a TCP port, a CAN bus. Real bytes, one thread a wire, no privileges needed."""

from __future__ import annotations

import os
import select
import socket
import tempfile
import time
import tty
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

import can

from collectors.emulators.device import Trouble
from collectors.kernel import CanFrame

CHUNK = 4096
SLICE_S = 0.2
"""Longest wait of a serving thread before it looks whether it shall stop."""
KEPT = 1000
OPEN, LISTENING, CLOSED = b"O", b"L", b"C"

Serve = Callable[[bytes], tuple[bytes, bytes, bytes]]
"""serve(buffer) -> (request that was found or b"", its answer or b"", rest of the buffer)."""


@dataclass(frozen=True, slots=True)
class CanTalk:
    """What a device says on CAN: a round of frames every `period_s`, and its answers to a frame."""

    broadcast: Callable[[], list[CanFrame]]
    hear: Callable[[CanFrame], list[CanFrame]]
    period_s: float


class Wire:
    """A wire that is served by a thread until `stop`; `link` is what stands in edge.toml."""

    link: str

    def __init__(self, trouble: Trouble) -> None:
        self._trouble = trouble
        self._stop = Event()
        self._thread = Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def stop(self) -> None:
        """Stop serving and take the wire away; returns when the thread has ended."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        raise NotImplementedError

    def _answers(self, serve: Serve, buffer: bytes, send: Callable[[bytes], object]) -> bytes:
        while True:
            request, answer, buffer = serve(buffer)
            if not request:
                return buffer
            self._stop.wait(self._trouble.delay_s)
            spoiled = self._trouble.spoil(request, answer)
            if spoiled:
                send(spoiled)


class PtyWire(Wire):
    """A serial port. `unplug` takes it away and `plug` brings it back under the same path."""

    def __init__(self, trouble: Trouble, serve: Serve, scheme: str) -> None:
        super().__init__(trouble)
        self._serve = serve
        self._folder = tempfile.TemporaryDirectory(prefix="cellherd-port-")
        self.path = Path(self._folder.name, "port")
        self.link = f"{scheme}:{self.path}"
        self._ends: tuple[int, int] | None = None
        self.plug()

    def plug(self) -> None:
        """Put the port there."""
        master, slave = os.openpty()
        tty.setraw(slave)
        self.path.symlink_to(os.ttyname(slave))
        self._ends = master, slave

    def unplug(self) -> None:
        """Take the port away, as pulling a USB adapter does."""
        self.path.unlink(missing_ok=True)
        ends, self._ends = self._ends, None
        for end in ends or ():
            os.close(end)

    def stop(self) -> None:
        """See Wire."""
        super().stop()
        self.unplug()
        self._folder.cleanup()

    def _run(self) -> None:
        buffer = b""
        while not self._stop.is_set():
            ends = self._ends
            if ends is None:
                self._stop.wait(SLICE_S)
                continue
            try:
                ready, _, _ = select.select([ends[0]], [], [], SLICE_S)
                if ready:
                    buffer += os.read(ends[0], CHUNK)
                    buffer = self._answers(self._serve, buffer, lambda data, end=ends[0]: os.write(end, data))  # type: ignore[misc]
            except OSError:  # unplugged between two steps
                buffer = b""


class TcpWire(Wire):
    """A TCP port on the loopback; serves one client after the other, as small gateways do."""

    def __init__(self, trouble: Trouble, serve: Serve, scheme: str) -> None:
        super().__init__(trouble)
        self._serve = serve
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(SLICE_S)
        self.link = f"{scheme}:127.0.0.1:{self._listener.getsockname()[1]}"

    def stop(self) -> None:
        """See Wire."""
        super().stop()
        self._listener.close()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:  # nobody called in this slice
                continue
            with client:
                client.settimeout(SLICE_S)
                self._attend(client)

    def _attend(self, client: socket.socket) -> None:
        buffer = b""
        while not self._stop.is_set():
            try:
                data = client.recv(CHUNK)
                if not data:
                    return
                buffer = self._answers(self._serve, buffer + data, client.sendall)
            except TimeoutError:
                continue
            except OSError:
                return


class VirtualBus(Wire):
    """A CAN bus inside this process; `asked` are the last frames that others put on it."""

    def __init__(self, trouble: Trouble, talk: CanTalk, name: str) -> None:
        super().__init__(trouble)
        self._talk = talk
        self._bus = can.Bus(interface="virtual", channel=name)
        self.link = f"virtual:{name}"
        self.asked = deque[CanFrame](maxlen=KEPT)

    def stop(self) -> None:
        """See Wire."""
        super().stop()
        self._bus.shutdown()

    def _run(self) -> None:
        due = time.monotonic() + self._talk.period_s
        while not self._stop.is_set():
            message = self._bus.recv(min(SLICE_S, max(0.0, due - time.monotonic())))
            if message is not None:
                self.asked.append(CanFrame(message.arbitration_id, bytes(message.data), message.is_extended_id))
                self._send(self._talk.hear(self.asked[-1]))
            if time.monotonic() >= due:
                due = time.monotonic() + self._talk.period_s
                self._send(self._talk.broadcast())

    def _send(self, frames: list[CanFrame]) -> None:
        for frame in [] if self._trouble.silent else frames:
            self._bus.send(can.Message(arbitration_id=frame.id, data=frame.data, is_extended_id=frame.extended))


class SlcanWire(PtyWire):
    """A USB CAN adapter on a pty, between processes. It talks once it was opened with O or L, and sends after O only.

    `commands` are the last bytes that it was given, `asked` the last frames that it was given to send.
    """

    def __init__(self, trouble: Trouble, talk: CanTalk) -> None:
        super().__init__(trouble, lambda buffer: (b"", b"", b""), "slcan")
        self._talk = talk
        self._mode = CLOSED
        self.commands = b""
        self.asked = deque[CanFrame](maxlen=KEPT)

    def _run(self) -> None:
        due, rest = time.monotonic() + self._talk.period_s, b""
        while not self._stop.is_set():
            ends = self._ends
            if ends is None:
                self._stop.wait(SLICE_S)
                continue
            end = ends[0]
            try:
                if select.select([end], [], [], min(SLICE_S, max(0.0, due - time.monotonic())))[0]:
                    data = os.read(end, CHUNK)
                    self.commands = (self.commands + data)[-CHUNK:]
                    *lines, rest = (rest + data).split(b"\r")
                    for line in lines:
                        self._obey(line, end)
                if time.monotonic() >= due:
                    due = time.monotonic() + self._talk.period_s
                    self._send(self._talk.broadcast(), end)
            except (OSError, ValueError):  # unplugged between two steps, or told nonsense
                self._mode, rest = CLOSED, b""

    def _obey(self, line: bytes, end: int) -> None:
        if line in (OPEN, LISTENING, CLOSED):
            self._mode = line
        elif line[:1] in (b"t", b"T") and self._mode == OPEN:
            self.asked.append(of_slcan(line))
            self._send(self._talk.hear(self.asked[-1]), end)

    def _send(self, frames: list[CanFrame], end: int) -> None:
        if self._mode != CLOSED and not self._trouble.silent:
            os.write(end, b"".join(map(as_slcan, frames)))


class PushWire(PtyWire):
    """A serial port on which a device talks by itself; what nobody reads is lost."""

    def __init__(self, trouble: Trouble, push: Callable[[], bytes], period_s: float) -> None:
        super().__init__(trouble, lambda buffer: (b"", b"", b""), "serial")
        self._push, self._period_s = push, period_s

    def _run(self) -> None:
        while not self._stop.wait(self._period_s):
            ends = self._ends
            if ends is None:
                continue
            try:
                os.set_blocking(ends[0], False)
                os.write(ends[0], self._trouble.spoil(b"", self._push()))
            except OSError:  # unplugged between two steps, or nobody reads
                continue


def of_slcan(line: bytes) -> CanFrame:
    """The frame that an slcan adapter is told to send. Raises ValueError."""
    digits = 8 if line[:1] == b"T" else 3
    data = bytes.fromhex(line[digits + 2 :].decode("ascii", "replace"))
    return CanFrame(int(line[1 : digits + 1], 16), data, extended=digits == 8)


def as_slcan(frame: CanFrame) -> bytes:
    """A frame as an slcan adapter writes it."""
    head = f"T{frame.id:08X}" if frame.extended else f"t{frame.id:03X}"
    return f"{head}{len(frame.data)}{frame.data.hex().upper()}\r".encode()
