"""The least that is an intake: paho's own loop counts, write_deltalake writes. For tests.bench.end_to_end."""

from __future__ import annotations

from secrets import token_hex
from threading import Event, Thread
from typing import Any

import paho.mqtt.client as mqtt
import polars as pl
from deltalake import write_deltalake
from paho.mqtt.enums import CallbackAPIVersion

from pipeline.decoding.decode import decode
from pipeline.journal.entry import Entry
from tests.bench.load import BLOCK, NOW, messages
from tests.bench.measured import Task, answer, measured, pause

PORTION = 48_000
"""Readings in a commit."""


def floor(task: Task) -> dict[str, float]:
    entries = [Entry(topic, payload, NOW, "site1", "u") for topic, payload in messages(task.each)]
    frame = pl.concat([decode(entries).frames["reading"]] * (PORTION // BLOCK[task.each]))
    portion = frame.to_arrow()
    count, written = 0, 0

    def take(_client: Any, _data: Any, _message: mqtt.MQTTMessage) -> None:
        nonlocal count
        count += 1

    def store() -> None:
        """Write what came since, a portion at a time; the rest only once nothing more comes."""
        nonlocal written
        while (waiting := count * task.each - written) >= PORTION or (waiting and ended.is_set()):
            rows = min(waiting, PORTION)
            write_deltalake(f"{task.state}/floor", portion.slice(0, rows), mode="append", partition_by=["date"])
            written += rows

    def storing() -> None:
        while not ended.wait(0.01):
            store()
        store()

    ended = Event()
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=f"floor-{token_hex(4)}")
    client.username_pw_set(task.username, task.password)
    client.on_message = take
    if task.ca:
        client.tls_set(task.ca)
    client.connect("127.0.0.1", task.port)
    client.subscribe("fleet/#", 1)
    client.loop_start()
    writer = Thread(target=storing, daemon=True)
    writer.start()
    pause.wait(1)

    def finish() -> None:
        ended.set()
        writer.join()

    return measured(task, lambda: count, finish)


if __name__ == "__main__":
    answer(floor)
