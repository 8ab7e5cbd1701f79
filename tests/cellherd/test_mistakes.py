"""What people get wrong first: one line, no traceback, and in it the way out."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import pytest

from cellherd import cli
from cellherd.cli import main

FLEET = """[[installer]]
id = "sunny"

[[site]]
id = "barn"
installer = "sunny"
edge = "barn-pi"
"""
MISTAKES = {
    "config check nowhere.toml": "nowhere.toml",
    "config check wrong.toml": "did you mean",
    "ingest run --config nowhere.toml": "nowhere.toml",
    "nightly --site bran --config fleet.toml": "there are barn",
    "nightly --day yesterday --config fleet.toml": "write it as 2026-06-01",
    "nightly --explain m1 --day 2026-06-01 --config fleet.toml --state state": "cellherd nightly --day 2026-06-01",
    "archive past --config fleet.toml": "simulated = true",
    "events replay --site bran --config fleet.toml": "there are barn",
    "alerts silence 2h --site bran --config fleet.toml": "there are barn",
    "influx setup --config fleet.toml --admin-token-file token": "add it with url",
    "revoke barn-pie --config fleet.toml": "no edge 'barn-pie'",
    "serve --config fleet.toml --listen 0.0.0.0:9838": "give --password-file",
    "broker certificate --state state": "--host broker.example",
    "decode jdb dd0400080d": "jbd",
    "faults show zzzzzz": "the words on the display",
    "simulate --faults 3": "between 0 and 1",
    "simulate --ah large": "write sizes as",
    "init fleet.toml --server": "cellherd config check",
    "flows serve --config fleet.toml": "prefect server start",
}


@pytest.mark.parametrize("typed", MISTAKES)
def test_a_mistake_is_answered_in_words_with_the_way_out(
    typed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "fleet.toml").write_text(FLEET)
    (tmp_path / "wrong.toml").write_text(FLEET.replace("installer =", "instaler ="))
    (tmp_path / "token").write_text("secret")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setattr(sys, "argv", ["cellherd", *typed.split()])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    assert ended.value.code not in (0, None)
    assert "Traceback" not in said.err
    assert MISTAKES[typed] in " ".join((said.err + said.out).split())


@pytest.mark.parametrize(("number", "told"), [(errno.ENOSPC, True), (errno.EROFS, True), (errno.EBADF, False)])
def test_a_disk_that_takes_no_more_is_one_line_and_a_mistake_of_ours_is_not(
    number: int, told: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(_words: list[str]) -> None:
        raise OSError(number, os.strerror(number), "state/ledger")

    monkeypatch.setattr(cli, "app_for", refuse)
    monkeypatch.setattr(sys, "argv", ["cellherd", "ingest", "run"])
    with pytest.raises(SystemExit if told else OSError, match="1" if told else "ledger"):
        main()
    assert ("the disk takes no more" in capsys.readouterr().err) == told
