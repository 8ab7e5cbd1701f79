"""Appends at the end of a Delta table's log: as cheap at the thousandth as at the second, and never over another's."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake import DeltaTable
from polars.testing import assert_frame_equal

from pipeline.decoding.decode import decode
from pipeline.schema import TABLES
from pipeline.stores.archive import Archive, arrow_schema
from pipeline.stores.errors import StoreAway
from pipeline.stores.tail import Tail
from tests.pipeline.messages import entries


@pytest.fixture(scope="module")
def frame() -> pl.DataFrame:
    return decode(list(entries(3, 4, modules=3))).frames["reading"]


@pytest.fixture
def archive(tmp_path: Path, frame: pl.DataFrame) -> Archive:
    """With the first append done: it opens the table."""
    archive = Archive(str(tmp_path / "archive"))
    archive.append("reading", frame, app_id="ingest", version=1)
    return archive


def rows(archive: Archive) -> int:
    return int(archive.scan("reading").select(pl.len()).collect().item())


def root(archive: Archive) -> Path:
    return Path(archive.uri, "reading")


def numbers(archive: Archive) -> list[int]:
    return sorted(int(path.stem) for path in (root(archive) / "_delta_log").glob("*.json"))


def test_an_append_neither_opens_nor_reads_the_table(
    archive: Archive, frame: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each did: 40 ms at 500 files, 40 kB more kept with each commit."""

    def never(*_: object, **__: object) -> None:
        raise AssertionError("the whole table is read")

    with monkeypatch.context() as patch:
        for name in ("__init__", "update_incremental", "create_write_transaction", "transaction_version"):
            patch.setattr(DeltaTable, name, never)
        for version in (2, 2, 3, 1):
            archive.append("reading", frame, app_id="ingest", version=version)
    assert (rows(archive), archive.version("reading", "ingest")) == (3 * len(frame), 3)


def test_two_writers_in_turn_lose_nothing_and_double_nothing(archive: Archive, frame: pl.DataFrame) -> None:
    other = Archive(archive.uri)
    for version in range(2, 6):
        archive.append("reading", frame, app_id="ingest", version=version)
        other.append("reading", frame, app_id="other", version=version)
        other.append("reading", frame, app_id="other", version=version)
    assert rows(archive) == 9 * len(frame)
    assert numbers(archive) == list(range(10))
    assert (archive.version("reading", "ingest"), archive.version("reading", "other")) == (5, 5)


def test_a_version_that_another_process_stored_meanwhile_is_not_stored_again(
    archive: Archive, frame: pl.DataFrame
) -> None:
    Archive(archive.uri).append("reading", frame, app_id="ingest", version=2)
    archive.append("reading", frame, app_id="ingest", version=2)
    assert rows(archive) == 2 * len(frame)


def test_a_disk_that_refuses_a_commit_leaves_nothing_of_it(
    archive: Archive, frame: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", refuse)
        with pytest.raises(StoreAway, match="No space left"):
            archive.append("reading", frame, app_id="ingest", version=2)
    assert numbers(archive) == [0, 1]
    assert not [*(root(archive) / "_delta_log").glob("*.commit")]
    archive.append("reading", frame, app_id="ingest", version=2)
    assert rows(archive) == 2 * len(frame)


def test_a_commit_that_could_not_be_flushed_is_flushed_before_it_counts(
    archive: Archive, frame: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[tuple[Any, ...]] = []

    def fails_once(*what: Any) -> None:
        flushed.append(what)
        if len(flushed) == 1:
            raise OSError(5, "Input/output error")

    monkeypatch.setattr("pipeline.stores.archive.sync_commits", fails_once)
    archive.append("reading", frame, app_id="ingest", version=2)
    assert rows(archive) == 2 * len(frame)
    assert flushed[1][1] <= flushed[0][1] <= flushed[1][2], "the second flush holds what the first one could not"


def test_what_a_killed_process_left_of_a_commit_goes_at_the_next_start(archive: Archive, frame: pl.DataFrame) -> None:
    left = root(archive) / "_delta_log" / "0f0f.commit"
    left.write_text('{"commitInfo":')
    Archive(archive.uri).append("reading", frame, app_id="ingest", version=2)
    assert not left.exists()
    assert rows(archive) == 2 * len(frame)


def test_a_table_that_was_put_aside_begins_anew_without_a_hole(archive: Archive, frame: pl.DataFrame) -> None:
    shutil.move(root(archive), root(archive).with_name("aside"))
    archive.append("reading", frame, app_id="ingest", version=2)
    assert numbers(archive) == [0, 1]
    assert_frame_equal(archive.scan("reading").collect().sort("unit", "seq"), frame.sort("unit", "seq"))


def test_a_table_that_asks_more_of_its_writers_is_left_to_deltalake(tmp_path: Path, frame: pl.DataFrame) -> None:
    archive = Archive(str(tmp_path / "archive"))
    feed = {"delta.enableChangeDataFeed": "true"}
    handle = DeltaTable.create(
        f"{archive.uri}/reading", arrow_schema(TABLES["reading"]), partition_by=["date"], configuration=feed
    )
    assert Tail.of(root(archive), handle, ()) is None
    for version in (1, 2, 2):
        archive.append("reading", frame, app_id="ingest", version=version)
    assert rows(archive) == 2 * len(frame)
