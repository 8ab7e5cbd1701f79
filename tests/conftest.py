"""Fixtures that several rooms' tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests import services
from tests.services import Service

# A machine under load is slow, not wrong: no example is timed.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
os.umask(0o077)  # secrets that tests write down are secrets: a file that everybody can read is refused


@pytest.fixture(scope="session")
def influxdb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with services.influxd(tmp_path_factory.mktemp("influxdb")) as service:
        yield service


@pytest.fixture(scope="session")
def victoria(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with services.victoria_metrics(tmp_path_factory.mktemp("victoria")) as service:
        yield service


@pytest.fixture(scope="session")
def mosquitto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with services.mosquitto_broker(tmp_path_factory.mktemp("mosquitto")) as service:
        yield service
