"""From a finding to a person: told once, told again only when it is worse or gone, and never forgotten."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from email import message_from_bytes, policy
from html import unescape
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from aiosmtpd.controller import Controller

from cellherd.config import FleetConfig
from pipeline.alerts import Delivered, deliver
from pipeline.alerts.channel import NotSent, Recipient
from pipeline.alerts.messages import BRIEF, News, message, size
from pipeline.alerts.people import told_of
from pipeline.alerts.picture import painter
from pipeline.alerts.telegram import TelegramChannel
from pipeline.schema import FINDING
from pipeline.words import tell
from tests.fakes.fleet_by_hand import DAY, Frames, finding, fleet, readings
from tests.fakes.telegram import TOKEN, Bot, bot_api, fault_of
from tests.services import free_port

HOSTILE = '<script>alert(1)</script>\n"Farm" & \u202e\u2028 $site {x} ../' + "x" * 300


@pytest.fixture
def bot() -> Iterator[Bot]:
    with bot_api() as bot:
        yield bot


@pytest.fixture
def mailbox() -> Iterator[tuple[int, list[Any]]]:
    class Box:
        async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
            found.append(message_from_bytes(envelope.content, policy=policy.default))
            return "250 OK"

    found: list[Any] = []
    server = Controller(Box(), hostname="127.0.0.1", port=free_port())
    server.start()
    yield server.port, found
    server.stop()


def registry(tmp_path: Path, bot: Bot | None = None, port: int | None = None, **more: Any) -> FleetConfig:
    token = tmp_path / "token"
    token.write_text(TOKEN + "\n")
    ways: dict[str, Any] = {
        "route": [{"priority": 2, "telegram": ["77"] if bot else [], "mail": ["ops@x.example"] if port else []}]
    }
    if bot:
        ways["telegram"] = {"base_url": bot.url, "token_file": str(token)}
    if port:
        ways["mail"] = {"host": "127.0.0.1", "port": port, "security": "none", "sender": "CellHerd <herd@x.example>"}
    return fleet(**{**ways, **more})


def night(*rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=FINDING, infer_schema_length=None)


def later(row: dict[str, Any], days: int = 1, **more: Any) -> dict[str, Any]:
    return {**row, "day": DAY + timedelta(days=days), **more}


def test_a_finding_is_told_once_while_it_persists_and_once_when_it_is_gone(tmp_path: Path, bot: Bot) -> None:
    config, ok = registry(tmp_path, bot), {"status": "ok", "fault": "cell_spread_normal", "priority": 4}
    assert deliver(night(finding()), config, tmp_path) == Delivered(news=1, sent=1, waiting=0)
    assert deliver(night(later(finding())), config, tmp_path).sent == 0
    assert deliver(night(later(finding(), 2, **ok)), config, tmp_path).sent == 1
    assert deliver(night(later(finding(), 3, **ok)), config, tmp_path).sent == 0
    assert deliver(night(later(finding(), 4)), config, tmp_path).sent == 1
    texts = [message["text"] for message in bot.sent]
    assert ["Resolved" in text for text in texts] == [False, True, False]


def test_a_trouble_that_becomes_more_urgent_is_told_again(tmp_path: Path, bot: Bot) -> None:
    mild = finding(priority=2, fault="cell_imbalance_warning")
    assert deliver(night(mild), registry(tmp_path, bot), tmp_path).sent == 1
    assert deliver(night(later(finding(cell=2))), registry(tmp_path, bot), tmp_path).sent == 1
    assert deliver(night(later(mild, 2)), registry(tmp_path, bot), tmp_path).sent == 0


@pytest.mark.parametrize("status", ["not_observable", "low_quality"])
def test_doubtful_data_resolve_nothing(tmp_path: Path, bot: Bot, status: str) -> None:
    deliver(night(finding()), registry(tmp_path, bot), tmp_path)
    assert deliver(night(later(finding(), status=status)), registry(tmp_path, bot), tmp_path).news == 0


def test_an_old_day_worked_through_again_is_no_news(tmp_path: Path, bot: Bot) -> None:
    config = registry(tmp_path, bot)
    deliver(night(finding()), config, tmp_path)
    deliver(night(later(finding(), status="ok")), config, tmp_path)
    assert deliver(night(later(finding(), -3)), config, tmp_path).news == 0


def test_an_earlier_day_worked_through_again_does_not_end_what_still_stands(tmp_path: Path, bot: Bot) -> None:
    config = registry(tmp_path, bot)
    deliver(night(finding()), config, tmp_path)
    deliver(night(later(finding(), 3)), config, tmp_path)
    assert deliver(night(later(finding(), 1, status="ok")), config, tmp_path).news == 0


def test_a_site_that_was_not_analysed_keeps_its_troubles(tmp_path: Path, bot: Bot) -> None:
    config = registry(tmp_path, bot)
    deliver(night(finding()), config, tmp_path)
    assert deliver(night(), config, tmp_path).news == 0
    assert deliver(night(), config, tmp_path, analysed={"farm": DAY + timedelta(days=1)}).sent == 1


def test_a_priority_that_tells_nobody_tells_nobody(tmp_path: Path, bot: Bot) -> None:
    assert deliver(night(finding(priority=4)), registry(tmp_path, bot), tmp_path).news == 0


def test_the_message_says_what_where_how_much_and_what_to_do_in_this_order(tmp_path: Path, bot: Bot) -> None:
    deliver(night(finding()), registry(tmp_path, bot), tmp_path)
    told, text = tell(finding(), fleet()), unescape(bot.sent[0]["text"])
    parts = [
        told.what,
        "Farm Müller, stack s1, module m1, cell 7",
        "118 mV (limit 100 mV",
        "since 2026-03-10",
        told.causes[0],
        told.actions[0],
        told.safety,
    ]
    assert sorted(parts, key=text.index) == parts


def test_mail_carries_text_html_and_the_picture_and_threads_by_stable_ids(
    tmp_path: Path, mailbox: tuple[int, list[Any]]
) -> None:
    port, mails = mailbox
    draw = painter(Frames({"reading": readings("m1", period_s=600, weak=6)}), fleet())
    config = registry(tmp_path, port=port)
    deliver(night(finding()), config, tmp_path, draw=draw)
    deliver(night(later(finding(), status="ok")), config, tmp_path, draw=draw)
    raised, gone = mails
    assert "118 mV" in raised.get_body(("plain",)).get_content()
    assert 'src="cid:plot"' in raised.get_body(("html",)).get_content()
    assert [part.get_payload(decode=True)[:4] for part in raised.walk() if part.get_content_type() == "image/png"] == [
        b"\x89PNG"
    ]
    assert raised["Auto-Submitted"] == "auto-generated"
    assert gone["References"] == raised["Message-ID"] != gone["Message-ID"]


def test_a_mail_server_without_tls_is_not_given_the_mail_in_the_open(
    tmp_path: Path, mailbox: tuple[int, list[Any]]
) -> None:
    port, mails = mailbox
    mail = {"host": "127.0.0.1", "port": port, "security": "starttls", "sender": "herd@x.example"}
    done = deliver(night(finding()), registry(tmp_path, port=port, mail=mail), tmp_path)
    assert (done.sent, done.waiting, mails) == (0, 1, [])


def test_a_picture_goes_out_with_the_words_under_it(tmp_path: Path, bot: Bot) -> None:
    draw = painter(Frames({"reading": readings("m1", period_s=600, weak=6)}), fleet())
    deliver(night(finding()), registry(tmp_path, bot), tmp_path, draw=draw)
    assert bot.sent[0]["method"] == "sendPhoto"
    assert bot.sent[0]["photo"].startswith(b"\x89PNG")


@pytest.mark.parametrize("turn", ["raised", "resolved"])
def test_hostile_names_are_shown_as_they_are_and_keep_to_telegrams_limits(turn: Any) -> None:
    config = fleet(
        site=[{"id": "farm", "installer": "sunny", "edge": "e", "name": HOSTILE}], dashboard_url="https://g.example"
    )
    told = tell(finding(), config)
    made = message(News("k.1", turn, (told,)))
    assert fault_of({"text": made.brief, "caption": made.brief, "parse_mode": "HTML"}) == ""
    assert size(made.brief) <= BRIEF
    assert "<script>" not in made.html + made.brief
    assert "\n" not in made.subject


def test_a_pause_that_telegram_asks_for_is_kept(tmp_path: Path, bot: Bot) -> None:
    bot.answers = [(429, {"ok": False, "description": "Too Many Requests", "parameters": {"retry_after": 1}})]
    began = time.monotonic()
    done = deliver(night(finding(), finding(module="m2")), registry(tmp_path, bot), tmp_path)
    assert (done.sent, done.waiting, bot.answers) == (2, 0, [])
    assert time.monotonic() - began >= 1  # not a speed limit: asking earlier would be impolite


def test_a_long_pause_is_left_to_the_next_time(tmp_path: Path, bot: Bot) -> None:
    bot.answers = [(429, {"ok": False, "parameters": {"retry_after": 3600}})]
    done = deliver(night(finding(), finding(module="m2")), registry(tmp_path, bot), tmp_path)
    assert (done.sent, done.waiting, len(bot.sent)) == (0, 2, 0)


def test_a_blocked_bot_is_given_up_and_named_and_others_are_told(tmp_path: Path, bot: Bot) -> None:
    bot.answers = [(403, {"ok": False, "description": "Forbidden: bot was blocked by the user"})]
    config = registry(tmp_path, bot, route=[{"priority": 1, "telegram": ["77", "78"]}])
    done = deliver(night(finding()), config, tmp_path)
    assert (done.sent, done.waiting) == (1, 0)
    assert "77" in done.failed[0]
    assert "blocked" in done.failed[0]


def test_a_server_that_is_down_is_tried_again_later(tmp_path: Path, bot: Bot) -> None:
    bot.answers = [(502, {})]
    assert deliver(night(finding()), registry(tmp_path, bot), tmp_path).waiting == 1


def test_the_token_is_in_no_error_and_no_log(
    tmp_path: Path, bot: Bot, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    deliver(night(finding()), registry(tmp_path, bot), tmp_path)
    config = registry(tmp_path, Bot(url="http://127.0.0.1:1"))
    assert config.telegram
    with pytest.raises(NotSent) as caught:
        TelegramChannel(config.telegram).send("77", message(News("k", "raised", (tell(finding(), config),))))
    assert TOKEN not in caplog.text
    assert TOKEN not in str(caught.value)
    assert caught.value.__cause__ is None


def test_who_is_told_follows_site_installer_and_priority() -> None:
    routes = [
        {"installer": "sunny", "priority": 2, "telegram": ["1"]},
        {"site": "farm", "priority": 1, "mail": ["a@x.example"]},
        {"site": "barn", "priority": 3, "mail": ["b@x.example"]},
        {"priority": 1, "telegram": ["1", "9"]},
    ]
    sites = [{"id": name, "installer": "sunny", "edge": name} for name in ("farm", "barn")]
    config = fleet(site=sites, route=routes)

    def told(site: str, priority: int) -> list[Recipient]:
        return [way for person in told_of(site, priority, config, 0) for way in person.ways]

    assert told("farm", 1) == [Recipient("telegram", "1"), Recipient("mail", "a@x.example"), Recipient("telegram", "9")]
    assert told("farm", 3) == []
    assert told("", 1) == [Recipient("telegram", "1"), Recipient("telegram", "9")]


KILLED = """
import sys
from pathlib import Path
from tests.fakes.fleet_by_hand import finding
from tests.fakes.telegram import Bot
from tests.pipeline.test_alerts import deliver, night, registry
deliver(night(finding(), finding(module="m2")), registry(Path(sys.argv[1]), Bot(url=sys.argv[2])), Path(sys.argv[1]))
"""


def test_a_power_cut_between_sending_and_noting_it_repeats_one_message_at_most(tmp_path: Path, bot: Bot) -> None:
    root = Path(__file__).parents[2]
    environment = {**os.environ, "CELLHERD_FAILPOINT": "alert-sent", "PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path), bot.url], env=environment, cwd=root, check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert len(bot.sent) == 1
    deliver(night(finding(), finding(module="m2")), registry(tmp_path, bot), tmp_path)
    assert [("m1" in m["text"], "m2" in m["text"]) for m in bot.sent] == [(True, False), (True, False), (False, True)]
