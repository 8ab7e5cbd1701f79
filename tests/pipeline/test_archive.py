from __future__ import annotations

import os
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import SchemaMismatchError
from polars.testing import assert_frame_equal

from pipeline.decoding.decode import decode
from pipeline.schema import TABLES
from pipeline.stores import parquet
from pipeline.stores.archive import Archive, ArchiveSink
from pipeline.stores.errors import StoreAway
from pipeline.stores.parquet import arrow
from pipeline.stores.upkeep import compact
from tests.pipeline.messages import T0, entries

DAY = date(2025, 11, 21)


@pytest.fixture(scope="module")
def frame() -> pl.DataFrame:
    return decode(list(entries(6, 40, modules=20))).frames["reading"]


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(str(tmp_path / "archive"))


def rows(archive: Archive, table: str = "reading") -> int:
    return int(archive.scan(table).select(pl.len()).collect().item())


def test_what_goes_in_comes_out(archive: Archive, frame: pl.DataFrame) -> None:
    archive.append("reading", frame, app_id="ingest", version=1)
    found = archive.scan("reading").collect()
    assert dict(found.schema) == TABLES["reading"]
    assert_frame_equal(found.sort("unit", "seq"), frame.sort("unit", "seq"))


@pytest.mark.parametrize("column", ["ts", "arrival_ts"])
def test_who_asks_for_news_opens_no_file_of_before(archive: Archive, frame: pl.DataFrame, column: str) -> None:
    for version in (1, 2, 3):
        hours = 3_600_000 * version
        moved = frame.with_columns(pl.col("ts") + hours, pl.col("arrival_ts") + hours)
        archive.append("reading", moved, app_id="ingest", version=version)
    news = archive.scan("reading").filter(pl.col(column) > pl.lit(moved[column].min()) - 1).select(column)
    before = [file for file in DeltaTable(f"{archive.uri}/reading").file_uris() if _latest(file) < moved["ts"].min()]
    assert len(before) == 2
    for file in before:
        Path(file.removeprefix("file://")).unlink()
    assert len(news.collect()) == len(frame)


def _latest(file: str) -> int:
    return int(pl.read_parquet(file)["ts"].max())  # type: ignore[arg-type]


def test_rows_that_fit_are_stored_as_deltalake_itself_stores_them(
    tmp_path: Path, frame: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = frame[:7].with_columns(date=pl.lit(DAY + timedelta(days=1)), unit=pl.lit(None, pl.String))
    whole = pl.concat([frame, later]).sort("date", "stream", "seq")
    told = {}
    for fits in (True, False):
        archive = Archive(str(tmp_path / f"{fits}"))
        archive.append("reading", frame.clear(), app_id="ingest", version=1)
        assert parquet.fits(DeltaTable(f"{archive.uri}/reading").schema(), frame)
        with monkeypatch.context() as patch:
            patch.setattr(parquet, "fits", lambda *_, fits=fits: fits)
            archive.append("reading", whole, app_id="ingest", version=2)
        files = pl.DataFrame(DeltaTable(f"{archive.uri}/reading").get_add_actions(flatten=True))
        told[fits] = files.sort("partition.date").drop("path", "size_bytes", "modification_time")
        assert_frame_equal(archive.scan("reading").collect().sort("date", "stream", "seq"), whole)
    assert_frame_equal(told[True], told[False])


def test_a_table_of_an_older_version_is_not_written_past_its_columns(archive: Archive, frame: pl.DataFrame) -> None:
    older = arrow(frame.drop("extra").clear())
    handle = DeltaTable.create(f"{archive.uri}/reading", older.schema, partition_by=["date"])
    assert not parquet.fits(handle.schema(), frame)
    with pytest.raises(SchemaMismatchError):
        archive.append("reading", frame, app_id="ingest", version=1)


def test_a_table_that_nobody_wrote_is_empty_and_has_its_columns(archive: Archive) -> None:
    assert archive.scan("gap", (DAY, DAY)).collect().schema == pl.Schema(TABLES["gap"])
    assert archive.version("gap", "ingest") is None


def test_the_same_version_twice_is_stored_once(archive: Archive, frame: pl.DataFrame) -> None:
    for version in (1, 1, 2, 1, 2):
        archive.append("reading", frame, app_id="ingest", version=version)
    archive.append("reading", frame, app_id="another shard", version=1)
    assert (rows(archive), archive.version("reading", "ingest")) == (3 * len(frame), 2)


def test_a_new_process_knows_the_versions_of_the_old_one(archive: Archive, frame: pl.DataFrame) -> None:
    archive.append("reading", frame, app_id="ingest", version=7)
    Archive(archive.uri).append("reading", frame, app_id="ingest", version=7)
    assert rows(archive) == len(frame)


def test_after_a_conflict_the_table_is_opened_again_and_nothing_doubles(archive: Archive, frame: pl.DataFrame) -> None:
    archive.append("reading", frame, app_id="ingest", version=1)
    other = DeltaTable(archive.uri + "/reading")
    other.alter.set_table_properties({"delta.logRetentionDuration": "interval 3 days"})
    archive.append("reading", frame, app_id="ingest", version=2)
    write_deltalake(archive.uri + "/reading", frame.to_arrow(compat_level=pl.CompatLevel.oldest()), mode="overwrite")
    archive.append("reading", frame, app_id="ingest", version=3)
    assert (rows(archive), archive.version("reading", "ingest")) == (2 * len(frame), 3)


def test_a_place_that_cannot_be_written_is_a_store_that_is_away(tmp_path: Path, frame: pl.DataFrame) -> None:
    (tmp_path / "archive").write_text("a file where the folder should be")
    with pytest.raises(StoreAway, match="reading"):
        Archive(str(tmp_path / "archive")).append("reading", frame, app_id="ingest", version=1)


@pytest.fixture
def flushed(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The real paths of everything that was fsynced."""
    seen: set[str] = set()
    honest = os.fsync

    def fsync(descriptor: int) -> None:
        seen.add(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        honest(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    return seen


def on_disk(root: Path) -> set[str]:
    return {str(path) for path in (root, *root.rglob("*"))}


def test_every_new_file_and_folder_is_flushed(archive: Archive, frame: pl.DataFrame, flushed: set[str]) -> None:
    root = Path(archive.uri, "reading")
    archive.append("reading", frame, app_id="ingest", version=1)
    assert on_disk(root) <= flushed
    before = on_disk(root)
    flushed.clear()
    archive.append("reading", frame, app_id="ingest", version=2)
    assert on_disk(root) - before <= flushed


def test_what_a_killed_process_committed_but_did_not_flush_is_flushed_by_the_next(
    archive: Archive, frame: pl.DataFrame, flushed: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.stores.archive.sync_commits", lambda *_: None)
        archive.append("reading", frame, app_id="ingest", version=1)
    Archive(archive.uri).append("reading", frame, app_id="ingest", version=1)
    assert on_disk(Path(archive.uri, "reading")) <= flushed


def test_checkpoints_are_made_and_flushed(archive: Archive, flushed: set[str]) -> None:
    empty = pl.DataFrame(schema=TABLES["gap"])
    for version in range(1, 101):
        archive.append("gap", empty, app_id="ingest", version=version)
    log = Path(archive.uri, "gap", "_delta_log")
    assert {str(path) for path in (*log.glob("*.checkpoint*"), log / "_last_checkpoint")} <= flushed
    assert len([*log.glob("*.checkpoint*")]) == 1
    assert archive.version("gap", "ingest") == 100


def test_scanning_days_reads_only_their_partitions(archive: Archive, frame: pl.DataFrame) -> None:
    for back in range(3):
        shifted = frame.with_columns(date=pl.lit(DAY - timedelta(days=back)))
        archive.append("reading", shifted, app_id="ingest", version=back + 1)
    one = archive.scan("reading", (DAY - timedelta(days=1), DAY - timedelta(days=1)))
    assert one.select(pl.col("date").unique(), pl.len()).collect().rows() == [(DAY - timedelta(days=1), len(frame))]
    assert one.explain().count("date=") == 1


def test_compaction_removes_doubles_sorts_and_leaves_other_days_alone(archive: Archive, frame: pl.DataFrame) -> None:
    later = frame.with_columns(arrival_ts=pl.col("arrival_ts") + 9)
    archive.append("reading", later, app_id="ingest", version=1)
    archive.append("reading", frame.reverse(), app_id="ingest", version=2)
    archive.append(
        "reading", frame.with_columns(date=pl.lit(DAY, pl.Date) - pl.duration(days=1)), app_id="b", version=1
    )
    compact(archive, "reading", DAY)
    day = archive.scan("reading", (DAY, DAY)).collect()
    assert_frame_equal(day, frame.sort("unit", "ts"))
    assert rows(archive) == 2 * len(frame)
    archive.append("reading", frame, app_id="ingest", version=2)
    assert rows(archive) == 2 * len(frame)


def test_compaction_beside_a_writer_that_it_does_not_know_loses_nothing(archive: Archive, frame: pl.DataFrame) -> None:
    for version in (1, 2):
        archive.append("reading", frame[:100], app_id="ingest", version=version)
    Archive(archive.uri).append("reading", frame[100:], app_id="other", version=1)
    compact(archive, "reading", DAY)
    archive.append("reading", frame[:1], app_id="ingest", version=3)
    assert archive.scan("reading").select("seq", "stream").unique().collect().height == len(frame)
    compact(archive, "reading", DAY)
    assert_frame_equal(archive.scan("reading").collect(), frame.sort("unit", "ts"))


def test_compaction_in_small_helpings_is_the_same(
    archive: Archive, frame: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.stores.upkeep.AT_ONCE", 50)
    nameless = frame.with_columns(stream=pl.when(pl.col("module") != "m3").then("stream"))
    for version in (1, 2):
        archive.append("reading", nameless, app_id="ingest", version=version)
    compact(archive, "reading", DAY)
    order = ["unit", "ts"]
    assert_frame_equal(archive.scan("reading").sort(order).collect(), nameless.sort(order))


def test_replacing_a_site_and_day_again_changes_nothing_and_leaves_others(archive: Archive) -> None:
    def found(site: str | None, value: float) -> pl.DataFrame:
        told = pl.DataFrame({"finding_id": ["a", "b"], "site": [site] * 2, "day": [DAY] * 2, "value": [value] * 2})
        return pl.concat([pl.DataFrame(schema=TABLES["finding"]), told], how="diagonal_relaxed")

    for site in ("home", "o'hara", None):
        for value in (1.0, 2.0, 2.0):
            archive.replace("finding", found(site, value), where={"site": site, "day": DAY})
    archive.replace("finding", found("home", 3.0).clear(), where={"site": "home", "day": DAY})
    left = archive.scan("finding", (DAY, DAY)).select("site", "value").sort("site").collect()
    assert left.rows() == [(None, 2.0), (None, 2.0), ("o'hara", 2.0), ("o'hara", 2.0)]


def test_the_sink_keeps_its_place_even_when_a_segment_has_no_readings(archive: Archive) -> None:
    sink = ArchiveSink(archive)
    assert sink.position() == 0
    decoded = decode(list(entries(2, 5)))
    for number in (1, 1, 2):
        sink.write(number, decoded)
    sink.write(3, decode([]))
    assert (ArchiveSink(Archive(archive.uri)).position(), rows(archive)) == (3, 20)
    assert archive.scan("reading").select(pl.min("ts")).collect().item() >= T0
