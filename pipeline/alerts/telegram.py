"""Telegram's Bot API by plain HTTP. The token stands in every address, so no address is ever logged or raised."""

from __future__ import annotations

import logging
from typing import Any

import httpx

from cellherd.config import read_secret
from cellherd.errors import ConfigError
from cellherd.settings import Telegram
from pipeline.alerts.channel import Message, NotSent, marked

TIMEOUT_S = 20.0
NEVER = {
    400: "the chat does not exist or the message is malformed",
    403: "the bot was blocked or removed from the chat",
}


def _without_address(record: logging.LogRecord) -> bool:
    return "/bot" not in record.getMessage()


logging.getLogger("httpx").addFilter(_without_address)


class TelegramChannel:
    """Sends to chats as one bot."""

    edits = True

    def __init__(self, settings: Telegram) -> None:
        token = read_secret(settings.token_file)
        if not token:
            raise ConfigError(settings.token_file, ["the bot's token file is empty"])
        self._address = f"{settings.base_url.rstrip('/')}/bot{token}"

    def send(self, address: str, message: Message) -> str:
        """Send the brief form, under the picture if there is one. Raises NotSent."""
        _, brief = marked(message)
        if message.picture:
            fields = {"chat_id": address, "caption": brief, "parse_mode": "HTML"}
            return _reference(
                self._ask("sendPhoto", fields, {"photo": ("plot.png", message.picture, "image/png")}), "p"
            )
        return _reference(self._ask("sendMessage", {"chat_id": address, "text": brief, "parse_mode": "HTML"}), "t")

    def edit(self, address: str, reference: str, message: Message) -> str:
        """Change the words of what was sent; the picture stays. Raises NotSent."""
        form, number = reference[:1], reference[1:]
        method, name = ("editMessageCaption", "caption") if form == "p" else ("editMessageText", "text")
        _, brief = marked(message)
        self._ask(method, {"chat_id": address, "message_id": number, name: brief, "parse_mode": "HTML"})
        return reference

    def _ask(self, method: str, fields: dict[str, str], files: dict[str, Any] | None = None) -> dict[str, Any]:
        try:
            answer = httpx.post(f"{self._address}/{method}", data=fields, files=files, timeout=TIMEOUT_S)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            sure = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.InvalidURL)
            raise NotSent(f"Telegram cannot be reached: {type(error).__name__}", unsure=not sure) from None
        if answer.status_code != httpx.codes.OK:
            raise _refusal(answer)
        try:
            said: dict[str, Any] = answer.json()
        except ValueError:
            return {}  # it said 200: sent, but nobody knows under which number
        return said


def _reference(said: dict[str, Any], form: str) -> str:
    """`t17` is a text's number, `p17` a picture's: they are edited by different methods."""
    number = (said.get("result") or {}).get("message_id")
    return f"{form}{number}" if number else ""


def _refusal(answer: httpx.Response) -> NotSent:
    """Why Telegram said no, by its own words where there are any."""
    try:
        said = answer.json()
    except ValueError:
        said = {}
    status, parameters = answer.status_code, said.get("parameters") or {}
    if moved := parameters.get("migrate_to_chat_id"):
        return NotSent(f"the group became a supergroup: write {moved} in its route", final=True)
    told = f"Telegram answered {status}: {said.get('description') or NEVER.get(status, 'no reason given')}"
    if status == httpx.codes.UNAUTHORIZED:
        told = "Telegram does not know this bot: put the token of @BotFather into telegram.token_file"
    return NotSent(told, retry_s=parameters.get("retry_after"), final=status in NEVER)
