"""The night's tables as points: verdicts in words, lockouts with their minutes before, cells at rest, and all again."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import polars as pl

from cellherd.settings import Site
from dashboards.points import parsed
from pipeline.schema import TABLES
from pipeline.stores.derived import lockout_lines, rest_lines, verdict_lines
from pipeline.stores.lines import server_lines
from pipeline.stores.refill import points

SITES = {"home": Site(id="home", installer="sun", edge="pi0", tz="America/Denver")}
DAY = date(2025, 11, 21)
NOON = 1_763_726_400_000
HERE = {"site": "home", "stack": "s1", "module": "m1", "unit": "u1", "kind": "module", "day": DAY}


def frame_of(table: str, *rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame([HERE | row for row in rows], schema=TABLES[table])


def finding(**told: Any) -> dict[str, Any]:
    plain = {"analysis": "imbalance", "pattern": "spread_top", "status": "ok", "since_day": DAY}
    return plain | {"reasons": "[]", "action": "[]"} | told


def one(lines: bytes, measurement: str) -> dict[str, Any]:
    (row,) = parsed(lines.decode())[measurement].to_dicts()
    return row


def test_a_verdict_is_the_worst_finding_in_words_with_health_and_its_interval() -> None:
    why = json.dumps([{"id": "came_within_24_hours", "value": 4, "threshold": 3, "value_unit": "count"}])
    repeat = finding(analysis="lockouts", pattern="x", status="finding", fault="repeat_lockout", priority=1, score=80.0,
                     confidence=0.9, reasons=why, since_day=date(2025, 11, 19), cell=4, value=4.0)  # fmt: skip
    mild = finding(status="finding", fault="cell_imbalance_warning", priority=3, score=20.0)
    health = finding(analysis="health", pattern="soh", value=91.0, lo=89.5, hi=92.5)
    row = one(verdict_lines(frame_of("finding", mild, repeat, health), SITES), "verdict")
    assert (row["ts"], row["installer"], row["module"]) == (NOON, "sun", "m1")
    assert (row["urgency"], row["findings"], row["score"], row["since_days"], row["cell_no"]) == (3, 2, 80, 3, 5)
    assert row["text"] == "The same protection comes back after every reset"
    assert row["why"] == "came within 24 hours: 4 times (limit 3 times)"
    assert (row["soh"], row["soh_lo"], row["soh_hi"]) == (91, 89.5, 92.5)


def test_a_module_without_a_finding_has_a_verdict_too_that_wipes_the_words_of_the_last() -> None:
    calm = one(verdict_lines(frame_of("finding", finding()), SITES), "verdict")
    assert (calm["urgency"], calm["score"], calm["text"], calm["why"], calm["todo"]) == (0, 0, "", "", "")
    unseen = one(verdict_lines(frame_of("finding", finding(status="not_observable")), SITES), "verdict")
    assert unseen["urgency"] == -1
    ranked = frame_of("finding", finding(status="not_observable"), finding(analysis="ranking", value=7.0))
    assert one(verdict_lines(ranked, SITES), "verdict")["urgency"] == -1
    assert verdict_lines(frame_of("finding"), SITES) == b""


def test_a_lockout_stands_at_its_begin_with_its_local_hour_and_the_numbers_before_it() -> None:
    session = {"start": NOON, "end": NOON + 90 * 60_000, "fault": "cell_overvoltage_protection", "n_chatter": 2,
               "likeliest": "charge_voltage_high", "confidence": 0.8, "ended_by": "auto_release", "cell": 0,
               "evidence": '{"soc_pm":985,"t_hi":215,"i_peak":-12000,"spread":61}'}  # fmt: skip
    row = one(lockout_lines(frame_of("lockout", session), SITES), "lockout")
    assert (row["ts"], row["fault"], row["minutes"], row["hour"]) == (NOON, "cell_overvoltage_protection", 90, 5)
    assert (row["soc"], row["warmest"], row["peak_a"], row["spread_mv"]) == (98.5, 21.5, -12, 61)
    assert (row["cause"], row["ended"], row["cell_no"], row["times"]) == ("charge voltage high", "auto release", 1, 2)


def test_a_cells_rest_is_its_distance_from_the_median_cell() -> None:
    cells = [{"state": "rest", "cell": cell, "ts": 5, "mv": mv} for cell, mv in enumerate((3300.0, 3310.0, 3290.0))]
    full = {"state": "full", "cell": 0, "ts": 6, "mv": 3500.0}
    rows = parsed(rest_lines(frame_of("anchor", *cells, full), SITES).decode())["cell_rest"].sort("cell")
    assert dict(zip(rows["cell"], rows["deviation_mv"], strict=True)) == {"0": 0, "1": 10, "2": -10}
    assert rest_lines(frame_of("anchor"), SITES) == b""


def test_our_own_counts_are_a_point_without_a_tag() -> None:
    counts = pl.DataFrame({"ts": [5], "dead_letters": [2], "too_old": [0]})
    assert server_lines(counts) == b"server dead_letters=2i,too_old=0i 5\n"


class Shelf:
    def scan(self, table: str, days: tuple[date, date] | None = None) -> pl.LazyFrame:
        rows = [{"n": 5}] if table == "module_day" else [finding()] if table == "finding" else []
        return frame_of(table, *rows).lazy() if "day" in TABLES[table] else pl.LazyFrame(schema=TABLES[table])


def test_the_archive_is_written_once_more_day_by_day_and_only_what_is_wanted() -> None:
    told = b"".join(lines for bucket, lines in points(Shelf(), SITES, (DAY, DAY)) if bucket == "nightly")
    assert set(parsed(told.decode())) == {"module_day", "finding", "verdict"}
    assert not [bucket for bucket, _ in points(Shelf(), SITES, (DAY, DAY), "live") if bucket == "nightly"]
