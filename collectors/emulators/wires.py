"""Emulated devices on wires: a pty, a TCP port, a CAN bus. Real bytes, one thread a wire, no privileges needed."""

from __future__ import annotations

import os
import select
import socket
import tempfile
import tty
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread

import can

from collectors.emulators.device import Trouble
from collectors.kernel import CanFrame

CHUNK = 4096
SLICE_S = 0.2
"""Longest wait of a serving thread before it looks whether it shall stop."""

Serve = Callable[[bytes], tuple[bytes, bytes, bytes]]
"""serve(buffer) -> (request that was found or b"", its answer or b"", rest of the buffer)."""
Round = Callable[[], list[CanFrame]]


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
    """A CAN bus inside this process; one round of frames every `period_s`."""

    def __init__(self, trouble: Trouble, broadcast: Round, name: str, period_s: float) -> None:
        super().__init__(trouble)
        self._broadcast, self._period_s = broadcast, period_s
        self._bus = can.Bus(interface="virtual", channel=name)
        self.link = f"virtual:{name}"

    def stop(self) -> None:
        """See Wire."""
        super().stop()
        self._bus.shutdown()

    def _run(self) -> None:
        while not self._stop.wait(self._period_s):
            if not self._trouble.silent:
                for frame in self._broadcast():
                    self._bus.send(can.Message(arbitration_id=frame.id, data=frame.data, is_extended_id=frame.extended))


class SlcanWire(PtyWire):
    """A USB CAN adapter on a pty, between processes. It talks once it was opened with O or L."""

    def __init__(self, trouble: Trouble, broadcast: Round, period_s: float) -> None:
        super().__init__(trouble, lambda buffer: (b"", b"", b""), "slcan")
        self._broadcast, self._period_s = broadcast, period_s
        self.commands = b""

    def _run(self) -> None:
        while not self._stop.wait(self._period_s):
            ends = self._ends
            if ends is None:
                continue
            try:
                while select.select([ends[0]], [], [], 0)[0]:
                    self.commands += os.read(ends[0], CHUNK)
                if self._is_open() and not self._trouble.silent:
                    os.write(ends[0], b"".join(map(as_slcan, self._broadcast())))
            except OSError:  # unplugged between two steps
                self.commands = b""

    def _is_open(self) -> bool:
        last = [command for command in self.commands.split(b"\r") if command in (b"O", b"L", b"C")]
        return bool(last) and last[-1] != b"C"


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


def as_slcan(frame: CanFrame) -> bytes:
    """A frame as an slcan adapter writes it."""
    head = f"T{frame.id:08X}" if frame.extended else f"t{frame.id:03X}"
    return f"{head}{len(frame.data)}{frame.data.hex().upper()}\r".encode()
