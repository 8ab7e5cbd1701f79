"""A lockout session in words."""

from __future__ import annotations

import polars as pl
from rich.console import Console

from pipeline.analyses.causes import FAULTS_OF
from pipeline.analyses.evidence import ROOTS
from pipeline.nightly.explain_lockouts import BEHIND, ENDED, lockouts_of
from pipeline.schema import TABLES
from tests.pipeline.fleets import DAY, MIDNIGHT, MINUTE, Shelf

SESSION: dict[str, object] = {
    "site": "barn",
    "unit": "u1",
    "day": DAY,
    "start": MIDNIGHT,
    "end": MIDNIGHT + 12 * MINUTE,
    "fault": FAULTS_OF["OV_CELL"][0],
    "root": "cell_runs_away",
    "cell": 2,
    "confidence": 0.82,
    "ended_by": "reset",
    "evidence": '{"spread":240,"mean_hi":3420.0,"i_peak":18000,"t_lo":null}',
}


def told(**changes: object) -> str:
    shelf = Shelf(pl.DataFrame(schema=TABLES["reading"]))
    shelf.tables["lockout"] = pl.DataFrame([SESSION | changes], schema_overrides=TABLES["lockout"])
    table = lockouts_of(shelf, DAY, "barn", "u1")
    console = Console(width=400)
    with console.capture() as shown:
        console.print(table)
    return shown.get()


def test_every_root_has_words() -> None:
    assert {*ROOTS, "unknown"} == {*BEHIND}


def test_a_session_says_what_tripped_what_lies_behind_it_and_how_it_ended() -> None:
    words = told()
    for part in ("12 min", "one cell is full before the others (cell 3)", "82%", ENDED["reset"]):
        assert part in words
    assert "cells apart 240 mV, mean cell up to 3420 mV, largest current 18.0 A" in words
    assert "coldest" not in words


def test_an_unknown_root_names_the_two_likeliest() -> None:
    words = told(root="unknown", likeliest="weak_cell", second="soc_drift")
    assert "not clear; perhaps one cell is empty before the others, or it was emptier than it showed" in words


def test_a_day_without_lockouts_shows_no_table() -> None:
    assert lockouts_of(Shelf(pl.DataFrame(schema=TABLES["reading"])), DAY, "barn", "u1") is None
