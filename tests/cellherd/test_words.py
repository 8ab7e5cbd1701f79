"""Readings, topics, config files and the command line's own words."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cellherd import faults, topics
from cellherd.cli import COMMANDS, app_for
from cellherd.config import load_edge, load_fleet, read_secret
from cellherd.errors import BadPayload, ConfigError
from cellherd.reading import Measured, as_row, combine


def test_the_later_answer_counts_and_faults_add_up() -> None:
    first = Measured(voltage_mv=1, soc_pm=2, faults=("deep_sleep",), extra={"a": 1})
    second = Measured(voltage_mv=3, faults=("comm_lost", "deep_sleep"), extra={"b": 2})
    whole = combine(first, second)
    assert (whole.voltage_mv, whole.soc_pm) == (3, 2)
    assert whole.faults == ("deep_sleep", "comm_lost")
    assert whole.extra == {"a": 1, "b": 2}


def test_zero_is_a_measurement_and_none_is_not_said() -> None:
    assert as_row(Measured(current_ma=0, charge_on=False)) == {"current_ma": 0, "charge_on": 0}
    assert as_row(Measured(faults=())) == {"faults": []}
    assert as_row(combine(Measured(current_ma=0), Measured())) == {"current_ma": 0}


def test_a_number_too_wide_for_its_column_travels_beside_it_and_harms_no_neighbour() -> None:
    row = as_row(Measured(cell_mv=(3300, 65535, None), soc_pm=40_000, extra={"a": 1}))
    assert row == {"cell_mv": [3300, None, None], "extra": {"a": 1, "soc_pm": 40_000, "cell_mv.1": 65535}}
    assert as_row(Measured(temp_dc=(200,) * 17))["extra"] == {"temp_dc.16": 200}


def test_a_bit_that_nobody_has_explained_is_an_unknown_code_and_never_dropped() -> None:
    word = faults.brand("jbd")["protection"]
    assert word.of_mask(1 << 15) == (faults.UNKNOWN,)
    assert word.of_mask(0) == ()


@pytest.mark.parametrize(
    "topic", [topics.readings("e1", "s", "m"), topics.readings("e1", "s", "m", deflated=True), topics.records("e1")]
)
def test_a_topic_of_ours_is_taken_apart(topic: str) -> None:
    assert topics.parse(topic).edge == "e1"


@pytest.mark.parametrize(
    "topic", ["", "fleet", "fleet//r/s/m", "fleet/E/r/s/m", "fleet/e/x/s/m", "a/e/s", "fleet/e/r/../m"]
)
def test_any_other_topic_is_refused(topic: str) -> None:
    with pytest.raises(BadPayload):
        topics.parse(topic)


WRONG = """
edge = "Hillside"
[mqtt]
urll = "mqtts://broker:8883"
[[device]]
stack = "house"
driver = "jbd"
link = "serial:/dev/ttyUSB0"
period_s = "often"
"""


def test_all_mistakes_of_a_config_are_told_at_once_with_line_and_nearest_word(tmp_path: Path) -> None:
    path = tmp_path / "edge.toml"
    path.write_text(WRONG)
    with pytest.raises(ConfigError) as caught:
        load_edge(path, {})
    told = "\n".join(caught.value.complaints)
    assert "line 2: edge" in told
    assert "line 4: mqtt.urll: unknown key, did you mean 'url'?" in told
    assert "line 9: device.0.period_s" in told
    assert len(caught.value.complaints) == 3


def test_a_password_never_travels_in_the_open(tmp_path: Path) -> None:
    path = tmp_path / "edge.toml"
    path.write_text('edge = "e"\n[mqtt]\nurl = "mqtt://broker.example:1883"\n')
    with pytest.raises(ConfigError, match="in the open"):
        load_edge(path, {})


def test_the_environment_overrides_a_table(tmp_path: Path) -> None:
    path = tmp_path / "edge.toml"
    path.write_text('edge = "e"\n')
    config = load_edge(path, {"CELLHERD_MQTT__URL": "mqtts://b:8883", "CELLHERD_OUTBOX__CAP_MB": "64"})
    assert (config.mqtt.url, config.outbox.cap_mb) == ("mqtts://b:8883", 64)


def test_a_variable_of_another_use_is_left_alone_and_a_misspelt_table_is_told(tmp_path: Path) -> None:
    path = tmp_path / "edge.toml"
    path.write_text('edge = "e"\n')
    assert load_edge(path, {"CELLHERD_STATE": "/x", "CELLHERD_FUZZ": "5"}).edge == "e"
    with pytest.raises(ConfigError, match="did you mean 'mqtt'"):
        load_edge(path, {"CELLHERD_MQQT__URL": "mqtts://b:8883"})


def test_a_registry_that_names_what_does_not_exist_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "fleet.toml"
    path.write_text('[[site]]\nid = "a"\ninstaller = "nobody"\nedge = "e"\ntz = "Europe/Brelin"\n')
    with pytest.raises(ConfigError, match="Europe/Berlin"):
        load_fleet(path, {})
    path.write_text('[[site]]\nid = "a"\ninstaller = "nobody"\nedge = "e"\n')
    with pytest.raises(ConfigError, match="installer 'nobody'"):
        load_fleet(path, {})


def test_a_secret_comes_from_systemd_first_and_then_from_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pw").write_text("from systemd\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert read_secret("pw") == "from systemd"
    with pytest.raises(ConfigError, match="cannot be read"):
        read_secret(str(tmp_path / "gone"))


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.words)
def test_every_command_can_be_called_and_its_help_shows_an_example(command: object) -> None:
    words = command.words.split()  # type: ignore[attr-defined]
    app_for(words)
    run = subprocess.run(
        [sys.executable, "-m", "cellherd", *words, "--help"], capture_output=True, text=True, check=True
    )
    assert "cellherd " + words[0] in run.stdout.split("Options")[0] + run.stdout
    assert "Example" in run.stdout


def test_the_version_is_said_without_a_command() -> None:
    call = [sys.executable, "-m", "cellherd", "--version"]
    assert subprocess.run(call, capture_output=True, text=True, check=True).stdout.startswith("cellherd ")


def test_an_error_is_one_line_and_debug_shows_the_rest(tmp_path: Path) -> None:
    call = [sys.executable, "-m", "cellherd", "config", "check", str(tmp_path / "gone.toml")]
    plain = subprocess.run(call, capture_output=True, text=True, check=False)
    assert (plain.returncode, len(plain.stderr.splitlines())) == (2, 1)
    assert "Traceback" in subprocess.run([*call, "--debug"], capture_output=True, text=True, check=False).stderr


@pytest.mark.parametrize(
    ("words", "gone", "extra"),
    [
        ("nightly --due", "polars", "server"),
        ("validate --list", "numpy", "server"),
        ("dashboards build", "grafanalib", "dashboards"),
        ("drivers", "", ""),
    ],
)
def test_where_an_extra_is_not_installed_its_commands_name_it(words: str, gone: str, extra: str) -> None:
    without = f"import sys; sys.modules.update(dict.fromkeys({gone.split()!r}));"
    call = [sys.executable, "-c", f"{without} from cellherd.cli import main; main()", *words.split()]
    run = subprocess.run(call, capture_output=True, text=True, check=False)
    assert f"needs {gone}" in run.stderr or not gone
    assert run.stderr.strip().endswith(f"install it with: pip install 'cellherd[{extra}]'" if gone else "")
    assert len(run.stderr.splitlines()) == bool(gone)
