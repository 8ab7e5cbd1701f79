"""The whole intake, as `cellherd ingest run` runs it, for tests.bench.end_to_end."""

from __future__ import annotations

import sys
from pathlib import Path

from cellherd.settings import FleetConfig
from pipeline.ingest.service import Ingester
from pipeline.ingest.subscriber import Line
from pipeline.storing import storeroom
from pipeline.storing.storeroom import Storeroom
from tests.bench.measured import Task, answer, measured, pause


def fleet(port: int) -> FleetConfig:
    site = {"id": "site1", "installer": "acme", "edge": "pi1"}
    return FleetConfig.model_validate(
        {"broker": {"listen": f"127.0.0.1:{port}"}, "installer": [{"id": "acme"}], "site": [site]}
    )


def ours(task: Task) -> dict[str, float]:
    storeroom.DRAIN_S = 300  # all of it counts
    config, state = fleet(task.port), Path(task.state) / "ours"
    stores = Storeroom(config, state, [sys.executable, "-m", "tests.bench.nowhere"])
    ingester = Ingester(config, state, stores, _line(task))
    ingester.start()
    assert ingester.subscriber.connected.wait(20), "no broker"
    while not stores.status():
        pause.wait(0.1)
    return measured(task, lambda: ingester.intake.counts.messages, ingester.stop)


def _line(task: Task) -> Line:
    ca = Path(task.ca) if task.ca else None
    return Line("127.0.0.1", task.port, task.username, task.password, bool(ca), ca)


if __name__ == "__main__":
    answer(ours)
