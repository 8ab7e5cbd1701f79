"""The server's side of the receipts, as small as can be: remembers what came, and gives receipts or withholds them."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from threading import Condition
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from cellherd import topics, wire
from cellherd.runs import runs_of

Key = tuple[str, int]


class FakeServer:
    """`came` counts readings and records by (epoch, seq), `rows` keeps their contents, `retained` status and health."""

    def __init__(self, port: int, edge: str, username: str | None = None, password: str | None = None) -> None:
        self.edge, self.generous = edge, True
        self.came: Counter[Key] = Counter()
        self.rows: dict[Key, dict[str, Any]] = {}
        self.retained: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.stream = ""
        self._news, self._ready = Condition(), False
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self._client.username_pw_set(username, password)
        self._client.on_connect = lambda *_: void(self._client.subscribe("fleet/#", 1))
        self._client.on_subscribe = self._subscribed
        self._client.on_message = lambda _client, _data, came: self._take(came.topic, bytes(came.payload))
        self._client.reconnect_delay_set(1, 1)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert self.wait(lambda: self._ready)

    def _subscribed(self, *_: object) -> None:
        with self._news:
            self._ready = True
            self._news.notify_all()

    def wait(self, what: Any, timeout_s: float = 60) -> bool:
        with self._news:
            return bool(self._news.wait_for(what, timeout_s))

    def _take(self, topic: str, payload: bytes) -> None:
        channel = topics.parse(topic).channel
        with self._news:
            if channel in "sh":
                self.retained[channel].append(json.loads(payload))
            elif channel == "e":
                body = wire.unpack_record(payload)
                self._keep(body["stream"], {(body["epoch"], body["seq"]): body})
            else:
                source, lines = wire.unpack(wire.inflate(payload) if channel == "rz" else payload)
                self._keep(source.stream, {(source.epoch, line.seq): dict(line.row) for line in lines})
            self._news.notify_all()

    def _keep(self, stream: str, found: dict[Key, dict[str, Any]]) -> None:
        self.stream = stream
        self.came.update(found.keys())
        self.rows |= found
        if self.generous:
            self.give_receipts()

    def give_receipts(self) -> None:
        for epoch in {epoch for epoch, _ in self.came}:
            runs = [*runs_of(sorted(seq for known, seq in self.came if known == epoch))]
            upto = runs.pop(0)[1] if runs[0][0] == 1 else 0
            self.say("receipt", {"epoch": epoch, "upto": upto, "also": runs[:64], "bad": [], "srv_ts": 1})

    def say(self, order: str, body: dict[str, Any]) -> None:
        payload = json.dumps({"v": 1, "stream": self.stream, **body})
        self._client.publish(f"cmd/{self.edge}/{order}", payload, 0)

    def stop(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def void(_: object) -> None:
    """For callbacks that must give nothing back."""
