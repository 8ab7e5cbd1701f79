from __future__ import annotations

from pathlib import Path

import pytest
from typer import Typer
from typer.testing import CliRunner, Result

from cellherd.clock import SystemClock
from cellherd.errors import CellherdError
from cellherd.faults import catalogue
from pipeline.commands_flows import serve
from pipeline.commands_nightly import nightly
from pipeline.nightly.diary import Diary
from pipeline.stores.archive import Archive
from tests.pipeline.fleets import MINUTE, frame, reading

FLEET = """
[[installer]]
id = "acme"

[[site]]
id = "barn"
installer = "acme"
edge = "e1"
name = "The barn"
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A fleet of one module whose third cell ran ahead near full on 2026-06-01."""
    (tmp_path / "fleet.toml").write_text(FLEET)
    rows = [reading(n * MINUTE, (3450, 3450, 3710 if 600 < n < 660 else 3450, 3450), soc_pm=1000) for n in range(660)]
    Archive(str(tmp_path / "archive")).append("reading", frame(rows[600:]), app_id="ingest", version=1)
    return tmp_path


def run(place: Path, *words: str) -> Result:
    app = Typer()
    app.command()(nightly)
    config = ["--config", str(place / "fleet.toml"), "--state", str(place)]
    return CliRunner().invoke(app, [*words, *config], env={"COLUMNS": "200"})


def test_a_day_is_worked_through_and_told_in_plain_words(place: Path) -> None:
    result = run(place, "--day", "2026-06-01")
    assert result.exit_code == 0, result.exception
    assert "2026-06-01: modules 1, findings 1" in result.output
    assert "The barn, stack s1, module m1, cell 3" in result.output
    assert catalogue()["top_of_charge_drift"].title in result.output
    assert "265 mV (limit 250 mV)" in result.output


def test_the_numbers_behind_a_verdict_can_be_read(place: Path) -> None:
    run(place, "--day", "2026-06-01")
    output = run(place, "--day", "2026-06-01", "--explain", "s1/m1").output
    assert "barn/s1/m1 (unit u1) on 2026-06-01" in output
    assert "3.710 V" in output
    assert "finding, cell 3" in output
    assert "same cell highest near full" in output
    assert "readings are missing" in output


def test_an_unknown_module_a_wrong_date_and_a_wrong_site_say_the_way_out(place: Path) -> None:
    for words, told in (
        (("--day", "2026-06-01", "--explain", "m9"), "has `cellherd nightly --day 2026-06-01` run?"),
        (("--day", "June"), "write it as 2026-06-01"),
        (("--site", "bern"), "there are barn"),
    ):
        error = run(place, *words).exception
        assert isinstance(error, CellherdError)
        assert told in str(error)


def test_nothing_is_owed_where_nothing_came(place: Path) -> None:
    (place / "empty").mkdir()
    (place / "empty" / "fleet.toml").write_text(FLEET)
    result = run(place / "empty", "--due")
    assert (result.exit_code, result.stdout) == (0, "nothing is owed\n")


@pytest.mark.parametrize(("busy", "files"), [(False, 1), (True, 3)])
def test_a_look_at_what_is_owed_puts_a_days_small_files_together(
    place: Path, monkeypatch: pytest.MonkeyPatch, busy: bool, files: int
) -> None:
    monkeypatch.setattr("pipeline.stores.upkeep.SMALL_FILES", 2)
    monkeypatch.setattr("pipeline.nightly.on_demand.daily", lambda *_: None)  # it would compact the day, long over
    archive = Archive(str(place / "archive"))
    for version in (2, 3):
        archive.append("reading", frame([reading(version * MINUTE)]), app_id="ingest", version=version)
    other = Diary(place / "nightly.db")
    if busy:
        other.keep(SystemClock().wall())
    assert run(place, "--due").exit_code == int(busy), "another one at work is told"
    other.close()
    assert list(archive.days("reading").values()) == [files]


def test_serving_flows_without_a_server_is_refused_for_it_would_never_run(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    with pytest.raises(CellherdError, match="cellherd nightly --due"):
        serve(place / "fleet.toml", place)
