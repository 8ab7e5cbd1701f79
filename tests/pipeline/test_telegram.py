"""Telegram, against a Bot API that checks what the real one checks and misbehaves in every way that it can."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from cellherd.config import FleetConfig
from pipeline.alerts import addresses, ledger
from pipeline.alerts.bot_api import BotApi
from pipeline.alerts.channel import Message, NotSent, Recipient
from pipeline.alerts.listening import OFFSET, Listener
from pipeline.alerts.outbox import Outbox
from pipeline.alerts.people import Person
from pipeline.alerts.sender import Sender
from pipeline.alerts.state import Alert
from pipeline.alerts.telegram import TelegramChannel
from tests.fakes.fleet_by_hand import SITE, fleet
from tests.fakes.telegram import HANG, TOKEN, Bot, bot_api
from tests.pipeline.herd import HOUR, START, Herd

SAID = Message("a.1", "Subject", "text", "<p>text</p>", "<b>Cell &amp; co</b>", thread="0123456789abcdef",
               handle="0123456789abcdef", choices=("ack", "snooze", "module"))  # fmt: skip
PNG = b"\x89PNG\r\n\x1a\n"
BARN = {"id": "barn", "installer": "other", "edge": "barn-pi", "name": "Barn"}


class HandClock:
    def __init__(self, now: int = START) -> None:
        self.now = now

    def wall(self) -> int:
        return self.now

    def boot(self) -> int:
        return self.now


@pytest.fixture
def bot() -> Iterator[Bot]:
    with bot_api() as bot:
        yield bot


def config(tmp_path: Path, bot: Bot, **more: Any) -> FleetConfig:
    token = tmp_path / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    known = {
        "telegram": {"base_url": bot.url, "token_file": str(token)},
        "installer": [{"id": "sunny"}, {"id": "other"}],
        "site": [SITE, BARN],
        "person": [{"id": "anna", "telegram": "77", "mail": "anna@x.example", "tz": "Europe/Berlin"}],
        "route": [{"installer": "sunny", "people": ["anna"]}, {"site": "barn", "telegram": ["-5"], "language": "de"}],
    }
    return fleet(**{**known, **more})


def channel(tmp_path: Path, bot: Bot, timeout_s: float = 20.0) -> TelegramChannel:
    settings = config(tmp_path, bot).telegram
    assert settings
    return TelegramChannel(settings, timeout_s)


def refused(status: int, said: str, **parameters: Any) -> tuple[int, dict[str, Any]]:
    return status, {"ok": False, "error_code": status, "description": said, "parameters": parameters}


def test_a_picture_its_words_and_the_buttons_are_one_message_that_is_edited(tmp_path: Path, bot: Bot) -> None:
    way = channel(tmp_path, bot)
    reference = way.send("77", replace(SAID, picture=PNG))
    assert way.edit("77", reference, replace(SAID, brief="<b>over</b>", choices=())) == reference
    sent, edited = bot.sent
    assert (sent["method"], sent["caption"], sent["photo"]) == ("sendPhoto", SAID.brief, PNG)
    rows = json.loads(sent["reply_markup"])["inline_keyboard"]
    assert [[one["callback_data"].partition(":")[0] for one in row] for row in rows] == [
        ["ack"],
        ["s4h", "s24h", "s7d"],
        ["mod"],
    ]
    assert (edited["method"], edited["caption"], edited["message_id"]) == ("editMessageCaption", "<b>over</b>", "1")
    assert json.loads(edited["reply_markup"]) == {"inline_keyboard": []}


def test_buttons_speak_the_language_of_whoever_is_told(tmp_path: Path, bot: Bot) -> None:
    channel(tmp_path, bot).send("77", replace(SAID, language="de", repeat=True))
    assert "Übernehmen" in json.loads(bot.sent[0]["reply_markup"])["inline_keyboard"][0][0]["text"]
    assert bot.sent[0]["text"].startswith("<i>vielleicht schon gemeldet</i>")


def test_an_edit_that_changes_nothing_is_no_failure(tmp_path: Path, bot: Bot) -> None:
    bot.answers = [refused(400, "Bad Request: message is not modified: specified new message content is the same")]
    assert channel(tmp_path, bot).edit("77", "t3@77", SAID) == "t3@77"


def test_a_message_of_the_old_group_is_never_looked_for_in_the_new_one(tmp_path: Path, bot: Bot) -> None:
    with pytest.raises(NotSent) as caught:
        channel(tmp_path, bot).edit("-1009", "t3@-9", SAID)
    assert (caught.value.final, bot.sent) == (True, [])


def test_what_telegram_cannot_read_is_sent_in_a_plainer_form(tmp_path: Path, bot: Bot) -> None:
    bot.answers = [refused(400, "Bad Request: IMAGE_PROCESS_FAILED"), refused(400, "Bad Request: can't parse entities")]
    assert channel(tmp_path, bot).send("77", replace(SAID, picture=PNG)) == "t1@77"
    assert [(one["method"], one.get("parse_mode")) for one in bot.sent] == [("sendMessage", None)]
    assert "text" in bot.sent[0]["text"]


Case = tuple[Any, dict[str, Any]]
TROUBLES: dict[str, Case] = {
    "429": (refused(429, "Too Many Requests", retry_after=7), {"retry_s": 7.0, "final": False}),
    "429 without a pause": ((429, {}), {"retry_s": None, "final": False}),
    "429 with rubbish": (refused(429, "no", retry_after="soon"), {"retry_s": None, "final": False}),
    "429 for ever": (refused(429, "no", retry_after=1e12), {"retry_s": 86_400.0, "final": False}),
    "403": (refused(403, "Forbidden: bot was blocked by the user"), {"final": True, "gone": True}),
    "400 chat": (refused(400, "Bad Request: chat not found"), {"final": True, "gone": False}),
    "migrate": (refused(400, "upgraded", migrate_to_chat_id=-1009), {"moved": "-1009"}),
    "401": (refused(401, "Unauthorized"), {"final": False}),
    "409": (refused(409, "Conflict"), {"final": False}),
    "500": (refused(500, "Internal Server Error"), {"final": False, "unsure": False}),
    "502 page": ((502, b"<html>Bad Gateway"), {"final": False}),
    "parameters are a list": ((429, {"parameters": [1]}), {"retry_s": None, "final": False}),
    "a list": ((500, b"[1, 2]"), {"final": False}),
    "deep": ((500, b"[" * 100_000), {"final": False}),
    "hang": (HANG, {"final": False, "unsure": True}),
}


@pytest.mark.parametrize("name", TROUBLES)
def test_every_refusal_is_understood(tmp_path: Path, bot: Bot, name: str) -> None:
    answer, expected = TROUBLES[name]
    bot.answers = [answer]
    with pytest.raises(NotSent) as caught:
        channel(tmp_path, bot, 0.5 if answer == HANG else 20.0).send("77", SAID)
    assert {key: getattr(caught.value, key) for key in expected} == expected
    assert TOKEN not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "body", [b"", b"OK", b"[]", b"null", b'{"result": 3}', b'{"result": {"message_id": null}}', b"\xff"]
)
def test_an_answer_of_200_that_nobody_can_read_was_sent_all_the_same(tmp_path: Path, bot: Bot, body: bytes) -> None:
    bot.answers = [(200, body)]
    assert channel(tmp_path, bot).send("77", SAID) == ""


# ---- the outbox behind it ----


@pytest.fixture
def database(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with ledger.opened(tmp_path) as database:
        yield database


def put(database: sqlite3.Connection, person: Person, key: str = "a.1", clock: HandClock | None = None) -> None:
    now = (clock or HandClock()).wall()
    Outbox(database).put(replace(SAID, key=key, thread=key), person, now=now, not_before=now, priority=1)


def states(database: sqlite3.Connection) -> list[tuple[str, str, str]]:
    return database.execute("SELECT key, channel, state FROM delivery ORDER BY number").fetchall()


ANNA = Person("anna", (Recipient("telegram", "77"), Recipient("mail", "anna@x.example")))


def test_a_blocked_chat_is_marked_and_the_second_channel_takes_over_without_asking_again(
    tmp_path: Path, bot: Bot, database: sqlite3.Connection
) -> None:
    clock = HandClock()
    sender = Sender("telegram", channel(tmp_path, bot), Outbox(database), config(tmp_path, bot), clock)
    bot.answers = [refused(403, "Forbidden: bot was blocked by the user")]
    put(database, ANNA)
    sender.send_due()
    assert states(database) == [("a.1", "telegram", "failed"), ("a.1", "mail", "due")]
    (marked,) = addresses.all_closed(database)
    assert (marked.way, "blocked by the user" in marked.said) == (Recipient("telegram", "77"), True)
    put(database, ANNA, "b.1")
    sender.send_due()
    assert (bot.sent, states(database)[2:]) == ([], [("b.1", "telegram", "failed"), ("b.1", "mail", "due")])
    clock.now += addresses.TRIED_AGAIN_MS
    put(database, ANNA, "c.1", clock)
    sender.send_due()
    assert (len(bot.sent), addresses.all_closed(database)) == (1, [])


def test_a_chat_that_is_the_only_way_is_tried_even_if_it_was_closed(
    tmp_path: Path, bot: Bot, database: sqlite3.Connection
) -> None:
    addresses.close(database, Recipient("telegram", "77"), START, "blocked")
    sender = Sender("telegram", channel(tmp_path, bot), Outbox(database), config(tmp_path, bot), HandClock())
    put(database, Person("x", (Recipient("telegram", "77"),)))
    assert sender.send_due() == 1


def test_a_group_that_became_a_supergroup_is_followed_at_once_and_remembered(
    tmp_path: Path, bot: Bot, database: sqlite3.Connection
) -> None:
    sender = Sender("telegram", channel(tmp_path, bot), Outbox(database), config(tmp_path, bot), HandClock())
    bot.answers = [refused(400, "group chat was upgraded to a supergroup chat", migrate_to_chat_id=-1005)]
    group = Person("group", (Recipient("telegram", "-5"),))
    put(database, group)
    put(database, group, "b.1")
    assert sender.send_due() == 2
    assert [one["chat_id"] for one in bot.sent] == ["-1005", "-1005"]
    assert addresses.was_at(database, "-1005") == "-5"


# ---- commands and buttons ----


def alerts_of(*where: str) -> dict[str, Alert]:
    herd = Herd()
    for one in where:
        herd.enter(where=one, cell=6, value=3702.0, threshold=3650.0, value_unit="mV")
    herd.wait(HOUR)
    return herd.alerts


Hear = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def hear(tmp_path: Path, bot: Bot, database: sqlite3.Connection) -> Hear:
    """Says something to the bot and returns what it says back."""
    ledger.put_alerts(database, list(alerts_of("farm/s1/m1", "barn/s1/m1").values()))
    settings = config(tmp_path, bot)
    assert settings.telegram
    look = {("farm", "s1", "m1"): {"ts": START, "soc_pm": 955, "spread_mv": 118, "current_ma": None}}
    listener = Listener(BotApi(settings.telegram), settings, database, HandClock(), look.get, lambda _plot: PNG)

    def say(chat: str, text: str = "", kind: str = "private", **update: Any) -> list[dict[str, Any]]:
        number = 1 + max((one["update_id"] for one in bot.updates), default=100)
        message = {"message": {"chat": {"id": int(chat), "type": kind}, "text": text}}
        bot.updates, before = [{"update_id": number, **(update or message)}], len(bot.sent)
        assert listener.listen() == 1
        return bot.sent[before:]

    return say


def press(chat: str, data: str, by: str = "Anna") -> dict[str, Any]:
    return {
        "callback_query": {"id": "9", "data": data, "from": {"first_name": by}, "message": {"chat": {"id": int(chat)}}}
    }


def actions(database: sqlite3.Connection) -> list[dict[str, Any]]:
    return [json.loads(body) for _, kind, body in ledger.inputs(database)[1] if kind == "action"]


def test_a_chat_sees_what_its_routes_name_and_nothing_else(hear: Hear) -> None:
    (anna,), (group,) = hear("77", "/open"), hear("-5", "/open@herd_bot", "group")
    assert "Farm Müller" in anna["text"]
    assert "Barn" not in anna["text"]
    assert "Barn" in group["text"]
    assert "Farm" not in group["text"]
    assert "1 offen" in group["text"]


@pytest.mark.parametrize("text", ["/open", "/status", "/module m1", "/mute 4h", "hello", "/help"])
def test_a_stranger_is_not_answered(hear: Hear, text: str) -> None:
    assert hear("666", text) == []


def test_a_stranger_who_asks_learns_the_id_of_the_chat_and_nothing_else(hear: Hear) -> None:
    (said,) = hear("666", "/whoami")
    assert said["text"] == "This chat stands in no route of fleet.toml, so nothing is shown here. Its id is 666."


def test_status_names_the_sites_and_what_is_open_there(hear: Hear) -> None:
    assert "Farm Müller: 1 open" in hear("77", "/status")[0]["text"]
    assert "Cell above its upper voltage limit" in hear("77", "/status farm")[0]["text"]
    assert "no site barn" in hear("77", "/status barn")[0]["text"]
    assert "no site &lt;b&gt;" in hear("77", "/status <b>")[0]["text"]


def test_a_module_is_shown_with_its_last_reading_its_troubles_and_its_picture(hear: Hear) -> None:
    (card,) = hear("77", "/module m1")
    assert (card["method"], card["photo"]) == ("sendPhoto", PNG)
    assert "95.5 %" in card["caption"]
    assert "118 mV" in card["caption"]
    assert "Cell above" in card["caption"]
    assert "No reading" in hear("77", "/module s1/m2")[0]["caption"]
    assert "no module nothing" in hear("77", "/module nothing")[0]["text"]
    assert "no module" in hear("77", "/module barn/s1/m1")[0]["text"]


def test_mute_keeps_all_but_the_most_urgent_back_until_it_ends(hear: Hear, database: sqlite3.Connection) -> None:
    assert "Quiet until" in hear("77", "/mute 4h")[0]["text"]
    assert addresses.muted_until(database, Recipient("telegram", "77")) == START + 4 * HOUR
    assert "No longer" in hear("77", "/mute 0")[0]["text"]
    assert addresses.muted_until(database, Recipient("telegram", "77")) == 0
    assert "/mute 4h" in hear("77", "/mute for ever")[0]["text"]


def test_a_button_is_a_decision_with_the_name_of_who_pressed_it(hear: Hear, database: sqlite3.Connection) -> None:
    (name,) = alerts_of("farm/s1/m1")
    (noted,) = hear("77", **press("77", f"ack:{name}"))
    assert (noted["method"], noted["text"]) == ("answerCallbackQuery", "Noted: acknowledged by Anna.")
    hear("77", **press("77", f"s4h:{name}", "\u202eB\nen" + "x" * 400))
    ack, snooze = actions(database)
    assert (ack["choice"], ack["alert"], ack["by"]) == ("ack", name, "Anna")
    assert (snooze["choice"], snooze["until"], len(snooze["by"])) == ("snooze", START + 4 * HOUR, 40)
    assert "\n" not in snooze["by"]


@pytest.mark.parametrize("data", ["ack:{barn}", "ack:", "ack:nothing", "", "boom:{farm}", ":::", "s9d:{farm}"])
def test_a_button_for_what_is_no_business_of_the_chat_does_nothing(
    hear: Hear, database: sqlite3.Connection, data: str
) -> None:
    (farm,), (barn,) = alerts_of("farm/s1/m1"), alerts_of("barn/s1/m1")
    hear("77", **press("77", data.format(farm=farm, barn=barn)))
    hear("666", **press("666", f"ack:{farm}"))
    assert actions(database) == []


@pytest.mark.parametrize(
    "update",
    [{"message": {}}, {"message": {"chat": {"id": 77}, "text": None}}, {"callback_query": {"id": "1"}}, {"poll": 3},
     {"message": {"chat": {"id": 77, "type": "private"}, "text": " "}}, {"my_chat_member": {"chat": {"id": 77}}}],
)  # fmt: skip
def test_an_update_that_nobody_can_read_stops_nothing(
    hear: Hear, database: sqlite3.Connection, bot: Bot, update: dict[str, Any]
) -> None:
    hear("77", **update)
    (said,) = hear("77", "/open")
    assert "Farm" in said["text"]
    assert ledger.note(database, OFFSET) == str(bot.updates[0]["update_id"] + 1)


def test_blocking_the_bot_marks_the_chat_and_writing_opens_it(hear: Hear, database: sqlite3.Connection) -> None:
    hear("77", my_chat_member={"chat": {"id": 77}, "new_chat_member": {"status": "kicked"}})
    hear("666", my_chat_member={"chat": {"id": 666}, "new_chat_member": {"status": "kicked"}})
    assert [one.way.address for one in addresses.all_closed(database)] == ["77"]
    hear("77", "/open")
    assert addresses.all_closed(database) == []


def test_a_group_that_moved_is_still_known(hear: Hear) -> None:
    hear("-5", message={"chat": {"id": -5, "type": "group"}, "migrate_to_chat_id": -1005})
    (said,) = hear("-1005", "/open", "supergroup")
    assert "Barn" in said["text"]


def test_the_listener_outlives_a_bot_api_that_is_away_and_stops_when_asked(tmp_path: Path, bot: Bot) -> None:
    settings, stop = (
        config(tmp_path, bot, telegram={"base_url": "http://127.0.0.1:1", "token_file": str(tmp_path / "token")}),
        Event(),
    )
    assert settings.telegram
    with ledger.opened(tmp_path) as database:
        listener = Listener(BotApi(settings.telegram), settings, database, HandClock())
        thread = Thread(target=listener.run, args=(stop,))
        thread.start()
        stop.set()
        thread.join(timeout=60)
    assert not thread.is_alive()


def test_a_burst_of_messages_takes_one_connection(tmp_path: Path) -> None:
    with bot_api(keeps=True) as bot:
        settings = config(tmp_path, bot).telegram
        assert settings
        api = BotApi(settings)
        with closing(api):
            for _ in range(5):
                api.call("sendMessage", {"chat_id": "77", "text": "one of five"})
        assert (len(bot.sent), len(bot.connections)) == (5, 1)
