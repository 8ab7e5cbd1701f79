"""A code that a person typed in: one event, with its meaning, and no guess where it may mean several things."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from cellherd.cli import app_for
from cellherd.errors import CellherdError
from pipeline.commands_faults import meaning
from pipeline.stores.archive import Archive

FLEET = '[[installer]]\nid = "us"\n\n[[site]]\nid = "barn"\ninstaller = "us"\nedge = "pi"\n'
WORDS = ["faults", "add", "--site", "barn", "--stack", "s1", "--module", "m2", "--at", "2026-06-01T12:00:00"]


def entered(folder: Path, *words: str) -> str:
    (folder / "fleet.toml").write_text(FLEET)
    call = [*WORDS, "--config", str(folder / "fleet.toml"), "--state", str(folder), *words]
    result = CliRunner().invoke(app_for(call), call, catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_what_the_display_shows_becomes_one_event_however_often_it_is_entered(tmp_path: Path) -> None:
    for _ in range(2):
        assert "Cells further apart" in entered(tmp_path, "--brand", "ecoflow", "--cell", "3", "E6")
    entered(tmp_path, "--brand", "ecoflow", "E5")
    events = Archive(str(tmp_path / "archive")).scan("event").sort("fault").collect()
    assert events["fault"].to_list() == ["bms_comm_internal", "cell_imbalance_warning"]
    assert events.select("origin", "vendor", "code", "cell", "module").row(1) == ("operator", "ecoflow", "E6", 2, "m2")
    assert events.select(pl.col("ts").unique()).item() == 1780315200000


def test_a_code_that_may_mean_several_things_is_not_guessed() -> None:
    with pytest.raises(CellherdError, match="--brand"):
        meaning("bit 4", None)


def test_a_code_that_nobody_explained_is_kept_in_its_own_words(tmp_path: Path) -> None:
    entered(tmp_path, "--brand", "jk", "Q-77")
    event = Archive(str(tmp_path / "archive")).scan("event").collect().row(0, named=True)
    assert (event["fault"], event["code"]) == ("vendor_code_unknown", "Q-77")


def test_a_site_that_is_not_registered_is_refused(tmp_path: Path) -> None:
    (tmp_path / "fleet.toml").write_text(FLEET)
    call = ["faults", "add", "--site", "barm", "--stack", "s", "--module", "m", "deep_sleep"]
    call += ["--config", str(tmp_path / "fleet.toml"), "--state", str(tmp_path)]
    with pytest.raises(CellherdError, match="no site 'barm'"):
        CliRunner().invoke(app_for(call), call, catch_exceptions=False)
