"""An edge as simple as can be: publishes with paho, keeps what is not receipted, sends it again."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from secrets import token_hex
from threading import Condition
from time import monotonic
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from cellherd import topics, wire
from cellherd.wire import Line, Source

NOW = 1_790_000_000_000


def reading(stream: str, epoch: str, seqs: Iterable[int], module: str = "m1") -> bytes:
    """Readings of two cells whose voltage is their seq, so that a mix-up shows."""
    lines = [Line(seq, NOW + 1000 * seq, 1000 * seq, {"voltage_mv": seq, "cell_mv": [3300, 3301]}) for seq in seqs]
    source = Source(stream, epoch, module, "module", "jbd", "0badcafe", "ntp")
    return wire.pack(source, lines, sent_ts=NOW, sent_bt=5000)


@dataclass
class PlainEdge:
    """One login. `receipts` are all that came, oldest first."""

    port: int
    name: str
    password: str
    stream: str = field(default_factory=lambda: token_hex(16))
    epoch: str = field(default_factory=lambda: token_hex(8))
    receipts: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=f"{self.name}-{token_hex(4)}")
        self.client.username_pw_set(self.name, self.password)
        self.client.on_connect = lambda *_: self.client.subscribe(f"cmd/{self.name}/#", 0)
        self.client.on_subscribe = lambda *_: self._tell()
        self.client.on_message = lambda _c, _d, m: self._tell(json.loads(m.payload))
        self.client.reconnect_delay_set(1, 1)
        self._news = Condition()
        self._ready = False

    def _tell(self, receipt: dict[str, Any] | None = None) -> None:
        with self._news:
            self._ready = True
            if receipt:
                self.receipts.append(receipt)
            self._news.notify_all()

    def __enter__(self) -> PlainEdge:
        self.client.connect("127.0.0.1", self.port, 20)
        self.client.loop_start()
        with self._news:
            assert self._news.wait_for(lambda: self._ready, 10), "the broker did not let the edge subscribe"
        return self

    def __exit__(self, *_: object) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def send(self, seqs: Iterable[int], module: str = "m1") -> None:
        self.publish(topics.readings(self.name, "s1", module), reading(self.stream, self.epoch, seqs, module))

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        self.client.publish(topic, payload, 1, retain)

    def receipted(self) -> set[int]:
        mine = [r for r in self.receipts if (r["stream"], r["epoch"]) == (self.stream, self.epoch)]
        upto = range(1, max((r["upto"] for r in mine), default=0) + 1)
        return {*upto, *(n for r in mine for first, last in r["also"] for n in range(first, last + 1))}

    def wait(self, seqs: Iterable[int], timeout_s: float = 60) -> bool:
        """Whether all of these were receipted in time."""
        wanted = set(seqs)
        with self._news:
            return self._news.wait_for(lambda: wanted <= self.receipted(), timeout_s)

    def wait_receipts(self, count: int, timeout_s: float = 60) -> bool:
        with self._news:
            return self._news.wait_for(lambda: len(self.receipts) >= count, timeout_s)

    def send_until_receipted(self, seqs: Iterable[int], timeout_s: float = 60) -> None:
        """As an outbox does it: what is not receipted after a while is sent again."""
        wanted, deadline = sorted(set(seqs)), monotonic() + timeout_s
        while open_ := [seq for seq in wanted if seq not in self.receipted()]:
            assert monotonic() < deadline, f"no receipt for {open_[:5]}..."
            for at in range(0, len(open_), 10):
                self.send(open_[at : at + 10])
            self.wait(wanted, 2)
