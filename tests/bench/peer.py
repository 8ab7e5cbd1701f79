"""A peer for tests.bench.end_to_end: mq-bridge (pip install mq-bridge), MQTT to Parquet files, synced batch by batch.

It acknowledges after its file is synced. It keeps a message as one row with the lists in it, and neither checks nor
unpacks nor drops doubles, so it does less than we do; its figure stands beside, not above or below.
"""

from __future__ import annotations

from pathlib import Path
from secrets import token_hex
from typing import Any

import pyarrow.parquet as pq

from tests.bench.measured import Task, answer, measured, pause

BATCH = 4096
"""Messages in a file at most."""
INFLIGHT = 20_000


def peer(task: Task) -> dict[str, float]:
    import mq_bridge  # noqa: PLC0415 - nobody needs it but this

    out = Path(task.state) / "peer"
    out.mkdir()
    where = f"{'ssl' if task.ca else 'tcp'}://127.0.0.1:{task.port}"
    mqtt: dict[str, Any] = {
        "url": where, "topic": "fleet/#", "username": task.username, "protocol": "v3",
        "password": task.password, "client_id": f"peer-{token_hex(4)}", "qos": 1, "clean_session": True,
        "queue_capacity": INFLIGHT, "max_inflight": INFLIGHT,
    }  # fmt: skip
    if task.ca:
        mqtt["tls"] = {"required": True, "ca_file": task.ca}
    store = {"url": out.as_uri(), "format": "parquet", "fsync": "batch"}
    route = mq_bridge.Route.from_config(
        {"input": {"mqtt": mqtt}, "output": {"object_store": store}, "batch_size": BATCH}
    )
    route.start()
    rows: dict[Path, int] = {}

    def came() -> int:
        """Messages in files that are whole; each file is looked at once."""
        for path in out.rglob("*.parquet"):
            if path not in rows:
                rows[path] = pq.read_metadata(path).num_rows
        return sum(rows.values())

    pause.wait(1)

    def finish() -> None:
        route.stop()
        route.join()

    return measured(task, came, finish)


if __name__ == "__main__":
    answer(peer)
