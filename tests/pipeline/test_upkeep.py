"""The archive is brought into order beside its writer, killed anywhere, and cut off from power: nothing is lost."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from threading import Event, Thread
from typing import get_args

import polars as pl
import pytest
from deltalake import DeltaTable
from polars.testing import assert_frame_equal
from typer import Typer
from typer.testing import CliRunner

from cellherd.settings import ArchiveStore, Table
from pipeline.commands_archive import show
from pipeline.commands_archive import upkeep as command
from pipeline.decoding.decode import decode
from pipeline.schema import READING_60S, TABLES
from pipeline.stores.archive import Archive
from pipeline.stores.durable import mend
from pipeline.stores.minutes import minutes
from pipeline.stores.upkeep import FORGET_HOURS, compact, gather, held, thin, upkeep
from tests.pipeline.fleets import DAY, MINUTE, frame, reading
from tests.pipeline.messages import entries

TODAY = DAY + timedelta(days=100)
FOR_EVER = ArchiveStore()


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(str(tmp_path / "archive"))


def some(first: int, count: int = 30, **said: object) -> pl.DataFrame:
    """Readings every 10 s of DAY from the `first`-th on."""
    return frame([reading(10_000 * n, (3300, 3310, 3290, 3300 + n % 7), **said) for n in range(first, first + count)])


def add(archive: Archive, *frames: pl.DataFrame) -> None:
    begin = (archive.version("reading", "ingest") or 0) + 1
    for version, one in enumerate(frames, begin):
        archive.append("reading", one, app_id="ingest", version=version)


def of(archive: Archive, table: str = "reading") -> pl.DataFrame:
    return archive.scan(table).collect().sort("unit", "ts")


def test_every_table_may_be_given_an_age_and_no_other() -> None:
    assert {*get_args(Table)} == {*TABLES}
    with pytest.raises(ValueError, match="35"):
        ArchiveStore.model_validate({"keep_days": {"reading": 31}})


def test_upkeep_makes_one_file_of_a_closed_day_leaves_today_alone_and_again_does_nothing(archive: Archive) -> None:
    add(archive, some(0), some(30), some(15))
    before = of(archive).unique(["stream", "epoch", "seq"]).sort("unit", "ts")
    assert upkeep(archive, DAY, FOR_EVER).compacted == 0, "the day is not over"
    assert upkeep(archive, TODAY, FOR_EVER).compacted == 1
    assert_frame_equal(of(archive), before)
    assert archive.days("reading") == {DAY: 1}
    assert upkeep(archive, TODAY, FOR_EVER).compacted == 0


def test_many_small_files_of_a_day_become_one_beside_the_writer(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.stores.upkeep.SMALL_FILES", 3)
    other = Archive(archive.uri)
    add(archive, some(0), some(30), some(15))
    assert gather(other) == 0, "three are not many"
    add(archive, some(60))
    before = of(archive)
    assert gather(other) == 1
    assert archive.days("reading") == {DAY: 1}
    assert_frame_equal(of(archive), before, check_row_order=False)
    add(archive, some(90), some(120))
    assert (of(archive).height, archive.days("reading")) == (180, {DAY: 3})
    assert gather(other) == 0
    assert archive.version("reading", "ingest") == 6


def test_what_was_gathered_to_its_size_is_not_written_again(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.stores.upkeep.SMALL_FILES", 1)
    monkeypatch.setattr("pipeline.stores.upkeep.GATHERED", 1)
    add(archive, some(0), some(30))
    before = archive.sizes("reading")
    gather(archive)
    assert archive.sizes("reading") == before


def test_a_minute_holds_means_extremes_and_every_fault() -> None:
    rows = [
        reading(0, (3300, 3320), current_ma=-1000, cycles=7, faults="", temp_min_dc=250),
        reading(10_000, (3301, 3400), current_ma=4000, cycles=8, faults="a b"),
        reading(20_000, (None, 3300), current_ma=None, cycles=None, faults="b c"),
        reading(MINUTE, faults=None),
    ]
    first, second = minutes(frame(rows).lazy()).collect().sort("ts").to_dicts()
    told = {name: first[name] for name in ("n", "current_ma", "current_ma_min", "current_ma_max", "cycles", "faults")}
    assert told == {
        "n": 3, "current_ma": 1500, "current_ma_min": -1000, "current_ma_max": 4000, "cycles": 8, "faults": "a b c",
    }  # fmt: skip
    assert (first["c00"], first["c01"], first["spread_mv_max"], first["temp_min_dc"]) == (3300, 3340, 99, 250)
    assert (second["n"], second["faults"], second["c00"]) == (1, None, None)
    assert first["ts"] == second["ts"] - MINUTE


def test_old_readings_become_minutes_and_late_ones_fill_only_what_is_missing(archive: Archive) -> None:
    keep = ArchiveStore(thin_after_days=40)
    add(archive, some(0), some(40))
    assert upkeep(archive, DAY + timedelta(days=40), keep).thinned == 0, "not old enough"
    assert upkeep(archive, TODAY, keep).thinned == 1
    made = of(archive, "reading_60s")
    assert (dict(made.schema), of(archive).height) == (READING_60S, 0)
    assert made.select("n").sum().item() == 60
    add(archive, some(29, 12))
    upkeep(archive, TODAY, keep)
    later = of(archive, "reading_60s")
    assert (later.height, of(archive).height) == (made.height + 1, 0)
    assert_frame_equal(later.join(made, on=["unit", "ts"], how="semi"), made)


def test_what_is_too_old_goes_table_by_table(archive: Archive) -> None:
    add(archive, some(0), some(0).with_columns(date=pl.lit(DAY + timedelta(days=50))))
    for name, day in (("a", DAY), ("b", TODAY)):
        row = pl.DataFrame({"finding_id": [name], "site": ["barn"], "day": [day]})
        finding = pl.concat([pl.DataFrame(schema=TABLES["finding"]), row], how="diagonal_relaxed")
        archive.replace("finding", finding, where={"site": "barn", "day": day})
    keep = ArchiveStore(keep_days={"reading": 60, "finding": 60})
    for _ in range(2):
        upkeep(archive, TODAY, keep)
    assert of(archive)["date"].unique().to_list() == [DAY + timedelta(days=50)]
    assert archive.scan("finding").collect()["finding_id"].to_list() == ["b"]
    assert archive.version("reading", "ingest") == 2, "the ingester's position outlives its rows"


WORK = """
import sys
from datetime import date
from cellherd.settings import ArchiveStore
from pipeline.stores.archive import Archive
from pipeline.stores.upkeep import upkeep
keep = ArchiveStore(thin_after_days=40, keep_days={"gap": 40})
upkeep(Archive(sys.argv[1]), date.fromisoformat(sys.argv[2]), keep)
"""


@pytest.mark.parametrize(
    "point", ["archive-committed:1", "upkeep-compacted", "upkeep-thinned", "archive-committed:3", "archive-committed:4"]
)
def test_killed_anywhere_the_next_upkeep_gives_the_same_tables(tmp_path: Path, point: str) -> None:
    straight, killed = Archive(str(tmp_path / "straight")), Archive(str(tmp_path / "killed"))
    for one in (straight, killed):
        add(one, some(0), some(30), some(15))
    upkeep(straight, TODAY, ArchiveStore(thin_after_days=40))
    environment = os.environ | {"CELLHERD_FAILPOINT": point, "POLARS_MAX_THREADS": "1"}
    command = [sys.executable, "-c", WORK, killed.uri, str(TODAY)]
    assert subprocess.run(command, env=environment, check=False).returncode == -9, "it was to die there"
    upkeep(killed, TODAY, ArchiveStore(thin_after_days=40))
    for table in ("reading", "reading_60s"):
        assert_frame_equal(of(killed, table), of(straight, table))


def meanwhile(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    """Have something happen once between what a step read and what it commits."""
    honest, done = Archive.rows_of, Event()

    def rows_of(self: Archive, handle: DeltaTable, day: date) -> pl.LazyFrame:
        found = honest(self, handle, day)
        if not done.is_set():
            done.set()
            act()
        return found

    monkeypatch.setattr(Archive, "rows_of", rows_of)


@pytest.mark.parametrize("step", ["compact", "thin"])
def test_readings_that_come_while_their_day_is_in_hand_are_neither_lost_nor_doubled(
    archive: Archive, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    add(archive, some(0), some(30))
    meanwhile(monkeypatch, lambda: add(Archive(archive.uri), some(60)))
    compact(archive, "reading", DAY) if step == "compact" else thin(archive, DAY)
    if step == "compact":
        assert of(archive)["seq"].to_list() == [10_000 * n for n in range(90)]
    else:
        assert (of(archive).height, of(archive, "reading_60s")["n"].sum()) == (0, 90)


@pytest.mark.slow
def test_beside_a_writer_that_never_rests_every_reading_stays(archive: Archive) -> None:
    base = decode(list(entries(4, 20, modules=10))).frames["reading"]
    writer, stop, wrote = Archive(archive.uri), Event(), [0]

    def write() -> None:
        while not stop.is_set() and wrote[0] < 400:
            number = wrote[0] + 1
            batch = base.with_columns(seq=pl.col("seq") + 1000 * number, date=pl.lit(DAY + timedelta(days=number % 2)))
            writer.append("reading", batch, app_id="ingest", version=number)
            wrote[0] = number

    thread = Thread(target=write)
    thread.start()
    try:
        for _ in range(5):
            upkeep(archive, DAY + timedelta(days=1), FOR_EVER)
    finally:
        stop.set()
        thread.join(60)
    assert wrote[0] > 0
    found = archive.scan("reading").select("stream", "epoch", "seq", "module").collect()
    assert (found.height, found.unique().height) == (wrote[0] * base.height, wrote[0] * base.height)


def test_files_that_nobody_needs_go_after_two_days(archive: Archive) -> None:
    add(archive, some(0), some(30))
    upkeep(archive, TODAY, FOR_EVER)
    root = Path(archive.uri, "reading")
    assert len([*root.rglob("*.parquet")]) == 3, "whoever still reads the older version can go on"
    table = DeltaTable(str(root))
    assert table.metadata().configuration["delta.deletedFileRetentionDuration"] == f"interval {FORGET_HOURS} hours"
    table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    assert len([*root.rglob("*.parquet")]) == 1
    assert_frame_equal(of(archive), pl.concat([some(0), some(30)]))


@pytest.mark.parametrize("damage", ["data short", "data gone", "log empty", "log cut", "log gone"])
def test_a_commit_torn_by_a_power_cut_is_taken_back_and_made_again(archive: Archive, damage: str) -> None:
    add(archive, some(0), some(30))
    root = Path(archive.uri, "reading")
    before = set(root.rglob("*.parquet"))
    add(archive, some(60), some(90))
    newest = sorted((root / "_delta_log").glob("*.json"))[-2]
    fresh = sorted(set(root.rglob("*.parquet")) - before)
    if damage == "data short":
        fresh[0].write_bytes(b"")
    elif damage == "data gone":
        fresh[1].unlink()
    elif damage == "log empty":
        newest.write_bytes(b"")
    elif damage == "log cut":
        newest.write_bytes(newest.read_bytes()[:-40])
    else:
        newest.unlink()
    after = Archive(archive.uri)
    version = after.version("reading", "ingest") or 0
    assert 2 <= version < 4
    for number, one in ((3, some(60)), (4, some(90))):
        after.append("reading", one, app_id="ingest", version=number)
    assert of(after)["seq"].to_list() == [10_000 * n for n in range(120)]
    assert mend(root) == 0


def test_a_torn_checkpoint_is_thrown_away(archive: Archive) -> None:
    empty = pl.DataFrame(schema=TABLES["reading"])
    add(archive, some(0), *[empty] * 105)
    log = Path(archive.uri, "reading", "_delta_log")
    (checkpoint,) = log.glob("*.checkpoint*")
    checkpoint.write_bytes(b"")
    assert Archive(archive.uri).version("reading", "ingest") == 106
    assert of(Archive(archive.uri)).height == 30


def test_a_sound_table_is_left_as_it_is(archive: Archive) -> None:
    add(archive, some(0), some(30))
    upkeep(archive, TODAY, FOR_EVER)
    DeltaTable(f"{archive.uri}/reading").vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    before = sorted(Path(archive.uri).rglob("*"))
    assert mend(Path(archive.uri, "reading")) == 0
    assert sorted(Path(archive.uri).rglob("*")) == before


def test_the_commands_say_what_was_done_and_what_lies_there(tmp_path: Path) -> None:
    (tmp_path / "fleet.toml").write_text("[archive]\nthin_after_days = 40\n[archive.keep_days]\nreading = 50\n")
    archive = Archive(str(tmp_path / "archive"))
    add(archive, some(0), some(30))
    app = Typer()
    app.command("upkeep")(command)
    app.command("show")(show)
    place = ["--config", str(tmp_path / "fleet.toml"), "--state", str(tmp_path)]
    told = CliRunner().invoke(app, ["show", *place], env={"COLUMNS": "100"})
    assert "50 days" in told.output, told.exception
    assert held(archive)["reading"].files == 2
    result = CliRunner().invoke(app, ["upkeep", *place])
    assert result.exit_code == 0, result.exception
    assert result.output.strip() == "days compacted: 0, thinned to a minute: 0, deleted: 1"
