"""The line to the MQTT broker: takes messages in and does nothing else with them.

One thread does everything that touches paho, so an acknowledgement cannot meet a connection that is not its own: packet
ids begin anew with every connection, and a late acknowledgement would confirm a message that nobody has seen.
"""

from __future__ import annotations

import logging
import select
import socket
import ssl
import struct
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from threading import Event, Thread
from time import monotonic, time_ns
from typing import Any, NamedTuple, cast

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from cellherd.topics import EVERYTHING
from pipeline.ingest.buffered_socket import BufferedSocket, Publish

KEEPALIVE_S = 20
WAITING, WAITING_BYTES = 40_000, 2**26
"""Messages and bytes that may wait for the committer; above it nothing more is read, and the broker feels it."""
MANY = 2_000
"""Messages for which the committer does not wait any longer."""
LONGEST_PAUSE_S = 5.0
REFUSED = {4, 5}  # CONNACK of 3.1.1: bad user name or password, not authorised
_PUBACK = struct.Struct(">BBH")
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Line:
    """How to reach the broker."""

    host: str
    port: int
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: bool = False
    ca_file: Path | None = None
    same_machine: bool = False  # our own child: its certificate is checked, its name is not
    certificate: tuple[Path, Path] | None = None  # ours, with its key, for a broker that asks for one


class Message(NamedTuple):
    """What came, when (UTC ms), and what its acknowledgement needs. A tuple, for there are thousands a second."""

    topic: str
    payload: bytes
    arrival_ts: int
    connection: int
    mid: int
    qos: int


class _Client(mqtt.Client):
    """paho for everything but what comes in by the thousand, which its socket takes out."""

    def _create_socket(self) -> Any:
        return BufferedSocket(super()._create_socket())


def _context(line: Line) -> ssl.SSLContext:
    """TLS 1.2 or newer. Our own child need only show the very certificate that it was given."""
    context = ssl.create_default_context(cafile=line.ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = not line.same_machine
    if line.same_machine:
        context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    if line.certificate:
        context.load_cert_chain(*line.certificate)
    return context


class Subscriber:
    """The network thread. `take` what came, `done` with what is safe, `tell` what is to be told.

    `connected` is set while messages can flow; `refused` says why the broker does not let us in; `turned` is the
    monotonic time of the thread's last turn, since paho's own idea of being connected outlives its thread.
    """

    def __init__(self, line: Line) -> None:
        self.line = line
        self.connected = Event()
        self.refused = ""
        self.turned = monotonic()
        self._connection = 0
        self._waiting: deque[Message] = deque()
        self._came = self._went = 0  # bytes; one thread writes each
        self._many = Event()
        self._acks: deque[Message] = deque()
        self._told: deque[tuple[str, bytes]] = deque()
        self._stopping = Event()
        self._wake, self._woken = socket.socketpair()
        self._wake.setblocking(False)
        self._client = self._made()
        self._thread = Thread(target=self._run, name="mqtt", daemon=True)

    def start(self) -> None:
        """Begin to connect; a broker that is away is tried until it comes."""
        self._thread.start()

    def alive(self) -> bool:
        """Whether the network thread lives."""
        return self._thread.is_alive()

    def take(self, limit: int = MANY, wait_s: float = 0.1) -> list[Message]:
        """What came, at most `limit` messages, after waiting for `wait_s` seconds or many messages."""
        if len(self._waiting) < limit:
            self._many.wait(wait_s)
        self._many.clear()
        taken = [self._waiting.popleft() for _ in range(min(limit, len(self._waiting)))]
        self._went += sum(len(message.payload) for message in taken)
        return taken

    def done(self, messages: Iterable[Message], receipts: Iterable[tuple[str, bytes]] = ()) -> None:
        """Acknowledge messages, where their connection still stands, and publish receipts."""
        self._acks.extend(messages)
        self._told.extend(receipts)
        if self._acks or self._told:
            self._nudge()

    def stop(self) -> None:
        """Send what is still to be sent, disconnect, end the thread."""
        self._stopping.set()
        self._nudge()
        if self._thread.is_alive():
            self._thread.join(timeout=5)
        self._wake.close()
        self._woken.close()

    def _made(self) -> _Client:
        client = _Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"ingest-{token_hex(8)}",
            clean_session=True,
            protocol=mqtt.MQTTv311,
            manual_ack=True,
        )
        line = self.line
        client.username_pw_set(line.username, line.password)
        if line.tls:
            client.tls_set_context(_context(line))
        client.connect_async(line.host, line.port, KEEPALIVE_S)
        client.on_connect, client.on_subscribe = self._on_connect, self._on_subscribe
        client.on_disconnect = self._on_disconnect
        return client

    def _on_connect(self, _client: Any, _data: Any, _flags: Any, code: Any, _properties: Any) -> None:
        self._connection += 1
        self.refused = str(code) if code.is_failure else ""
        if code.is_failure:
            log.error("the broker at %s:%d refuses us: %s", self.line.host, self.line.port, code)
        else:
            self._client.subscribe(EVERYTHING, qos=1)

    def _on_subscribe(self, _client: Any, _data: Any, _mid: int, codes: Any, _properties: Any) -> None:
        if any(code.is_failure for code in codes):
            log.error("the broker does not let %s subscribe to %s", self.line.username, EVERYTHING)
            self._client.disconnect()
        else:
            log.info("connected to %s:%d", self.line.host, self.line.port)
            self.connected.set()

    def _on_disconnect(self, _client: Any, _data: Any, _flags: Any, code: Any, _properties: Any) -> None:
        if self.connected.is_set() and not self._stopping.is_set():
            log.warning("lost the broker at %s:%d: %s", self.line.host, self.line.port, code)
        self.connected.clear()

    def _run(self) -> None:
        pause, said = 0.2, False
        while not self._stopping.is_set():
            let_in = False
            try:
                self._client.reconnect()
                let_in = self._serve()
            except OSError as error:
                if not said:
                    log.warning("no broker at %s:%d (%s); trying on", self.line.host, self.line.port, error)
                said = True
            self.connected.clear()
            self.turned = monotonic()
            said, pause = said and not let_in, 0.2 if let_in else min(2 * pause, LONGEST_PAUSE_S)
            self._stopping.wait(pause)

    def _serve(self) -> bool:
        """Move bytes until the connection ends. Returns whether the broker let us in."""
        let_in = False
        while (line := self._line()) is not None:
            self.turned = monotonic()
            let_in |= self.connected.is_set()
            self._send(line)
            if self._stopping.is_set():
                self._client.disconnect()
                break
            hungry = len(self._waiting) < WAITING and self._came - self._went < WAITING_BYTES
            self._client.loop_write()
            writers = [] if line.flush() else [line]
            readers: list[Any] = [self._woken, *([line] if hungry else [])]
            ready, _, _ = select.select(readers, writers, [], 0.5)
            if self._woken in ready:
                self._woken.recv(4096)
            if line in ready:
                self._read(line)
            self._client.loop_misc()
        return let_in

    def _read(self, line: BufferedSocket) -> None:
        line.fill()
        self._came_in(line.publishes())
        while self._line() is line and line.others():
            self._client.loop_read()
            self._came_in(line.publishes())

    def _came_in(self, packets: list[Publish]) -> None:
        arrival_ts, connection, size = time_ns() // 1_000_000, self._connection, 0
        for topic, payload, mid, qos in packets:
            try:
                name = topic.decode()
            except UnicodeDecodeError:
                name = "\ufffd"  # ends as a dead letter
            self._waiting.append(Message(name, payload, arrival_ts, connection, mid, qos))
            size += len(payload)
        self._came += size
        if len(self._waiting) >= MANY:
            self._many.set()

    def _line(self) -> BufferedSocket | None:
        return cast(BufferedSocket | None, self._client.socket())  # _Client makes no other

    def _send(self, line: BufferedSocket) -> None:
        if not self.connected.is_set():
            return
        while self._acks:
            message = self._acks.popleft()
            if message.qos == 1 and message.connection == self._connection:
                line.send(_PUBACK.pack(0x40, 2, message.mid))  # what paho's ack() sends, at a tenth of its time
        while self._told:
            self._client.publish(*self._told.popleft())

    def _nudge(self) -> None:
        with suppress(BlockingIOError):  # a full pipe wakes as well
            self._wake.send(b".")
