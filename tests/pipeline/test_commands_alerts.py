"""`cellherd alerts test` tells for each person whether they can be reached."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from pipeline import commands_alerts
from tests.fakes.telegram import TOKEN, bot_api

FLEET = """
[telegram]
base_url = "{url}"
token_file = "{token}"
[[route]]
telegram = ["77"]
mail = ["ops@x.example"]
"""


def test_every_recipient_is_tried_and_the_one_who_cannot_be_reached_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "token").write_text(TOKEN)
    with bot_api() as bot:
        (tmp_path / "fleet.toml").write_text(FLEET.format(url=bot.url, token=tmp_path / "token"))
        with pytest.raises(typer.Exit):
            commands_alerts.test(tmp_path / "fleet.toml")
    assert "This is a test" in bot.sent[0]["text"]
    out = " ".join(capsys.readouterr().out.split())
    assert "telegram 77 sent" in out
    assert "ops@x.example fleet.toml sets up no [mail]" in out
