"""Somebody with the login of an edge of his own who means harm to the others."""

from __future__ import annotations

from contextlib import suppress

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from tests.chaos.herd import ENEMY, SERVER, Herd
from tests.chaos.scene import Scene
from tests.pipeline.plain_edge import PlainEdge
from tests.pipeline.test_hostile_logins import attacks


def rubbish(scene: Scene) -> None:
    """He sends what is no reading, some of it retained."""
    with suppress(OSError):  # no broker just now
        client = _connected(scene.herd, f"{ENEMY}-1")
        for topic, payload in attacks(PlainEdge(scene.herd.port, ENEMY, "")):
            client.publish(topic, payload, 1, retain=scene.random.random() < 0.1)
        scene.hold(0.5, 1.5)
        _end(client)


def guessed_ids(scene: Scene) -> None:
    """He connects under names that another client might have."""
    for name in ("ingest", "cellherd", *scene.herd.edges):
        with suppress(OSError):
            client = _connected(scene.herd, name)
            scene.hold(0.1, 0.3)
            _end(client)


def _connected(herd: Herd, client_id: str) -> mqtt.Client:
    secret = herd.folder / SERVER / "broker" / "secrets" / ENEMY
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id)
    client.username_pw_set(ENEMY, secret.read_text().strip() if secret.exists() else None)
    client.connect("127.0.0.1", herd.port)
    client.loop_start()
    return client


def _end(client: mqtt.Client) -> None:
    client.disconnect()
    client.loop_stop()
