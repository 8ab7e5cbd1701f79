"""A simulated fleet's past: marked, only for what is simulated, and found by the night's own estimators."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

from cellherd.errors import CellherdError
from pipeline.analyses.health import health
from pipeline.analyses.soh import trusted
from pipeline.commands_past import give
from pipeline.schema import CAPACITY, TABLES
from pipeline.simulation.past import CODE_VERSION, MET, daily_health, past
from pipeline.stores.archive import Archive

TODAY = date(2026, 6, 1)


def met(modules: int = 4) -> pl.DataFrame:
    rows = [
        {"edge": "barn", "site": "barn", "stack": "s1", "module": f"m{n}", "unit": f"u{n}", "kind": "module"}
        | {"nominal_mah": 280_000.0, "cells": 16 - n % 2, "until": TODAY - timedelta(days=n)}
        for n in range(modules)
    ]
    return pl.DataFrame(rows, schema=MET)


def test_the_past_ends_where_the_readings_begin_and_says_that_it_is_made_up() -> None:
    rows = past(met(), 90, 7, frozenset())
    assert rows.schema == pl.Schema(CAPACITY)
    assert rows["code_version"].unique().to_list() == [CODE_VERSION]
    last = dict(rows.group_by("unit").agg(pl.col("day").max()).iter_rows())
    assert all(last[f"u{n}"] < TODAY - timedelta(days=n) for n in range(4))
    assert rows["day"].min() == TODAY - timedelta(days=90)
    cells = dict(rows.group_by("unit").agg(pl.col("cell").n_unique()).iter_rows())
    assert cells == {"u0": 16, "u1": 15, "u2": 16, "u3": 15}
    assert rows.equals(past(met(), 90, 7, frozenset()))


def test_nobody_met_gives_no_past() -> None:
    assert past(met(0), 90, 7, frozenset()).is_empty()


def test_the_nights_estimator_finds_the_worn_module_and_no_other() -> None:
    rows = past(met(), 365, 7, frozenset({2}))
    rated = met().lazy().select("site", "unit", "nominal_mah")
    modules = rated.with_columns(soh_pm=pl.lit(990.0), full_mah=pl.lit(280_000.0))
    seen = trusted(daily_health(rows, met()).lazy())
    told = health(seen, modules, TODAY - timedelta(days=1)).collect()
    worn = told.filter(pl.col("status") == "finding")
    assert worn["unit"].to_list() == ["u2"]
    assert worn["hi"].item() < 80
    assert told.filter(pl.col("status") == "ok").height == 3


def _store(folder: Path, text: str) -> Path:
    row = {"site": "barn", "stack": "s1", "module": "m0", "unit": "u0", "kind": "module", "edge": "barn"}
    row |= {"ts": 1_780_300_000_000, "date": TODAY, "full_mah": 280_000, "c00": 3300, "c01": 3300}
    frame = pl.DataFrame([row], schema=TABLES["reading"])
    Archive(str(folder / "archive")).append("reading", frame, app_id="t", version=1)
    config = folder / "fleet.toml"
    config.write_text(text)
    return config


FLEET = """simulated = true
[[installer]]
id = "sunny"
[[site]]
id = "barn"
installer = "sunny"
tz = "Europe/Berlin"
edge = "barn"
"""


def test_given_twice_it_is_there_once(tmp_path: Path) -> None:
    config = _store(tmp_path, FLEET)
    for _ in range(2):
        give(config, tmp_path, 60, 7, ["barn/s1/m0"])
    rows = Archive(str(tmp_path / "archive")).scan("capacity").collect()
    assert rows.height == rows.select("unit", "cell", "ts").n_unique()
    assert rows.height > 20


@pytest.mark.parametrize(
    ("text", "worn", "says"),
    [
        (FLEET.replace("simulated = true", ""), [], "simulated = true"),
        (FLEET, ["barn/s1/m9"], "there is barn/s1/m0"),
    ],
)
def test_a_real_fleet_and_a_stranger_are_refused(tmp_path: Path, text: str, worn: list[str], says: str) -> None:
    with pytest.raises(CellherdError, match=says):
        give(_store(tmp_path, text), tmp_path, 60, 7, worn)


def test_an_empty_archive_is_told_apart(tmp_path: Path) -> None:
    (tmp_path / "fleet.toml").write_text(FLEET)
    with pytest.raises(CellherdError, match="let the fleet be read first"):
        give(tmp_path / "fleet.toml", tmp_path, 60, 7, None)
