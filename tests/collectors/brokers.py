"""Both brokers for tests of the edge: the embedded one with its users and rights, and Mosquitto."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cellherd import settings
from pipeline.ingest.broker import EmbeddedBroker, edge_credentials, secret
from tests import services

EDGE = "hillside"


@dataclass(frozen=True)
class Broker:
    port: int
    password_file: str | None = None
    server: tuple[str, str] | None = None


@contextmanager
def embedded(folder: Path, port: int | None = None) -> Iterator[Broker]:
    port = port or services.free_port()
    broker = EmbeddedBroker(settings.Broker(listen=f"127.0.0.1:{port}"), folder, [EDGE])
    broker.start()
    try:
        yield Broker(port, str(edge_credentials(folder, EDGE)[1]), ("ingest", secret(folder / "broker", "ingest")))
    finally:
        broker.stop()


@contextmanager
def mosquitto(folder: Path) -> Iterator[Broker]:
    with services.mosquitto_broker(folder) as service:
        yield Broker(service.port)
