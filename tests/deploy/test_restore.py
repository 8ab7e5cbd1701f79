"""Backup and restore, tried: the state folder copied after a stop, brought back elsewhere, older and newer."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import polars as pl
import pytest

from pipeline.stores.archive import Archive
from tests.deploy.machine import Machine, machine
from tests.services import free_port

BATTERY = """edge = "barn"

[[device]]
stack = "cellar"
driver = "jbd"

[[device.module]]
id = "m1"
"""
FLEET = """[broker]
listen = "127.0.0.1:{port}"

[health]
listen = "127.0.0.1:{health}"

[[installer]]
id = "sunny"

[[site]]
id = "barn"
installer = "sunny"
edge = "barn"
"""
KEY = ["stream", "epoch", "seq"]
EDGE = "cellherd edge run --config emulated/edge.toml --state emulated/state"


def ingest(state: str) -> str:
    return f"cellherd ingest run --config fleet.toml --state {state}"


def readings(folder: Path, state: str) -> pl.DataFrame:
    return Archive(str(folder / state / "archive")).scan("reading").select(*KEY, "ts").collect()


NUMBERED = ("reading", "event", "gap", "device_info", "device_counter", "device_log", "edge_event")
"""Tables with the edge's numbers: readings and records are counted by one counter."""


def numbered(folder: Path, state: str) -> pl.DataFrame:
    """All numbers of the edge that are stored; a record may fill several rows."""
    archive = Archive(str(folder / state / "archive"))
    return pl.concat([archive.scan(table).select(KEY) for table in NUMBERED]).unique().collect()


WAITING = "select count(*) from row join epoch using (n) where state = 0 and seq > mark"


def waiting(folder: Path) -> int:
    """Rows of the edge's outbox that have no receipt."""
    with closing(sqlite3.connect(f"file:{folder}/emulated/state/outbox.db?mode=ro", uri=True)) as db:
        return int(db.execute(WAITING).fetchone()[0])


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Machine]:
    """A server with state `first`, and an edge that reads an emulated battery every second."""
    port = free_port()
    (tmp_path / "battery.toml").write_text(BATTERY)
    (tmp_path / "fleet.toml").write_text(FLEET.format(port=port, health=free_port()))
    with machine(tmp_path) as made:
        made.start(ingest("first"))
        password = tmp_path / "first" / "broker" / "secrets" / "barn"
        made.wait(password.exists, "the broker is up")
        login = f"--mqtt-url mqtt://127.0.0.1:{port} --password-file {tmp_path}/password"
        shutil.copy(password, tmp_path / "password")
        made.start(f"cellherd edge emulate battery.toml --out emulated --history-hours 2 --period-s 1 {login}")
        made.wait((tmp_path / "emulated" / "edge.toml").exists, "the battery answers")
        made.start(EDGE)
        made.wait(lambda: readings(tmp_path, "first").height > 125, "readings come")
        yield made


@pytest.mark.slow
def test_a_state_folder_goes_on_elsewhere_with_nothing_lost_and_nothing_twice(world: Machine) -> None:
    folder = world.folder
    world.end(ingest("first"))
    shutil.copytree(folder / "first", folder / "second")
    shutil.rmtree(folder / "first")
    world.wait(lambda: waiting(folder) > 8, "the edge reads on while nobody listens")
    world.start(ingest("second"))
    rows = _settled(world, "second")
    assert rows.height == rows.select(KEY).n_unique()
    assert missing(folder, "second", rows) == 0


@pytest.mark.slow
def test_an_older_backup_goes_on_too_and_lacks_what_came_after_it(world: Machine) -> None:
    folder = world.folder
    world.end(ingest("first"))
    shutil.copytree(folder / "first", folder / "second")
    kept = readings(folder, "second").height
    world.start(ingest("first"))
    world.wait(lambda: readings(folder, "first").height > kept + 5, "the server goes on after its backup")
    world.end(ingest("first"))
    last, told = readings(folder, "first"), numbered(folder, "first")
    world.start(ingest("second"))
    rows = _settled(world, "second")
    assert rows.height == rows.select(KEY).n_unique()
    after = last.join(readings(folder, "second"), on=KEY, how="anti")
    assert 0 < after.height <= last.height - kept
    gone = told.join(numbered(folder, "second"), on=KEY, how="anti")
    newest = gone.filter(pl.col("epoch") == rows.sort("ts")["epoch"][-1])
    assert missing(folder, "second", rows) == newest.height  # what the edge had been told was safe, and nothing else


def missing(folder: Path, state: str, rows: pl.DataFrame) -> int:
    """Numbers of the edge's newest opening, from its first to its last stored one, that are not in the archive."""
    epoch = rows.sort("ts")["epoch"][-1]
    newest = numbered(folder, state).filter(pl.col("epoch") == epoch)["seq"]
    return int(newest.max() - newest.min() + 1 - newest.len())  # type: ignore[operator]


def _settled(world: Machine, state: str) -> pl.DataFrame:
    """The readings once the server goes on, and the edge has receipts for all but what is on its way."""
    before = readings(world.folder, state).height
    world.wait(lambda: readings(world.folder, state).height > before + 10, "readings come again")
    world.wait(lambda: waiting(world.folder) <= 8, "receipts come again")
    world.end(EDGE)
    world.end(ingest(state))
    return readings(world.folder, state)
