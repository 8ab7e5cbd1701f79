"""Another broker's topics, heard: of a GX device, of a bridge in the house, of a vendor's cloud.

Nothing is published but what the driver's allow-list holds, and only where it asks (the keep-alive of Venus OS).
Retained messages may be years old: they tell who is there, and are no readings.
"""

from __future__ import annotations

import hashlib
import platform
import ssl
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from threading import Event
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from cellherd.errors import LinkError, Refused
from cellherd.secrecy import remember
from collectors.kernel import Answer, Driver, Keys, Request, Send, converse, refuse_unless_permitted
from collectors.links import Place
from collectors.links.https import HttpsLink, context, keys
from collectors.telegrams import message, parts

KEEPALIVE_S = 20
GRACE_S = 10.0
"""How long a broker may take to let us in."""
SLICE_S = 0.1
INBOX = 20_000
UNIT = "{unit}"


@dataclass(frozen=True, slots=True)
class Broker:
    """Where to listen, and as whom. `unit` is the device among the topics, "" to take the first that is heard."""

    host: str
    port: int
    topics: tuple[str, ...]
    unit: str = ""
    tls: ssl.SSLContext | None = None
    login: Keys | None = field(default=None, repr=False)


class MqttLink:
    """A Link that hears messages; see collectors.links.Link."""

    def __init__(self, broker: Broker, driver: Driver, halt: Event, first: Iterable[bytes] = ()) -> None:
        self._broker, self._driver, self._halt, self._unit = broker, driver, halt, broker.unit
        self._name = f"{broker.host}:{broker.port}"
        steps = [step for topic in broker.topics for step in topic.split("/")]
        if not steps or (not self._unit and any(UNIT in step and step != UNIT for step in steps)):
            raise LinkError(f"{self._name}: say what is meant there, `preset` and mqtt:host:{broker.port}/NAME")
        self._inbox = deque[bytes](first, maxlen=INBOX)
        self._in, self._refused = False, ""
        self._client = self._made()
        try:
            self._client.connect(broker.host, broker.port, KEEPALIVE_S)
        except (OSError, ValueError) as error:
            raise LinkError(f"{self._name}: no connection, {error}; check address, port and power") from None
        until = time.monotonic() + GRACE_S
        while not self._in:
            self._turn(SLICE_S)
            if self._refused or halt.is_set() or time.monotonic() > until:
                self.close()
                raise LinkError(f"{self._name}: {self._refused or 'does not let us in'}")

    def _made(self) -> mqtt.Client:
        broker = self._broker
        user = broker.login.name if broker.login else ""
        # One and the same id each time: EcoFlow takes ten different ones a day.
        own = hashlib.sha256("\n".join((platform.node(), broker.host, user, *broker.topics)).encode()).hexdigest()
        client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=f"cellherd-{own[:12]}", protocol=mqtt.MQTTv311)
        if broker.login:
            client.username_pw_set(user, broker.login.secret or None)
        if broker.tls:
            client.tls_set_context(broker.tls)
        client.on_connect, client.on_subscribe, client.on_message = self._connected, self._subscribed, self._came
        return client

    def _connected(self, client: mqtt.Client, _data: Any, _flags: Any, code: Any, _properties: Any) -> None:
        if code.is_failure:
            self._refused = f"refuses us ({code}); check `username` and `password_file`"
        else:
            client.subscribe([(topic.replace(UNIT, self._unit or "+"), 0) for topic in self._broker.topics])

    def _subscribed(self, _client: mqtt.Client, _data: Any, _mid: int, codes: Any, _properties: Any) -> None:
        if all(code.is_failure for code in codes):
            self._refused = f"does not let us listen to {', '.join(self._broker.topics)}"
        self._in = True

    def _came(self, _client: Any, _data: Any, came: mqtt.MQTTMessage) -> None:
        try:
            topic = came.topic
        except UnicodeDecodeError:
            return
        if not self._unit:
            self._unit = next(filter(None, (_unit_of(pattern, topic) for pattern in self._broker.topics)), "")
        ours = (mqtt.topic_matches_sub(pattern.replace(UNIT, self._unit), topic) for pattern in self._broker.topics)
        if not came.retain and any(ours):
            self._inbox.append(message(topic, bytes(came.payload)))

    def _turn(self, seconds: float) -> None:
        code = self._client.loop(seconds)
        if code != mqtt.MQTT_ERR_SUCCESS and not self._refused:
            raise LinkError(f"{self._name}: lost the connection, {mqtt.error_string(code)}")

    def ask(self, request: Request, *, address: int) -> Answer:
        """Publish a listed question; its answer is heard. Nothing is sent before the device is known."""
        refuse_unless_permitted(self._driver, request)
        if not self._driver.ask or not isinstance(request, Send):
            raise Refused(f"{self._name}: listens only, {request} was not sent")
        topic, payload = parts(request.data)
        if self._unit or UNIT not in topic:
            self._client.publish(topic.replace(UNIT, self._unit), payload, 0)
        return b""

    def hear(self, timeout: float) -> bytes | None:
        """See Link."""
        until = time.monotonic() + timeout
        while not self._inbox and not self._halt.is_set():
            left = until - time.monotonic()
            self._turn(min(SLICE_S, max(left, 0.0)))
            if left <= 0:
                break
        return self._inbox.popleft() if self._inbox else None

    def close(self) -> None:
        """See Link."""
        self._client.disconnect()


def _unit_of(pattern: str, topic: str) -> str:
    """What stands in a topic where the pattern has {unit}."""
    if not mqtt.topic_matches_sub(pattern.replace(UNIT, "+"), topic):
        return ""
    return dict(zip(pattern.split("/"), topic.split("/"), strict=False)).get(UNIT, "")


def open_plain(place: Place, driver: Driver, halt: Event) -> MqttLink:
    """A broker in the house. Raises ConfigError, LinkError."""
    host, port, unit = place.web(1883)
    return MqttLink(Broker(host, port, driver.topics, unit, None, keys(driver.login)), driver, halt)


def open_tls(place: Place, driver: Driver, halt: Event) -> MqttLink:
    """A broker that speaks TLS. Raises ConfigError, LinkError."""
    host, port, unit = place.web(8883)
    tls = context(driver.login)
    return MqttLink(Broker(host, port, driver.topics, unit, tls, keys(driver.login)), driver, halt)


def open_cloud(place: Place, driver: Driver, halt: Event) -> MqttLink:
    """A cloud whose API tells where its broker is and lets us in. Raises ConfigError, LinkError."""
    if driver.enter is None:
        raise LinkError(f"{driver.name} knows no way into a cloud's broker")
    api = HttpsLink(place, driver, halt)
    way = converse(driver.enter(), lambda request: api.ask(request, address=0))
    for secret in (way.password, way.username):
        remember(secret)
    _, _, unit = place.web(443)
    login = Keys(way.username, way.password)
    broker = Broker(way.host, way.port, way.topics, unit, context(driver.login), login)
    return MqttLink(broker, driver, halt, way.first)
