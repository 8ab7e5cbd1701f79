"""The line to the MQTT broker: says what it is handed, collects what the server answers, comes back when it breaks.

One thread does everything that touches paho, with a new client for each connection: paho would queue without bound
while disconnected, and its own thread ends silently at the first exception.
"""

from __future__ import annotations

import logging
import select
import socket
import ssl
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from threading import Event, Thread
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from cellherd import topics
from cellherd.clock import Clock, SystemClock
from cellherd.config import read_secret
from cellherd.settings import EdgeConfig
from collectors.tls import Trust, in_date, is_about_dates, trust

KEEPALIVE_S = 20
TURN_S = 1.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
SILENT_S = 30.0
"""A line on which nothing comes for so long is dead: an answer to the keepalive's question is due after 20 s."""
GRACE_S = 10.0
"""How long the broker may take to let us in and accept the subscriptions."""
INBOX = 1000
WRONG_PASSWORD = {"Bad user name or password", "Not authorized"}
WILL = b'{"v":1,"online":0}'
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Line:
    """How to reach the broker, and as whom."""

    edge: str
    host: str
    port: int
    client_id: str
    username: str
    password: str | None = field(repr=False)
    tls: Trust | None = None


def line_of(config: EdgeConfig, random_part: str) -> Line:
    """The line that edge.toml describes. Raises ConfigError where a password or CA file cannot be read."""
    mqtt_of = config.mqtt
    url = urlsplit(mqtt_of.url)
    secure = url.scheme == "mqtts"
    return Line(
        edge=config.edge,
        host=url.hostname or "127.0.0.1",
        port=url.port or (8883 if secure else 1883),
        client_id=mqtt_of.client_id or f"{config.edge}-{random_part}",
        username=mqtt_of.username or config.edge,
        password=read_secret(mqtt_of.password_file),
        tls=trust(mqtt_of) if secure else None,
    )


@dataclass(slots=True)
class _Outgoing:
    topic: str
    payload: bytes
    retain: bool


class Publisher:
    """The network thread. `send` while `online`; what came from the server waits in `inbox` as (topic, payload).

    `connections` counts how often the line was made, `turned` is the monotonic time of the thread's last turn, since
    paho's own idea of being connected outlives its connection. `wake` is called when there is news.
    """

    def __init__(self, line: Line, wake: Callable[[], None], clock: Clock | None = None) -> None:
        self.online = Event()
        self.inbox: deque[tuple[str, bytes]] = deque(maxlen=INBOX)
        self.connections = 0
        self.turned = monotonic()
        self.lost: float | None = None
        """When the last connection broke, monotonic."""
        self._heard = self.turned
        self._undated = False
        self._clock = clock or SystemClock()
        self._line, self._wake = line, wake
        self._outgoing: deque[_Outgoing] = deque()
        self._stopping = Event()
        self._bell, self._rung = socket.socketpair()
        self._bell.setblocking(False)
        self._trouble: str | None = None
        self._random = Random()  # noqa: S311 - spreads reconnects, guards nothing
        self._thread = Thread(target=self._run, name="mqtt", daemon=True)

    def start(self) -> None:
        """Begin to connect; a broker that is away is tried until it comes."""
        self._thread.start()

    def send(self, topic: str, payload: bytes, *, retain: bool = False) -> bool:
        """Hand a message to the line, QoS 1. False, and nothing kept, while there is none."""
        if not self.online.is_set():
            return False
        self._outgoing.append(_Outgoing(topic, payload, retain))
        self._ring()
        return True

    def stop(self) -> None:
        """Send what was handed over, say goodbye, end the thread."""
        self._stopping.set()
        self._ring()
        if self._thread.is_alive():
            self._thread.join(timeout=5)
        self._bell.close()
        self._rung.close()

    def _ring(self) -> None:
        with suppress(BlockingIOError):  # a full pipe wakes as well
            self._bell.send(b".")

    def _run(self) -> None:
        pause = FIRST_PAUSE_S
        while not self._stopping.is_set():
            before = self.connections
            try:
                self._talk()
            except (OSError, ValueError) as error:
                if self._may_go_undated(error):
                    continue
                self._say(f"cannot reach it: {error}")
            except Exception:
                log.exception("the line to the broker broke in an unforeseen way; it is made anew")
            self._went_off()
            pause = FIRST_PAUSE_S if self.connections > before else min(2 * pause, LONGEST_PAUSE_S)
            self._stopping.wait(pause * self._random.uniform(0.5, 1.0))

    def _went_off(self) -> None:
        if self.online.is_set():
            self.online.clear()
            self.lost = monotonic()
            if not self._stopping.is_set():
                self._say("lost the connection")
        self._outgoing.clear()
        self.turned = monotonic()

    def _say(self, trouble: str) -> None:
        """One line a change, not one a try."""
        if trouble != self._trouble:
            self._trouble = trouble
            going_on = "collecting goes on and nothing is lost" if trouble else "sending"
            level = logging.WARNING if trouble else logging.INFO
            log.log(level, "broker %s:%d: %s; %s", self._line.host, self._line.port, trouble or "connected", going_on)

    def _talk(self) -> None:
        client = self._made()
        began = monotonic()
        client.connect(self._line.host, self._line.port, KEEPALIVE_S)
        self._heard = monotonic()
        while (line := client.socket()) is not None:
            self.turned = monotonic()
            if not self.online.is_set() and self.turned - began > GRACE_S:
                self._say("it does not answer")
                line.close()
                return
            if self.turned - self._heard > SILENT_S or not self._dated(line):
                line.close()
                return
            self._send(client)
            if self._stopping.is_set() and not client.want_write():
                client.disconnect()
                return
            self._move(client, line)

    def _send(self, client: mqtt.Client) -> None:
        while self._outgoing and self.online.is_set():
            out = self._outgoing.popleft()
            client.publish(out.topic, out.payload, 1, out.retain)

    def _move(self, client: mqtt.Client, line: Any) -> None:
        hidden = isinstance(line, ssl.SSLSocket) and line.pending()
        ready, room, _ = select.select(
            [line, self._rung], [line] if client.want_write() else [], [], 0 if hidden else TURN_S
        )
        if self._rung in ready:
            self._rung.recv(4096)
        if line in ready or hidden:
            self._heard = monotonic()
            client.loop_read()
        if room:
            client.loop_write()
        client.loop_misc()

    def _may_go_undated(self, error: Exception) -> bool:
        """Whether to try again without a look at dates: they are all that is wrong, and the clock may be to blame."""
        trusted = self._line.tls
        if trusted is None or trusted.undated is None or not is_about_dates(error) or self._clock.quality() == "ntp":
            return False
        already, self._undated = self._undated, True
        if not already:
            log.warning(
                "the broker's certificate does not fit this machine's clock, which is not set; going on undated"
            )
        return not already

    def _dated(self, line: object) -> bool:
        """False to hang up on a line that was taken undated: to come back strictly, or because it is out of date."""
        quality = self._clock.quality() if self._undated else ""
        if quality == "ntp":
            self._undated = False
            return False
        if quality == "srv" and not in_date(line, self._clock.wall()):
            self._say("its certificate is out of date, by the time that it told itself")
            return False
        return True

    def _made(self) -> mqtt.Client:
        line = self._line
        client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=line.client_id, protocol=mqtt.MQTTv311)
        client.username_pw_set(line.username, line.password)
        client.will_set(topics.status(line.edge), WILL, 1, retain=True)
        if line.tls is not None:
            client.tls_set_context(line.tls.undated if self._undated else line.tls.strict)
        client.on_connect, client.on_subscribe, client.on_message = (
            self._on_connect,
            self._on_subscribe,
            self._on_message,
        )
        return client

    def _on_connect(self, client: mqtt.Client, _data: Any, _flags: Any, code: Any, _properties: Any) -> None:
        if code.is_failure:
            hint = "; is `password_file` the one that enrolling wrote?" if str(code) in WRONG_PASSWORD else ""
            self._say(f"it refuses user {self._line.username!r}: {code}{hint}")
        else:
            edge = self._line.edge
            client.subscribe([(topics.receipt(edge), 0), (topics.replay(edge), 0)])

    def _on_subscribe(self, client: mqtt.Client, _data: Any, _mid: int, codes: Any, _properties: Any) -> None:
        if any(code.is_failure for code in codes):
            self._say(f"it does not let user {self._line.username!r} subscribe to {topics.receipt(self._line.edge)}")
            client.disconnect()
            return
        self.connections += 1
        self.online.set()
        self._say("")
        self._wake()

    def _on_message(self, _client: Any, _data: Any, came: mqtt.MQTTMessage) -> None:
        with suppress(UnicodeDecodeError):  # no topic of ours
            self.inbox.append((came.topic, bytes(came.payload)))
            self._wake()
