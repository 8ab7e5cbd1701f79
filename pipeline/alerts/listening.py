"""Hears what people tell the bot, by long polling: it works behind any router and opens no port."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from threading import Event
from typing import Any
from zoneinfo import ZoneInfo

from cellherd.clock import Clock, SystemClock
from cellherd.config import FleetConfig
from pipeline.alerts import addresses, ledger
from pipeline.alerts.bot_api import BotApi, Refused
from pipeline.alerts.channel import NotSent, Recipient
from pipeline.alerts.chat import Board, Chat, Key, Reply, answer, chat_of, pressed
from pipeline.alerts.sender import Draw
from pipeline.alerts.story import plain
from pipeline.sentences import say

POLL_S = 20
PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
CONFLICT = 409
OFFSET = "telegram.offset"
HEARD = '["message", "callback_query", "my_chat_member"]'
BLOCKED = ("kicked", "left")
NAME_LENGTH = 40
Look = Callable[[Key], Mapping[str, Any] | None]
log = logging.getLogger(__name__)


@dataclass(slots=True)
class Listener:
    """One bot's ear. `database` is its own connection; decisions go into the machine's inputs."""

    api: BotApi
    fleet: FleetConfig
    database: sqlite3.Connection
    clock: Clock
    look: Look = lambda _key: None
    draw: Draw | None = None
    poll_s: int = POLL_S
    _pause_s: float = field(default=PAUSE_S, init=False)

    def run(self, stop: Event) -> None:
        """Listen until `stop` is set."""
        while not stop.is_set():
            try:
                self.listen()
                self._pause_s = PAUSE_S
            except NotSent as error:
                if isinstance(error, Refused) and error.status == CONFLICT:
                    log.warning("another program listens to this bot: commands and buttons go to either of them")
                    self._pause_s = LONGEST_PAUSE_S
                stop.wait(error.retry_s or self._pause_s)
                self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
            except Exception:
                log.exception("listening to Telegram failed; the next round tries again")
                stop.wait(self._pause_s)

    def listen(self) -> int:
        """One poll: answer what came in, each once. Returns how much it was. Raises NotSent."""
        offset = int(ledger.note(self.database, OFFSET) or 0)
        asked = {"offset": offset, "timeout": self.poll_s, "allowed_updates": HEARD}
        found = self.api.call("getUpdates", asked, wait_s=self.poll_s)
        updates = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
        for update in updates:
            number = update.get("update_id")
            try:
                self._hear(update)
            except NotSent as error:
                log.warning("no answer to a command: %s", error)
            except Exception:
                log.exception("an update of Telegram's cannot be read and is left out")
            if isinstance(number, int):
                ledger.put_note(self.database, OFFSET, str(number + 1))
        return len(updates)

    def _hear(self, update: Mapping[str, Any]) -> None:
        if press := update.get("callback_query"):
            self._pressed(press)
        elif change := update.get("my_chat_member"):
            self._changed(str(change["chat"]["id"]), str(change["new_chat_member"]["status"]))
        elif message := update.get("message"):
            self._read(message)

    def _read(self, message: Mapping[str, Any]) -> None:
        address, text = str(message["chat"]["id"]), message.get("text") or ""
        if moved := message.get("migrate_to_chat_id"):
            addresses.move(self.database, Recipient("telegram", address), str(moved))
        elif text.startswith("/") or (text and message["chat"].get("type") == "private"):
            self._answer(address, text)

    def _changed(self, address: str, status: str) -> None:
        """Somebody blocked the bot, removed it, or let it in again."""
        way = Recipient("telegram", addresses.was_at(self.database, address))
        if chat_of(way.address, self.fleet) is None:
            return
        if status in BLOCKED:
            addresses.close(self.database, way, self.clock.wall(), "the bot was blocked or removed from the chat")
        else:
            addresses.reopen(self.database, way)

    def _answer(self, address: str, text: str) -> None:
        chat = self._chat(address)
        if chat is None:
            if text.split("@", maxsplit=1)[0].split(maxsplit=1)[0] in ("/whoami", "/start"):
                self._say(address, say(self.fleet.alerts.language, "not_known", chat=address))
            return
        addresses.reopen(self.database, chat.person.ways[0])
        reply = answer(text, chat, self._board())
        if reply.mute is not None:
            addresses.mute(self.database, chat.person.ways[0], reply.mute)
        self._tell(address, reply, chat)

    def _pressed(self, press: Mapping[str, Any]) -> None:
        address = str(press["message"]["chat"]["id"])
        chat = self._chat(address)
        if chat is None:
            return
        who = press.get("from") or {}
        by = plain(str(who.get("first_name") or who.get("username") or ""))[:NAME_LENGTH]
        reply = pressed(str(press.get("data") or ""), by or say(chat.language, "somebody"), chat, self._board())
        if reply.action:
            ledger.act(self.database, reply.action)
        said = {} if reply.plot else {"text": reply.text}
        with suppress(Refused):  # a button pressed long ago wants no answer any more
            self.api.call("answerCallbackQuery", {"callback_query_id": press["id"], **said})
        if reply.plot:
            self._tell(address, reply, chat)

    def _chat(self, address: str) -> Chat | None:
        return chat_of(addresses.was_at(self.database, address), self.fleet)

    def _board(self) -> Board:
        return Board(self.fleet, ledger.alerts(self.database), self.clock.wall(), self.look)

    def _tell(self, address: str, reply: Reply, chat: Chat) -> None:
        picture = self._picture(reply.plot, chat)
        if picture is None:
            self._say(address, reply.text)
            return
        fields = {"chat_id": address, "caption": reply.text, "parse_mode": "HTML"}
        self.api.call("sendPhoto", fields, {"photo": ("plot.png", picture, "image/png")})

    def _picture(self, key: Key | None, chat: Chat) -> bytes | None:
        if key is None or self.draw is None:
            return None
        site = next((site for site in self.fleet.site if site.id == key[0]), None)
        zone = ZoneInfo(site.tz if site else chat.person.tz)
        today = datetime.fromtimestamp(self.clock.wall() / 1000, zone).date()
        named = dict(zip(("site", "stack", "module"), key, strict=True))
        try:
            return self.draw({**named, "day": today.isoformat(), "language": chat.language})
        except Exception:
            log.exception("no picture of %s", json.dumps(key))
            return None

    def _say(self, address: str, text: str) -> None:
        self.api.call("sendMessage", {"chat_id": address, "text": text, "parse_mode": "HTML"})


def listeners(fleet: FleetConfig, state: Path, look: Look, draw: Draw | None) -> list[Callable[[Event], None]]:
    """What hears people, for `run`: one ear where fleet.toml sets up a bot. Raises ConfigError for a bad token."""
    if fleet.telegram is None:
        return []
    api = BotApi(fleet.telegram)

    def listen(stop: Event) -> None:
        with ledger.opened(state) as database:
            Listener(api, fleet, database, SystemClock(), look, draw).run(stop)

    return [listen]
