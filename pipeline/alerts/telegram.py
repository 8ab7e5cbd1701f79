"""Telegram's Bot API by plain HTTP. The token stands in every address, so no address is ever logged or raised."""

from __future__ import annotations

import logging
from typing import Any

import httpx

from cellherd.config import read_secret
from cellherd.errors import ConfigError
from cellherd.settings import Telegram
from pipeline.alerts.alert import Alert, NotSent

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

    def __init__(self, settings: Telegram) -> None:
        token = read_secret(settings.token_file)
        if not token:
            raise ConfigError(settings.token_file, ["the bot's token file is empty"])
        self._address = f"{settings.base_url.rstrip('/')}/bot{token}"

    def send(self, address: str, alert: Alert) -> None:
        """Send the brief form, under the picture if there is one. Raises NotSent."""
        if alert.picture:
            fields = {"chat_id": address, "caption": alert.brief, "parse_mode": "HTML"}
            self._ask("sendPhoto", fields, {"photo": ("plot.png", alert.picture, "image/png")})
        else:
            self._ask("sendMessage", {"chat_id": address, "text": alert.brief, "parse_mode": "HTML"})

    def _ask(self, method: str, fields: dict[str, str], files: dict[str, Any] | None = None) -> None:
        try:
            answer = httpx.post(f"{self._address}/{method}", data=fields, files=files, timeout=TIMEOUT_S)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise NotSent(f"Telegram cannot be reached: {type(error).__name__}") from None
        if answer.status_code != httpx.codes.OK:
            raise _refusal(answer)


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
