"""`cellherd decode` and `cellherd drivers` as a person meets them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from cellherd.errors import ConfigError
from collectors.commands import decode, drivers
from collectors.drivers import WHERE, UnknownDriver

CELLS = "dd0400080d660d610d680d59fe3c77"
LIMITS = ("~20024692E00202FD2E", "~20024600B01402D002AFC80172FE8EC0F91C")

app = typer.Typer()
app.command()(decode)
app.command()(drivers)


def run(*words: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, list(words), input=stdin)


def lines(result: Result) -> list[dict[str, object]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_a_frame_becomes_one_line_of_json_with_only_what_it_carries() -> None:
    result = run("decode", "jbd", CELLS)
    assert (lines(result), result.exit_code) == ([{"cell_mv": [3430, 3425, 3432, 3417]}], 0)


def test_the_request_tells_which_registers_an_answer_carries() -> None:
    result = run("decode", "jk_modbus", "--request", "01 03 12 bc 00 02 00 97", "0x0103040005a823d42b")
    assert lines(result) == [{"module": 1, "extra": {"run_time_s": 370723}}]


def test_a_bad_frame_is_told_and_its_neighbours_are_decoded() -> None:
    result = run("decode", "jbd", CELLS, CELLS.replace("0d66", "0d67"), "no hex", "-", stdin=f"{CELLS}\n\n{CELLS}\n")
    said = lines(result)
    assert [set(each) for each in said] == [
        {"cell_mv"},
        {"error", "reason"},
        {"error", "reason"},
        {"cell_mv"},
        {"cell_mv"},
    ]
    assert said[1]["error"] == "bad_frame"
    assert result.exit_code == 1


def test_an_ascii_protocol_takes_its_own_text_and_the_hex_of_it() -> None:
    request, answer = LIMITS
    in_hex = (answer + "\r").encode().hex()
    result = run("decode", "pylontech_rs485", "--request", request, answer, answer + "\\r", in_hex)
    first, second, third = lines(result)
    assert first == second == third
    assert first["extra"]["discharge_limit_ma"] == 37_000  # type: ignore[index]


def test_a_file_gives_one_frame_a_line(tmp_path: Path) -> None:
    file = tmp_path / "answers.txt"
    file.write_bytes(f"{LIMITS[1]}\r\n\r\n{LIMITS[1]}\r\n".encode())
    assert len(lines(run("decode", "pylontech_rs485", "--text", str(file)))) == 2


def test_can_frames_are_written_as_candump_writes_them() -> None:
    result = run("decode", "pylontech_can", "356#7A13F2FE6B01", "(1700000000.25) can0 355#58005E00", "356 7A13")
    assert [each.get("voltage_mv") or each.get("soc_pm") or each["error"] for each in lines(result)] == [
        49_860,
        880,
        "bad_frame",
    ]
    assert lines(result)[0]["kind"] == "bank"


def test_an_unknown_driver_ends_with_code_2_and_the_nearest_name() -> None:
    result = run("decode", "jdb", CELLS)
    assert isinstance(result.exception, UnknownDriver)
    assert result.exception.exit_code == 2
    assert "'jbd'" in str(result.exception)


@pytest.mark.parametrize("words", [("decode", "jbd"), ("decode", "jbd", "--request", "x", CELLS)])
def test_a_wrong_call_ends_with_code_2(words: tuple[str, ...]) -> None:
    assert run(*words).exit_code == 2


def test_a_file_that_is_not_there_is_named() -> None:
    assert isinstance(run("decode", "jbd", "--text", "/no/such/file").exception, ConfigError)


def test_every_driver_is_listed_with_its_links() -> None:
    told = run("drivers").stdout
    assert [line.split()[0] for line in told.splitlines()] == sorted(WHERE)
