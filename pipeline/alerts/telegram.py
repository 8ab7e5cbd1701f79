"""Alerts by Telegram: the words under a picture, with buttons, and the same message edited when something changes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from cellherd.settings_people import Telegram
from pipeline.alerts.bot_api import TIMEOUT_S, BotApi, Refused
from pipeline.alerts.channel import Message, NotSent, marked
from pipeline.alerts.story import plain
from pipeline.sentences import say

BUTTONS = {
    "ack": (("ack", "button_ack"),),
    "snooze": (("s4h", "button_4h"), ("s24h", "button_24h"), ("s7d", "button_7d")),
    "module": (("mod", "button_module"),),
}
"""What each choice puts under a message: a row of buttons, by what they send back and the sentence they show."""
NO_CHAT = ("chat not found", "chat_id is empty", "peer_id_invalid", "rights", "upgraded", "kicked", "write_forbidden")
"""Parts of a refusal that a plainer message would meet as well."""
BAD_REQUEST = 400
LONGEST_TEXT = 4096
Form = tuple[str, dict[str, str], dict[str, Any] | None, str]
"""A way to put a message: method, fields, files, and the letter that its reference begins with."""


class TelegramChannel:
    """Sends to chats as one bot. A reference is `t17@77`: message 17 of chat 77, a text; `p` is a picture."""

    edits = True

    def __init__(self, settings: Telegram, timeout_s: float = TIMEOUT_S) -> None:
        self._api = BotApi(settings, timeout_s)

    def send(self, address: str, message: Message) -> str:
        """Send the brief form, under the picture if there is one. Raises NotSent.

        What Telegram cannot read is sent in a plainer form: without the picture, then without markup.
        """
        refused: Refused | None = None
        for method, fields, files, letter in _forms(message):
            try:
                sent = self._api.call(method, {"chat_id": address, **fields}, files)
            except Refused as error:
                if not _malformed(error):
                    raise
                refused = error
                continue
            number = sent.get("message_id") if isinstance(sent, dict) else None
            return f"{letter}{number}@{address}" if number else ""
        raise refused or NotSent("there is no way to put this message", final=True)

    def edit(self, address: str, reference: str, message: Message) -> str:
        """Change the words of what was sent; the picture stays. Raises NotSent."""
        number, _, chat = reference[1:].partition("@")
        if chat and chat != address:
            raise NotSent("the earlier message stands in the chat's old place", final=True)
        method, name = ("editMessageCaption", "caption") if reference[:1] == "p" else ("editMessageText", "text")
        _, brief = marked(message)
        fields = {"chat_id": address, "message_id": number, name: brief, "parse_mode": "HTML"}
        try:
            self._api.call(method, {**fields, "reply_markup": keyboard(message)})
        except Refused as error:
            if "not modified" not in error.said:
                raise
        return reference


def _forms(message: Message) -> Iterator[Form]:
    """The ways to put a message, the best first."""
    subject, brief = marked(message)
    buttons = {"reply_markup": keyboard(message)} if message.choices and message.handle else {}
    if message.picture:
        files = {"photo": ("plot.png", message.picture, "image/png")}
        yield "sendPhoto", {"caption": brief, "parse_mode": "HTML", **buttons}, files, "p"
    text = {**buttons, "link_preview_options": '{"is_disabled": true}'}
    yield "sendMessage", {"text": brief, "parse_mode": "HTML", **text}, None, "t"
    yield "sendMessage", {"text": f"{subject}\n{message.text}"[: LONGEST_TEXT // 2], **text}, None, "t"


def keyboard(message: Message) -> str:
    """The buttons, as Telegram wants them; each sends back at most 64 bytes. Without choices: none."""
    choices = message.choices if message.handle else ()
    rows = [[_button(message, sign, name) for sign, name in BUTTONS[choice]] for choice in choices]
    return json.dumps({"inline_keyboard": rows})


def _button(message: Message, sign: str, name: str) -> dict[str, str]:
    return {"text": say(message.language, name), "callback_data": f"{sign}:{message.handle}"}


def _malformed(error: Refused) -> bool:
    said = plain(error.said).lower()
    return error.status == BAD_REQUEST and not error.moved and not any(part in said for part in NO_CHAT)
