"""The part of `fleet.toml` about telling people: channels, persons, routes, planned work."""

from __future__ import annotations

from datetime import date, time
from typing import Literal

from pydantic import AwareDatetime, Field, model_validator

from cellherd.settings_words import Id, Language, Mailbox, SinkUrl, Strict, Zone


class Telegram(Strict):
    """A Telegram bot. `base_url` may be a local Bot API server."""

    base_url: str = "https://api.telegram.org"
    token_file: str


class Mail(Strict):
    """An SMTP account."""

    host: str
    port: int = 587
    security: Literal["starttls", "tls", "none"] = "starttls"
    username: str | None = None
    password_file: str | None = None
    ca_file: str | None = None
    sender: Mailbox


class Webhook(Strict):
    """A program that is told. Every call is signed with the secret; `form` is ours, or Alertmanager's API v2."""

    id: Id
    url: SinkUrl
    secret_file: str | None = None
    form: Literal["cellherd", "alertmanager"] = "cellherd"

    @model_validator(mode="after")
    def _signed(self) -> Webhook:
        if self.form == "cellherd" and not self.secret_file:
            raise ValueError(f"webhook {self.id!r} wants a secret_file: whoever listens cannot tell us from others")
        return self


class Alerts(Strict):
    """When troubles become messages, for the whole fleet."""

    group_s: float = Field(default=0.5, ge=0, le=60)
    clear_after_min: float = Field(default=5.0, ge=0)
    chatter_turns: int = Field(default=6, ge=2)
    platform_share: float = Field(default=0.2, gt=0, le=1)
    flood_per_hour: int = Field(default=10, ge=1)
    second_after_min: float = Field(default=10.0, gt=0)
    heartbeat_url_file: str | None = None
    caretaker: Id | None = None
    language: Language = "en"
    runbook_url: str = ""


class Away(Strict):
    """Days on which somebody else is told, the first and the last included."""

    first: date
    last: date
    stands_in: Id


class Person(Strict):
    """Somebody who is told, by Telegram if they have it, else by mail; the other one is the second channel."""

    id: Id
    name: str = ""
    tz: Zone = "UTC"
    language: Language | None = None
    telegram: str | None = None
    mail: Mailbox | None = None
    quiet: tuple[time, time] | None = None
    digest: time | None = time(7, 0)
    away: list[Away] = Field(default_factory=list)

    @model_validator(mode="after")
    def _can_be_reached(self) -> Person:
        if not (self.telegram or self.mail):
            raise ValueError(f"person {self.id!r} has neither telegram nor mail")
        return self


class Route(Strict):
    """Who is told: for an installer's sites, or one site, from which priority (1 act now .. 3 digest)."""

    installer: Id | None = None
    site: Id | None = None
    priority: int = Field(default=2, ge=1, le=3)
    people: list[Id] = Field(default_factory=list)
    telegram: list[str] = Field(default_factory=list)
    mail: list[Mailbox] = Field(default_factory=list)
    webhook: list[Id] = Field(default_factory=list)
    language: Language | None = None
    escalate: list[Id] = Field(default_factory=list)
    escalate_after_min: int = Field(default=30, ge=1)


class Window(Strict):
    """Planned work: troubles of these devices are kept back from `begin` to `end` (with their offset from UTC)."""

    site: Id
    stack: Id | None = None
    module: Id | None = None
    kind: Literal["maintenance", "balancing"] = "maintenance"
    faults: list[str] = Field(default_factory=list)
    begin: AwareDatetime
    end: AwareDatetime
