"""`cellherd validate` as a person runs it: small, in JSON, with a miss, with a wrong name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer import Typer
from typer.testing import CliRunner, Result

from cellherd.errors import CellherdError
from pipeline.commands_validate import validate
from pipeline.validation import bars, checks
from pipeline.validation.judging import verdict
from pipeline.validation.row import Row

GOLDEN = Path(__file__).parents[1] / "golden"


def run(*words: str) -> Result:
    app = Typer()
    app.command()(validate)
    return CliRunner().invoke(app, [*words, "--measured", str(GOLDEN)], env={"COLUMNS": "200"})


def test_measured_cells_meet_their_bars_and_each_row_says_target_figure_interval_and_verdict() -> None:
    result = run("--only", "measured", "--json")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.exit_code == 0, rows
    assert len(rows) == 9
    assert {row["verdict"] for row in rows} == {"ok"}
    assert all(row["lo"] <= row["figure"] <= row["hi"] and len(row["target"]) == 2 for row in rows)


def test_a_figure_that_misses_its_bar_gives_exit_code_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bars, "_bars", lambda: {"base": {}, "measured": dict.fromkeys(NASA, (0.0, 0.1))})
    result = run("--only", "nasa")
    assert result.exit_code == 1
    assert result.stdout.count("MISSED") == 2
    assert "2 rows: 0 ok, 2 missed, 0 not judged" in result.stdout


NASA = [f"NASA {cell}, capacity by counting, mean error" for cell in ("B0029", "B0031")]


def test_a_small_fleet_goes_through_the_nights_and_what_it_is_too_short_for_is_not_judged() -> None:
    result = run("--only", "4s", "--modules", "2", "--days", "4")
    assert result.exit_code == 0, result.output
    assert "relative cell capacity" in result.stdout
    assert "not judged" in result.stdout


def test_what_there_is_can_be_listed_and_a_wrong_name_says_the_way_out() -> None:
    assert "cold          20 modules, 40 days" in run("--list").stdout
    wrong = run("--only", "nosuch")
    assert isinstance(wrong.exception, CellherdError)
    assert "there are nasa" in str(wrong.exception)


def test_every_fleet_is_judged_and_every_check_has_a_fleet() -> None:
    assert set(checks.chosen(None)) == set(checks.FLEETS)
    assert {fleet for fleets, _ in checks.CHECKS.values() for fleet in fleets} <= set(checks.FLEETS)
    for name in checks.CHECKS:
        assert checks.chosen(name)


def test_a_figure_that_could_not_be_had_is_neither_met_nor_missed() -> None:
    assert verdict(Row("x", (0, 1), float("nan"), 0, 1)) == "not judged"
    assert verdict(Row("x", (0, 1), 2.0, 0, 3)) == "MISSED"
