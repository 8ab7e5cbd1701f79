"""Telegram's Bot API by plain HTTP. The token stands in every address, so no address is ever logged or raised."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import httpx

from cellherd.config import read_secret
from cellherd.errors import ConfigError
from cellherd.settings_people import Telegram
from pipeline.alerts.channel import NotSent

TIMEOUT_S = 20.0
LONGEST_PAUSE_S = 86_400.0
NEVER = {
    400: "the chat does not exist or the message is malformed",
    403: "the bot was blocked or removed from the chat",
}


class Refused(NotSent):
    """Telegram understood and said no: `status` is HTTP's number, `said` its own words."""

    def __init__(self, status: int, said: str, **how: Any) -> None:
        super().__init__(f"Telegram answered {status}: {said}", **how)
        self.status = status
        self.said = said


def _without_address(record: logging.LogRecord) -> bool:
    return "/bot" not in record.getMessage()


logging.getLogger("httpx").addFilter(_without_address)


class BotApi:
    """One bot. Raises ConfigError for a token that cannot be read."""

    def __init__(self, settings: Telegram, timeout_s: float = TIMEOUT_S) -> None:
        token = read_secret(settings.token_file)
        if not token:
            raise ConfigError(settings.token_file, ["the bot's token file is empty"])
        self._address = f"{settings.base_url.rstrip('/')}/bot{token}"
        self._timeout_s = timeout_s
        self._client = httpx.Client()
        """Kept: a burst of messages shares a connection, and certificates are read once."""

    def close(self) -> None:
        """Let the connections go."""
        self._client.close()

    def call(
        self, method: str, fields: Mapping[str, Any], files: dict[str, Any] | None = None, *, wait_s: float = 0
    ) -> Any:
        """What the method returns, None if nobody can read it. `wait_s`: how long it may take longer than usual.

        Raises NotSent; what Telegram itself refuses is Refused.
        """
        timeout = httpx.Timeout(self._timeout_s, read=self._timeout_s + wait_s)
        try:
            answer = self._client.post(f"{self._address}/{method}", data=dict(fields), files=files, timeout=timeout)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            sure = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.InvalidURL)
            raise NotSent(f"Telegram cannot be reached: {type(error).__name__}", unsure=not sure) from None
        said = _said(answer)
        if answer.status_code != httpx.codes.OK:
            raise _refusal(answer.status_code, said)
        return said.get("result")


def _said(answer: httpx.Response) -> dict[str, Any]:
    """The answer's JSON object; {} for anything else: a proxy's page, half an answer."""
    try:
        said = answer.json()
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _refusal(status: int, said: Mapping[str, Any]) -> NotSent:
    """Why Telegram said no, by its own words where there are any."""
    given = said.get("parameters")
    parameters = given if isinstance(given, dict) else {}
    words = str(said.get("description") or NEVER.get(status, "no reason given"))
    if moved := parameters.get("migrate_to_chat_id"):
        return Refused(status, f"the group became the supergroup {moved}", final=True, moved=str(moved))
    if status == httpx.codes.UNAUTHORIZED:
        return Refused(status, "it does not know this bot; put the token of @BotFather into telegram.token_file")
    gone = status == httpx.codes.FORBIDDEN
    return Refused(status, words, retry_s=_pause(parameters.get("retry_after")), final=status in NEVER, gone=gone)


def _pause(given: Any) -> float | None:
    """The pause that is asked for, within reason."""
    if not isinstance(given, int | float) or not given > 0:
        return None
    return min(float(given), LONGEST_PAUSE_S)
