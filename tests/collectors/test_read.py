"""`cellherd read` and `cellherd replay`, as a person calls them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cellherd.cli import app_for
from cellherd.errors import CellherdError
from collectors.emulators.battery import Battery, Plan
from collectors.emulators.device import EmulatedDevice
from collectors.emulators.fleet import Running, start


@pytest.fixture
def cold() -> Iterator[Running]:
    """A JK module in a garage at eight degrees below zero."""
    battery = Battery(Plan(ambient_dc=-80))
    battery.step(1_760_000_000_000, 3600)
    (running,) = start([EmulatedDevice("jk_modbus", {1: battery}, "tcp")])
    yield running
    running.stop()


def call(*words: str) -> str:
    result = CliRunner().invoke(app_for(list(words)), list(words), catch_exceptions=False, env={"COLUMNS": "100"})
    assert result.exit_code == 0, result.output
    return result.output


def test_read_shows_cells_from_one_and_faults_in_words(cold: Running) -> None:
    shown = call("read", "--driver", "jk_modbus", "--link", cold.link)
    assert " 1: 3." in shown
    assert "16: 3." in shown
    assert " 0: 3." not in shown
    assert "Too cold to charge" in shown
    assert "cut by the BMS" in shown
    assert "°C" in shown
    assert "EMU000001" in shown


def test_a_recorded_reading_replays_without_the_device(cold: Running, tmp_path: Path) -> None:
    capture = tmp_path / "garage.jsonl"
    live = call("read", "--driver", "jk_modbus", "--link", cold.link, "--record", str(capture))
    cold.stop()
    again = call("replay", str(capture))
    cells = [line.strip("│ ") for line in live.splitlines() if ": 3." in line]
    assert cells
    assert all(line in again for line in cells)


def test_read_finds_a_stack_in_edge_toml_and_says_which_there_are(cold: Running, tmp_path: Path) -> None:
    config = tmp_path / "edge.toml"
    config.write_text(
        f'edge = "pi"\n[[device]]\nstack = "garage"\ndriver = "jk_modbus"\nlink = "{cold.link}"\naddress = 1\n',
        encoding="utf-8",
    )
    assert "garage / m1" in call("read", "garage", "--config", str(config))
    with pytest.raises(CellherdError, match="no device of stack 'attic'; there are garage"):
        call("read", "attic", "--config", str(config))
    with pytest.raises(CellherdError, match="--driver and --link"):
        call("read")
