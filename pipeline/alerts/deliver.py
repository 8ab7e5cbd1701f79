"""After the night's work: find what is news, write it into the outbox, and send what is due."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from cellherd.config import FleetConfig
from cellherd.failpoint import failpoint
from pipeline.alerts import channel
from pipeline.alerts.channel import Channel, NotSent, Recipient
from pipeline.alerts.mail import MailChannel
from pipeline.alerts.messages import News as Words
from pipeline.alerts.messages import message as worded
from pipeline.alerts.outbox import Message, Outbox, Trouble, opened
from pipeline.alerts.routes import recipients
from pipeline.alerts.telegram import TelegramChannel
from pipeline.alerts.turns import News, news
from pipeline.words import Finding, tell

if TYPE_CHECKING:
    import polars as pl

PATIENCE_S = 60.0
"""How long one delivery waits for a channel that asks for a pause; later ones go on from there."""
BACKOFF_S = 60.0
LONGEST_S = 6 * 3600.0

Draw = Callable[[Finding], bytes | None]


@dataclass(frozen=True, slots=True)
class Delivered:
    """What one delivery did. `failed` are given up, each with its reason; `waiting` are tried again the next time."""

    news: int
    sent: int
    waiting: int
    failed: tuple[str, ...] = ()


def channels(fleet: FleetConfig) -> dict[str, Channel]:
    """The channels that fleet.toml sets up. Raises ConfigError for a secret that cannot be read."""
    found: dict[str, Channel] = {}
    if fleet.telegram:
        found["telegram"] = TelegramChannel(fleet.telegram)
    if fleet.mail:
        found["mail"] = MailChannel(fleet.mail)
    return found


@dataclass(frozen=True, slots=True)
class NoWay:
    """The channel that a route names and fleet.toml does not set up."""

    name: str
    edits: bool = False

    def send(self, _address: str, _message: channel.Message) -> str:
        """Say so. Raises NotSent."""
        raise NotSent(f"fleet.toml sets up no [{self.name}]", final=True)

    def edit(self, address: str, _reference: str, message: channel.Message) -> str:
        """Say so. Raises NotSent."""
        return self.send(address, message)


def way_to(person: Recipient, ways: Mapping[str, Channel]) -> Channel:
    """The channel that reaches a person."""
    return ways.get(person.channel, NoWay(person.channel))


def deliver(
    findings: pl.DataFrame,
    fleet: FleetConfig,
    state: Path,
    *,
    analysed: Mapping[str, date] | None = None,
    draw: Draw | None = None,
) -> Delivered:
    """Tell people what changed since the last time, and send what could not be sent before.

    `findings` are rows of the table `finding`, of any status, of one night's work. `analysed` says which sites that
    work covered and for which day; without it, the sites and latest days that the rows name. A trouble of such a site
    that is not among the rows any more is told as resolved. `draw` gives a PNG for a finding, or None.
    """
    rows = findings.to_dicts()
    covered = analysed if analysed is not None else _days(rows)
    with opened(state) as outbox:
        pairs = [(row, tell(row, fleet)) for row in rows]
        by_print = {told.fingerprint: row for row, told in pairs}
        changed = list(news(pairs, outbox.troubles(), covered))
        outbox.change(_written(one, by_print, fleet, draw) for one in changed)
        sent, failed = _send(outbox, channels(fleet))
        return Delivered(sum(1 for one in changed if one.turn), sent, outbox.waiting()[0], tuple(failed))


def _days(rows: Iterable[Finding]) -> dict[str, date]:
    latest: dict[str, date] = {}
    for row in rows:
        if row["site"]:
            latest[row["site"]] = max(row["day"], latest.get(row["site"], row["day"]))
    return latest


def _written(
    one: News, rows: Mapping[str, Finding], fleet: FleetConfig, draw: Draw | None
) -> tuple[Trouble, channel.Message | None, list[Recipient]]:
    trouble, people = one.trouble, recipients(one.trouble.site, one.told.priority, fleet)
    if one.turn is None:
        return trouble, None, []
    picture = draw(rows[trouble.fingerprint]) if draw and people and one.turn == "raised" else None
    earlier = trouble.key(trouble.turn - 1) if trouble.turn > 1 else ""
    notes: tuple[tuple[str, Mapping[str, object]], ...] = (("cleared_at_night", {}),) if one.turn == "resolved" else ()
    news = Words(trouble.key(), one.turn, (one.told,), trouble.fingerprint, earlier, notes)
    return trouble, replace(worded(news), picture=picture), people


def _send(outbox: Outbox, ways: Mapping[str, Channel]) -> tuple[int, list[str]]:
    """Try everything that is due, again after a pause that a channel asked for, until PATIENCE_S are over."""
    until, sent = time.time() + PATIENCE_S, 0
    failed: list[str] = []
    while True:
        held: set[str] = set()
        for message in outbox.due(time.time()):
            if message.recipient.channel not in held:
                sent += _try(outbox, message, way_to(message.recipient, ways), held, failed)
        _, first = outbox.waiting()
        if first is None or first > until:
            return sent, failed
        Event().wait(max(first - time.time(), 0.01))


def _try(outbox: Outbox, message: Message, way: Channel, held: set[str], failed: list[str]) -> bool:
    person, now = message.recipient, time.time()
    outbox.attempt(message.number)
    try:
        way.send(person.address, message.alert)
    except NotSent as error:
        told = f"{person.channel} to {person.address}: {error}"
        if error.final:
            failed.append(told)
            outbox.result(message.number, "failed", told)
        elif error.retry_s is not None:
            held.add(person.channel)
            outbox.result(message.number, "due", told, now + error.retry_s)
            outbox.hold(person.channel, now + error.retry_s)
        else:
            pause = min(BACKOFF_S * 2**message.attempts, LONGEST_S)
            outbox.result(message.number, "due", told, now + pause)
        return False
    failpoint("alert-sent")
    outbox.result(message.number, "sent")
    return True
