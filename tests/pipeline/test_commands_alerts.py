"""`cellherd alerts` and `cellherd notify run` as an operator uses them."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event as Signal
from time import monotonic, time_ns

import pytest
import typer

from cellherd.cli import app_for
from cellherd.clock import SystemClock
from cellherd.config import load_fleet
from cellherd.errors import CellherdError
from pipeline import commands_alerts
from pipeline.alerts import ledger
from pipeline.alerts.deliver import channels
from pipeline.alerts.notifier import Notifier
from pipeline.alerts.outbox import Outbox
from pipeline.alerts.sender import Sender
from pipeline.live.events import Event, Phase
from pipeline.live.store import queue_events
from tests.fakes.telegram import TOKEN, Bot, bot_api
from tests.pipeline.herd import TRIP

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


HERE = """
[[installer]]
id = "sunny"
[[site]]
id = "farm"
installer = "sunny"
edge = "farm-pi"
[alerts]
group_s = 0
clear_after_min = 0
[[route]]
priority = 3
telegram = ["77"]
[telegram]
base_url = "{url}"
token_file = "{token}"
"""


@dataclass
class Desk:
    """A server's state folder with a notifier that steps when it is told to, and the commands on it."""

    folder: Path
    bot: Bot
    capsys: pytest.CaptureFixture[str]

    def happen(self, phase: Phase, fault: str = TRIP, module: str = "m1") -> None:
        """An event of the live engine, taken by a notifier that sends what is due."""
        now = time_ns() // 1_000_000
        event = Event(("farm", "farm-pi", "s1", module), "u", "module", phase, fault, now, now, "device", "charge")
        with ledger.opened(self.folder) as database:
            queue_events(database, [event], now)
            self.work(database)

    def work(self, database: sqlite3.Connection) -> None:
        fleet = load_fleet(self.folder / "fleet.toml")
        Notifier(database, fleet, SystemClock(), frozenset({"telegram"})).step()
        Sender("telegram", channels(fleet)["telegram"], Outbox(database), fleet, SystemClock()).send_due()

    def say(self, *words: str) -> str:
        """What a command prints."""
        self.capsys.readouterr()
        needs_fleet = ("--config", str(self.folder / "fleet.toml")) if words[0] != "history" else ()
        args = ["alerts", *words, *needs_fleet, "--state", str(self.folder)]
        app_for(args)(args=args, standalone_mode=False)
        return " ".join(self.capsys.readouterr().out.split())


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setenv("COLUMNS", "300")
    (tmp_path / "token").write_text(TOKEN)
    with bot_api() as bot:
        (tmp_path / "fleet.toml").write_text(HERE.format(url=bot.url, token=tmp_path / "token"))
        yield Desk(tmp_path, bot, capsys)


def name_of(said: str) -> str:
    found = re.search(r"\b[0-9a-f]{8}\b", said)
    assert found, said
    return found[0]


def test_the_list_shows_what_stands_and_says_that_nobody_tells_it(desk: Desk) -> None:
    desk.happen("enter")
    said = desk.say("list")
    assert "firing" in said
    assert "stack s1, module m1" in said
    assert "notify run is not at work" in said
    assert "no alerts are open" in desk.say("list", "--site", "elsewhere")


def test_one_alert_is_shown_with_its_troubles_what_to_do_and_every_message(desk: Desk) -> None:
    desk.happen("enter")
    said = desk.say("show", name_of(desk.say("list")))
    assert "[stands]" in said
    assert "do: " in said
    assert "raised telegram 77 sent" in said


def test_an_acknowledged_alert_says_by_whom_and_a_snoozed_one_until_when(desk: Desk) -> None:
    desk.happen("enter")
    name = name_of(desk.say("list"))
    assert "acknowledged" in desk.say("ack", name, "--by", "Anna")
    assert "acked" in desk.say("list")
    assert "Anna" in desk.bot.sent[-1]["text"]
    assert "snoozed until" in desk.say("ack", name, "--snooze", "4h")
    assert "snoozed" in desk.say("list")


def test_what_cannot_be_acknowledged_is_said_with_the_reason(desk: Desk) -> None:
    desk.happen("enter")
    name = name_of(desk.say("list"))
    with pytest.raises(CellherdError, match="no alert 'ffff'"):
        desk.say("ack", "ffff")
    with pytest.raises(CellherdError, match="no span of time"):
        desk.say("ack", name, "--snooze", "tomorrow")
    desk.happen("leave")
    with pytest.raises(CellherdError, match="is over since"):
        desk.say("ack", name)


def test_a_silence_keeps_back_what_comes_and_its_end_brings_what_still_stands(desk: Desk) -> None:
    desk.happen("enter", module="m9")
    desk.say("silence", "4h", "--site", "farm", "--module", "m1", "--why", "balanced by hand")
    desk.happen("enter", "cell_undervoltage_protection")
    assert len(desk.bot.sent) == 1
    assert "kept back: silence farm/m1: balanced by hand" in desk.say("list")
    assert "no longer silent" in desk.say("silence", "0", "--site", "farm", "--module", "m1")
    with ledger.opened(desk.folder) as database:
        desk.work(database)
    assert len(desk.bot.sent) == 2


def test_a_silence_for_nothing_that_exists_is_refused(desk: Desk) -> None:
    with pytest.raises(CellherdError, match="no site 'moon'"):
        desk.say("silence", "4h", "--site", "moon")
    with pytest.raises(CellherdError, match="no fault 'hunger'"):
        desk.say("silence", "4h", "--site", "farm", "--fault", "hunger")


def test_the_history_tells_who_was_sent_what_and_what_became_of_it(desk: Desk) -> None:
    desk.bot.answers = [(403, {"ok": False, "description": "Forbidden: bot was blocked by the user"})]
    desk.happen("enter")
    desk.happen("enter", "cell_undervoltage_protection")
    said = desk.say("history")
    assert "raised telegram 77 failed" in said
    assert "bot was blocked" in said
    assert "raised telegram 77 sent" in said


def test_an_address_that_took_nothing_is_named_until_it_takes_something(desk: Desk) -> None:
    desk.bot.answers = [(403, {"ok": False, "description": "Forbidden: bot was blocked by the user"})]
    desk.happen("enter")
    said = desk.say("list")
    assert "nothing reaches telegram 77 since" in said
    assert "bot was blocked by the user" in said
    desk.happen("enter", "cell_undervoltage_protection")
    assert "nothing reaches" not in desk.say("list")


@pytest.mark.parametrize("words", ["alerts list", "alerts show", "alerts ack", "alerts silence", "alerts history",
                                   "alerts test", "notify run"])  # fmt: skip
def test_every_command_has_an_example(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    args = [*words.split(), "--help"]
    app_for(args)(args=args, standalone_mode=False)
    said = capsys.readouterr().out
    assert "Example" in said
    assert f"cellherd {words}" in said


def test_the_notifier_runs_beside_nobody_and_ends_when_it_is_asked_to(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    with bot_api() as bot, notifier(tmp_path, HERE.format(url=bot.url, token=tmp_path / "token")) as first:
        second = subprocess.run(first.args, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert second.returncode == 1
    assert "another notifier works" in second.stderr


@contextmanager
def notifier(folder: Path, registry: str) -> Iterator[subprocess.Popen[bytes]]:
    """`cellherd notify run` as a process of its own, from its first heartbeat until it ended when it was asked to."""
    (folder / "fleet.toml").write_text(registry)
    command = [sys.executable, "-m", "cellherd", "notify", "run", "--config", "fleet.toml", "--state", "state"]
    with subprocess.Popen(command, cwd=folder) as process:
        try:
            assert until((folder / "state" / "notify.heartbeat").exists)
            yield process
        finally:
            process.terminate()
            assert process.wait(60) == 0


def test_the_buttons_under_a_message_reach_the_notifier_and_change_it(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    with ExitStack() as last:
        bot = last.enter_context(bot_api())
        last.enter_context(notifier(tmp_path, HERE.format(url=bot.url, token=tmp_path / "token")))
        database = last.enter_context(ledger.opened(tmp_path / "state"))

        def said(*words: str) -> bool:
            return any(all(word in str(sent) for word in words) for sent in bot.sent.copy())

        happen(database, "enter")
        assert until(lambda: said("sendMessage", "ack:"))
        press(bot, 1, "ack")
        assert until(lambda: said("answerCallbackQuery", "press 1") and said("editMessageText", "Anna"))
        press(bot, 2, "s4h")
        assert until(lambda: said("answerCallbackQuery", "press 2") and snoozed(database))
        happen(database, "leave")
        assert until(lambda: said("editMessageText", "Resolved"))


def happen(database: sqlite3.Connection, phase: Phase) -> None:
    """An event of the live engine, for whichever notifier is at work."""
    now = time_ns() // 1_000_000
    event = Event(("farm", "farm-pi", "s1", "m1"), "u", "module", phase, TRIP, now, now, "device", "charge")
    with ledger.transaction(database):
        queue_events(database, [event], now)


def press(bot: Bot, number: int, sign: str) -> None:
    """Anna presses a button of the first message."""
    rows = json.loads(bot.sent[0]["reply_markup"])["inline_keyboard"]
    (data,) = [one["callback_data"] for row in rows for one in row if one["callback_data"].startswith(f"{sign}:")]
    message = {"message_id": 1, "chat": {"id": 77, "type": "private"}}
    query = {"id": f"press {number}", "from": {"first_name": "Anna"}, "message": message, "data": data}
    bot.updates.append({"update_id": number, "callback_query": query})


def snoozed(database: sqlite3.Connection) -> bool:
    return [alert.state for alert in ledger.alerts(database).values()] == ["snoozed"]


def test_a_notifier_that_only_calls_programs_loads_no_tables(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("of the desk")
    registry = f'[[webhook]]\nid = "desk"\nurl = "http://127.0.0.1:9"\nsecret_file = "{tmp_path}/secret"\n'
    registry += '[[route]]\nwebhook = ["desk"]\n'
    with notifier(tmp_path, registry) as process:
        maps = Path(f"/proc/{process.pid}/maps").read_text()
    assert "polars" not in maps
    assert "vl_convert" not in maps


def until(ready: Callable[[], bool]) -> bool:
    end = monotonic() + 120
    while not ready() and monotonic() < end:
        Signal().wait(0.05)
    return ready()
