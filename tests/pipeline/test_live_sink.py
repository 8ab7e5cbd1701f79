"""The engine's memory: killed at any moment, started again, the same events; a store that is away loses none."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from pipeline.decoding.decode import Decoded
from pipeline.live.events import Event
from pipeline.live.replay import found_again, missing, replay
from pipeline.live.sink import LiveSink, to_archive
from pipeline.live.store import LiveStore, late_days, queue_events, recent
from pipeline.schema import TABLES
from pipeline.stores.archive import Archive
from pipeline.stores.errors import StoreAway
from tests.pipeline.fleets import DAY, MIDNIGHT, frame
from tests.pipeline.scenes import rows, scenes

SCENE = scenes("derived.toml")["repeat_lockout"]["step"]
TURN = 6
"""Readings of one segment."""


class StillClock:
    """Stands at noon."""

    def wall(self) -> int:
        return MIDNIGHT + 43_200_000

    boot = wall

    def boot_id(self) -> str:
        return "00000000"

    def quality(self) -> str:
        return "ntp"


def segments() -> list[Decoded]:
    readings = list(rows(SCENE))
    return [Decoded({"reading": frame(readings[at : at + TURN])}) for at in range(0, len(readings), TURN)]


def opened(folder: Path, *, archive: bool = True) -> LiveSink:
    outlets = {"archive": to_archive(Archive(str(folder / "archive")), "s")} if archive else {}
    return LiveSink(LiveStore(folder / "live.sqlite"), {}, StillClock(), outlets)  # type: ignore[arg-type]


def feed(folder: Path) -> None:
    """All segments from where the sink is, as the feeder brings them."""
    sink = opened(folder)
    sink.deliver()
    for number, segment in enumerate(segments(), start=1):
        if number > sink.position():
            sink.write(number, segment)
    sink.store.close()


def ids(folder: Path) -> tuple[list[str], list[str], list[str]]:
    with sqlite3.connect(folder / "live.sqlite") as db:
        pending = [row[0] for row in db.execute("SELECT event_id FROM pending_event ORDER BY n")]
    stored = Archive(str(folder / "archive")).scan("event").collect()["event_id"]
    return [row["event_id"] for row in recent(folder / "live.sqlite")], sorted(stored), pending


@pytest.mark.parametrize("place", ["live-written", "live-committed", "live-delivered", "archive-committed"])
def test_killed_anywhere_and_started_again_it_tells_the_same(tmp_path: Path, place: str) -> None:
    whole, hit = tmp_path / "whole", tmp_path / "hit"
    whole.mkdir()
    hit.mkdir()
    feed(whole)
    killed = 0
    program = f"from pathlib import Path; from tests.pipeline.test_live_sink import feed; feed(Path({str(hit)!r}))"
    for _ in range(40):
        run = subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ
            | {"CELLHERD_FAILPOINT": f"{place}:{4 if place.startswith('live-w') or place == 'live-committed' else 2}"},
            check=False,
        )
        if run.returncode == 0:
            break
        assert run.returncode == -signal.SIGKILL
        killed += 1
        if place != "live-committed":
            feed(hit)
            break
    assert killed
    assert ids(hit) == ids(whole)
    assert len(ids(whole)[0]) == len(set(ids(whole)[0])) >= 4


def test_the_same_segment_again_changes_nothing(tmp_path: Path) -> None:
    feed(tmp_path)
    before = ids(tmp_path)
    sink = opened(tmp_path)
    for number, segment in enumerate(segments(), start=1):
        sink.write(number, segment)
    assert ids(tmp_path) == before


def test_an_archive_that_is_away_keeps_no_event_from_people(tmp_path: Path) -> None:
    def away(_batch: int, _events: pl.DataFrame) -> None:
        raise StoreAway("away")

    sink = opened(tmp_path, archive=False)
    sink.outlets = {"archive": away}
    for number, segment in enumerate(segments(), start=1):
        sink.write(number, segment)
    assert ids(tmp_path)[1:] == ([], [row["event_id"] for row in recent(tmp_path / "live.sqlite")])
    sink.outlets = {"archive": to_archive(Archive(str(tmp_path / "archive")), "s")}
    sink.deliver()
    live, stored, _ = ids(tmp_path)
    assert sorted(live) == stored


def test_what_the_alerts_refuse_undoes_the_whole_step(tmp_path: Path) -> None:
    def refuses(_connection: sqlite3.Connection, events: list[Event], _now: int) -> None:
        raise OSError(events[0].fault)

    store = LiveStore(tmp_path / "live.sqlite", refuses)  # type: ignore[arg-type]
    sink = LiveSink(store, {}, StillClock())  # type: ignore[arg-type]
    sink.write(1, segments()[0])
    with pytest.raises(OSError, match="cell_overvoltage_protection"):
        sink.write(2, segments()[1])
    assert (sink.position(), recent(tmp_path / "live.sqlite")) == (1, [])
    store.close()
    again = LiveSink(LiveStore(tmp_path / "live.sqlite", queue_events), {}, StillClock())  # type: ignore[arg-type]
    again.write(2, segments()[1])
    assert [row["fault"] for row in recent(tmp_path / "live.sqlite")] == ["cell_overvoltage_protection"]


class Day:
    """The archive of one day, read only."""

    def __init__(self, readings: pl.DataFrame) -> None:
        self.readings = readings

    def scan(self, table: str, days: tuple[date, date] | None = None) -> pl.LazyFrame:
        mine = self.readings if table == "reading" else pl.DataFrame(schema=TABLES[table])
        return mine.lazy() if days is None else mine.lazy().filter(pl.col("date").is_between(*days))


def test_a_replay_finds_the_live_events_and_stores_none_twice(tmp_path: Path) -> None:
    feed(tmp_path)
    found = found_again(Day(frame(rows(SCENE))), DAY, ["barn"], {})
    live = Archive(str(tmp_path / "archive")).scan("event").collect()
    assert {event.event_id for event in found} == {*live["event_id"]}
    assert missing(found, live).is_empty()


def test_a_day_that_came_late_is_noted_and_its_events_are_found_by_the_replay(tmp_path: Path) -> None:
    readings = list(rows(SCENE))
    sink = opened(tmp_path)
    sink.write(1, Decoded({"reading": frame(readings[-1:])}))
    sink.write(2, Decoded({"reading": frame(readings[:-1])}))
    assert late_days(tmp_path / "live.sqlite") == [("barn", DAY.isoformat(), len(readings) - 1)]
    archive = Archive(str(tmp_path / "archive"))
    archive.append("reading", frame(readings), app_id="t", version=1)
    assert replay(archive, DAY, ["barn"], {}) >= 3
    assert replay(archive, DAY, ["barn"], {}) == 0
