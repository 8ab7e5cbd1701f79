"""A load for the broker: as many readings as the one who takes them can take, for a given time.

A block of messages is made once and sent again and again, each time as another epoch, so that no reading comes twice.
"""

from __future__ import annotations

import mmap
import select
import socket
import ssl
import struct
from collections.abc import Iterator
from pathlib import Path
from secrets import token_hex
from time import monotonic, time_ns

from cellherd import topics, wire
from cellherd.wire import Line, Source

MODULES = 100
BLOCK = {12: 48_000, 2: 12_000, 1: 6_000}
"""Readings in a block, by readings a message: 4,000 to 6,000 messages."""
WINDOW = 2_000
"""Messages that the broker has not acknowledged."""
AHEAD = 20_000
"""Messages that the receiver has not got: enough that it never waits, too few to make the broker another one."""
STREAM, EPOCH = "5" * 32, "e" * 16
NOW = time_ns() // 1_000_000


def row(number: int) -> dict[str, object]:
    """16 cells, 6 temperatures, 15 scalars, no two rows alike."""
    cells = [3300 + (number * 7 + cell * 13) % 31 for cell in range(16)]
    return {
        "voltage_mv": sum(cells), "current_ma": -5000 + number % 997, "soc_pm": 500 + number % 400, "soh_pm": 990,
        "remaining_mah": 50_000 + number % 5000, "full_mah": 100_000, "cycles": 321, "cell_min_mv": min(cells),
        "cell_max_mv": max(cells), "cell_min_at": cells.index(min(cells)), "cell_max_at": cells.index(max(cells)),
        "temp_min_dc": 210, "temp_max_dc": 240, "charge_on": 1, "discharge_on": 1, "cell_mv": cells,
        "temp_dc": [210 + (number + t) % 30 for t in range(6)], "faults": [],
    }  # fmt: skip


def messages(each: int) -> Iterator[tuple[str, bytes]]:
    """A block in rounds of all modules, as an outbox sends it: a message holds every 100th number."""
    for turn in range(BLOCK[each] // (each * MODULES)):
        for module in range(MODULES):
            seqs = [1 + turn * each * MODULES + i * MODULES + module for i in range(each)]
            name = f"m{module}"
            lines = [Line(seq, NOW - 10**9 + 50 * seq, 50 * seq, row(seq)) for seq in seqs]
            source = Source(STREAM, EPOCH, name, "module", "jbd", "0badcafe", "ntp")
            yield topics.readings("pi1", "s1", name), wire.pack(source, lines, sent_ts=NOW, sent_bt=1)


class Odometer:
    """How many messages came so far, in a file that the publisher reads too."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(8))
        with path.open("r+b") as file:
            self._page = mmap.mmap(file.fileno(), 8)

    def show(self, messages: int) -> None:
        self._page[:] = struct.pack("<q", messages)

    def read(self) -> int:
        return int(struct.unpack("<q", self._page)[0])


class Publisher:
    """A login on a bare socket, so that it takes little of the machine."""

    def __init__(self, port: int, login: tuple[str, str], each: int, ca: str = "") -> None:
        self._block = [
            packet(0x32, text(topic) + struct.pack(">H", 1 + number) + payload)
            for number, (topic, payload) in enumerate(messages(each))
        ]
        hello = text("MQTT") + b"\x04\xc2" + struct.pack(">H", 60) + text(f"bench-{token_hex(4)}")
        self._line = dialled(port, ca)
        self._line.sendall(packet(0x10, hello + text(login[0]) + text(login[1])))
        assert self._line.recv(4)[3] == 0, "the broker refuses the publisher"
        self._sent = self._acknowledged = 0

    def publish(self, seconds: float, odometer: Odometer) -> int:
        """For so long, then until all is acknowledged. Returns the messages sent."""
        end = monotonic() + seconds
        while monotonic() < end:
            fresh = token_hex(8).encode()
            block = [message.replace(EPOCH.encode(), fresh) for message in self._block]
            while block and monotonic() < end:
                room = min(self._acknowledged // 4 + WINDOW, odometer.read() + AHEAD) - self._sent
                if room > 0:
                    self._line.sendall(b"".join(block[:room]))
                    self._sent += len(block[:room])
                    del block[:room]
                self._hear(0.005)
        while self._acknowledged < 4 * self._sent:
            self._hear(30)
        self._line.close()
        return self._sent

    def _hear(self, patience_s: float) -> None:
        if select.select([self._line], [], [], patience_s)[0]:
            heard = self._line.recv(65536)
            assert heard, "the broker threw the publisher off"
            self._acknowledged += len(heard)
        else:
            assert patience_s < 1, "the broker does not acknowledge any more"


def dialled(port: int, ca: str = "") -> socket.socket:
    """A connection to the broker on this machine, over TLS where an authority is given."""
    line = socket.create_connection(("127.0.0.1", port))
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return ssl.create_default_context(cafile=ca).wrap_socket(line, server_hostname="127.0.0.1") if ca else line


def text(value: str) -> bytes:
    return struct.pack(">H", len(value)) + value.encode()


def packet(kind: int, body: bytes) -> bytes:
    size, left = b"", len(body)
    while True:
        size += bytes([left % 128 | (0x80 if left > 127 else 0)])
        left //= 128
        if not left:
            return bytes([kind]) + size + body
