"""What a person is told, and how a channel says that it could not tell them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from cellherd.errors import CellherdError

ChannelName = Literal["telegram", "mail"]


@dataclass(frozen=True, slots=True)
class Recipient:
    """A chat id or a mail address."""

    channel: ChannelName
    address: str


@dataclass(frozen=True, slots=True)
class Alert:
    """One message, ready for either channel. `key` is the same at every attempt; `answers` is an earlier one's key.

    `brief` is Telegram's HTML, at most 1,024 characters, so that it fits under a picture.
    """

    key: str
    subject: str
    text: str
    html: str
    brief: str
    picture: bytes | None = None
    answers: str = ""


class NotSent(CellherdError):
    """A message that did not leave. `retry_s`: the other side's wish; `final`: no attempt will ever help."""

    def __init__(self, reason: str, *, retry_s: float | None = None, final: bool = False) -> None:
        super().__init__(reason)
        self.retry_s = retry_s
        self.final = final


class Channel(Protocol):
    """Tells one person. Raises NotSent."""

    def send(self, address: str, alert: Alert, /) -> None:
        """Send one alert to one address."""
