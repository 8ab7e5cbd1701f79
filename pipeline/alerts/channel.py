"""The seam between deciding and telling: what a message is, and how a channel sends it or says that it could not.

The state machine makes messages and knows no channel; a channel knows neither faults nor people, only addresses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Any, Literal, Protocol

from cellherd.errors import CellherdError
from cellherd.secrecy import redacted
from pipeline.sentences import ENGLISH, say

ChannelName = Literal["telegram", "mail", "webhook"]
PROGRAMS = frozenset({"webhook"})
"""Channels to programs: they take every message at once, no summary instead of many, and no pictures."""
Kind = Literal["raised", "again", "changed", "resolved", "escalated", "chattering", "digest", "summary", "test"]
"""Why a message is sent. `changed` (acknowledged, snoozed, hidden) is worth an edit and never a new message."""
Choice = Literal["ack", "snooze", "module"]


@dataclass(frozen=True, slots=True)
class Recipient:
    """A chat id, a mail address or a webhook's id."""

    channel: ChannelName
    address: str


@dataclass(frozen=True, slots=True)
class Message:
    """One message, ready for any channel.

    `key` is the same at every attempt: fingerprint, a full stop, number of the turn. `thread` is what messages about
    one trouble share; `answers` is the key of the one before. `brief` is Telegram's HTML, at most 1,024 characters, so
    that it fits under a picture. `handle` is what buttons and commands name (at most 16 characters, "" where there is
    nothing to act upon) and `choices` what may be done about it now. `repeat`: an earlier attempt may have arrived.
    `facts` is the same for programs, as JSON has it.
    """

    key: str
    subject: str
    text: str
    html: str
    brief: str
    picture: bytes | None = None
    answers: str = ""
    kind: Kind = "raised"
    thread: str = ""
    handle: str = ""
    choices: tuple[Choice, ...] = ()
    repeat: bool = False
    language: str = ENGLISH
    facts: Mapping[str, Any] = field(default_factory=dict)


class NotSent(CellherdError):
    """A message that did not leave. `retry_s`: the other side's wish; `final`: no attempt will ever help.

    `unsure`: it may have arrived nevertheless, so the next attempt is marked as a possible repeat. `gone`: the address
    takes nothing from us any more; `moved`: it has another name now.
    """

    def __init__(  # noqa: PLR0913 - what the other side may have said
        self, reason: str, *, retry_s: float | None = None, final: bool = False, unsure: bool = False,
        gone: bool = False, moved: str = "",
    ) -> None:  # fmt: skip
        super().__init__(redacted(reason))  # it may be in the other side's own words
        self.retry_s = retry_s
        self.final = final
        self.unsure = unsure
        self.gone = gone
        self.moved = moved


class Channel(Protocol):
    """Tells one person. Called by one thread at a time."""

    @property
    def edits(self) -> bool:
        """Whether what was sent can be changed. If not, `changed` is not told and `resolved` is a new message."""

    def send(self, address: str, message: Message, /) -> str:
        """Send to one address. Returns the channel's own reference, for edit(). Raises NotSent."""

    def edit(self, address: str, reference: str, message: Message, /) -> str:
        """Put this message in the place of an earlier one. Returns the reference to use from now on. Raises NotSent.

        `final` says that the earlier one is gone or too old: then it is sent anew.
        """


def marked(message: Message) -> tuple[str, str]:
    """Subject and brief as they are shown: with a word of warning if the message may be a repeat."""
    if not message.repeat:
        return message.subject, message.brief
    word = say(message.language, "repeat")
    return f"({word}) {message.subject}", f"<i>{escape(word)}</i>\n{message.brief}"
