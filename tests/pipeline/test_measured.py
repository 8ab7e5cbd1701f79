"""Measured data of others: right numbers, right times, once however often."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from cellherd.errors import CellherdError
from pipeline.measured.bring import bring, opened, readings, stream_of
from pipeline.measured.mapping import mapping, presets
from pipeline.schema import READING
from pipeline.stores.archive import Archive

PLACE = {"edge": "lab", "site": "lab", "stack": "s1", "module": "m1", "kind": "module"}
BATTGP = (
    "timestamp,U_Battery,I_Battery,SOC_Battery,"
    + ",".join(f"U_Cell_{i}" for i in range(1, 9))
    + ",Temperature_1,Temperature_2,Temperature_3,Temperature_4\n"
    "2021-03-01 10:00:00,26.411,-12.5,61.5,3.301,3.302,3.303,3.304,3.305,3.306,3.307,3.283,21.5,22.0,-3.5,20.1\n"
    ",26.4,0,61,3.3,3.3,3.3,3.3,3.3,3.3,3.3,3.3,21,21,21,21\n"
    "2021-03-01 10:00:10,26.4,0,61,3.3,3.3,3.3,3.3,3.3,3.3,3.3,,21,21,21,21\n"
)


def test_field_data_of_systems_come_in_our_units(tmp_path: Path) -> None:
    path = tmp_path / "data_sys_7.csv"
    path.write_text(BATTGP)
    frame = readings(opened(path), mapping("battgp"), PLACE, stream_of(path))
    first, last = frame.row(0, named=True), frame.row(1, named=True)
    assert frame.schema == pl.Schema(READING)
    assert (first["ts"], last["ts"]) == (1614592800000, 1614592810000)
    assert (first["voltage_mv"], first["current_ma"], first["soc_pm"]) == (26411, -12500, 615)
    assert [first[f"c{i:02}"] for i in range(9)] == [3301, 3302, 3303, 3304, 3305, 3306, 3307, 3283, None]
    assert [first[f"t{i:02}"] for i in range(5)] == [215, 220, -35, 201, None]
    assert last["c07"] is None
    assert frame["seq"].to_list() == [1, 2]
    assert (first["unit"], first["clk"], str(first["date"])) == ("lab.s1.m1.1", "est", "2021-03-01")


def test_several_batteries_of_a_file_are_several_modules(tmp_path: Path) -> None:
    pl.DataFrame(
        {
            "battery": ["B0029", "B0031"],
            "start_time": ["2009-04-07T16:31:01.890", "2009-04-07T18:00:00.000"],
            "time_s": [10.5, 0.0],
            "voltage_v": [4.1226, 3.9],
            "current_a": [-4.024, 1.5],
            "temperature_c": [43.4, 44.0],
        }
    ).write_parquet(tmp_path / "nasa.parquet")
    frame = readings(opened(tmp_path / "nasa.parquet"), mapping("nasa"), PLACE, "a" * 32)
    assert frame["module"].to_list() == ["b0029", "b0031"]
    assert frame["unit"].to_list() == ["lab.s1.b0029.1", "lab.s1.b0031.1"]
    assert frame["ts"][0] == 1239121872390
    assert frame.select("voltage_mv", "c00", "current_ma", "t00").row(0) == (4123, 4123, -4024, 434)


def test_the_same_file_twice_is_there_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.measured.bring.AT_ONCE", 3)
    frame = pl.DataFrame({"ts": range(0, 80_000, 10_000), "current_ma": range(8)})
    path = tmp_path / "ours.parquet"
    frame.write_parquet(path)
    brought = readings(opened(path), mapping("cellherd"), PLACE, stream_of(path))
    archive = Archive(str(tmp_path / "archive"))
    assert bring(archive, brought.head(6), "b" * 32) == 6
    assert bring(archive, brought, "b" * 32) == 2
    assert bring(archive, brought, "b" * 32) == 0
    kept = archive.scan("reading").sort("ts").collect()
    assert kept["current_ma"].to_list() == list(range(8))


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(CellherdError, match="DateTime, Temperature, Voltage"):
        readings(opened(path), mapping("arbin"), PLACE, "c" * 32)
    with pytest.raises(CellherdError, match="give a file, or one of arbin, battgp, cellherd, nasa"):
        mapping("nosuch")
    with pytest.raises(CellherdError, match="neither"):
        opened(tmp_path / "x.mat")
    wrong = tmp_path / "own.toml"
    wrong.write_text('title = "own"\nchemistry = "lfp"\n[time]\ncolumm = "t"\n[columns]\nvolts = { column = "a" }\n')
    with pytest.raises(CellherdError, match=r"did you mean 'column'"):
        mapping(str(wrong))
    wrong.write_text('title = "own"\nchemistry = "lfp"\n[time]\ncolumn = "a"\n[columns]\nvolts = { column = "a" }\n')
    with pytest.raises(CellherdError, match="'volts', which is no quantity"):
        readings(opened(path), mapping(str(wrong)), PLACE, "c" * 32)


def test_every_shipped_mapping_is_sound() -> None:
    assert presets() == ["arbin", "battgp", "cellherd", "nasa"]
    assert all(mapping(name).columns for name in presets())
