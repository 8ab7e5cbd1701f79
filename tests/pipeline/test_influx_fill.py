"""`cellherd influx fill`: the archive written once more, to each installer's buckets or to files."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer import Typer
from typer.testing import CliRunner, Result

from pipeline.commands_influx import fill
from pipeline.decoding.decode import decode
from pipeline.stores.archive import Archive, ArchiveSink
from tests.fakes.influxdb2 import Fake, influxdb2
from tests.pipeline.messages import entries
from tests.pipeline.test_influx_setup import prepare


@pytest.fixture
def fake() -> Iterator[Fake]:
    with influxdb2() as server:
        yield server


def filled(folder: Path, *more: str) -> Result:
    """Ten readings of one site of sun in the archive, and the command over their day."""
    decoded = decode(list(entries(2, 5)))
    ArchiveSink(Archive(str(folder / "archive")), "s").write(1, decoded)
    day = datetime.fromtimestamp(decoded.frames["reading"]["ts"][0] / 1000, UTC).date().isoformat()
    app = Typer()
    app.command()(fill)
    words = ["--config", str(folder / "fleet.toml"), "--state", str(folder), "--since", day, "--until", day]
    return CliRunner().invoke(app, [*words, *more])


def test_each_installers_points_go_into_its_own_bucket(fake: Fake, tmp_path: Path) -> None:
    prepare(fake, tmp_path, each="{installer}")
    result = filled(tmp_path)
    assert result.exit_code == 0, result.exception
    assert {name: b"".join(bodies).count(b"module,installer=sun") for name, bodies in fake.written.items()} == {
        "cellherdsun": 10
    }
    assert "10 points" in result.output


def test_files_hold_the_points_of_all(fake: Fake, tmp_path: Path) -> None:
    prepare(fake, tmp_path)
    result = filled(tmp_path, "--out", str(tmp_path / "points"))
    assert result.exit_code == 0, result.exception
    assert (tmp_path / "points" / "live.lp").read_bytes().count(b"module,installer=sun") == 10
    assert not (tmp_path / "points" / "nightly.lp").read_bytes()
    assert "10 points" in result.output
    assert not fake.written


def test_without_an_influxdb_or_a_folder_there_is_nowhere_to_write(tmp_path: Path) -> None:
    (tmp_path / "fleet.toml").write_text("")
    result = filled(tmp_path)
    assert "--out FOLDER" in str(result.exception)
