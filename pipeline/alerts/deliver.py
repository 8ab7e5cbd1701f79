"""After the night's work: hand the findings to the state machine, and send what is due if nobody else does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from cellherd.clock import Clock, SystemClock
from cellherd.config import FleetConfig
from pipeline.alerts import ledger
from pipeline.alerts.channel import Channel, ChannelName
from pipeline.alerts.mail import MailChannel
from pipeline.alerts.notifier import Notifier
from pipeline.alerts.outbox import Outbox
from pipeline.alerts.sender import Draw, NoWay, Sender
from pipeline.alerts.signals import KEPT, days_of, finding_of
from pipeline.alerts.telegram import TelegramChannel
from pipeline.alerts.webhook import WebhookChannel

if TYPE_CHECKING:
    import polars as pl

    from pipeline.words import Finding

PATIENCE_S = 60.0
"""How long one delivery waits for a channel that asks for a pause; later ones go on from there."""
BACKOFF_MS = 90_000
"""The night does not wait for a channel that is down: the next delivery, or the notifier, tries again."""
NAMES: tuple[ChannelName, ...] = ("telegram", "mail", "webhook")


@dataclass(frozen=True, slots=True)
class Delivered:
    """What one delivery did. `failed` are given up, each with its reason; `waiting` are tried again the next time.

    `handed`: `cellherd notify run` is at work and has taken the findings; the numbers are its business then.
    """

    news: int
    sent: int
    waiting: int
    failed: tuple[str, ...] = ()
    handed: bool = False


def channels(fleet: FleetConfig) -> dict[ChannelName, Channel]:
    """A channel for every name. Raises ConfigError for a secret that cannot be read."""
    found: dict[ChannelName, Channel] = {name: NoWay(name) for name in NAMES}
    if fleet.telegram:
        found["telegram"] = TelegramChannel(fleet.telegram)
    if fleet.mail:
        found["mail"] = MailChannel(fleet.mail)
    if fleet.webhook:
        found["webhook"] = WebhookChannel(fleet.webhook)
    return found


def deliver(
    findings: pl.DataFrame,
    fleet: FleetConfig,
    state: Path,
    *,
    analysed: Mapping[str, date] | None = None,
    draw: Callable[[Finding], bytes | None] | None = None,
) -> Delivered:
    """Tell people what changed since the last time, and send what could not be sent before.

    `findings` are rows of the table `finding`, of any status, of one night's work. `analysed` says which sites that
    work covered and for which day; without it, the sites and latest days that the rows name. A trouble of such a site
    that is not among the rows any more is told as resolved. `draw` gives a PNG for a finding, or None. Where
    `cellherd notify run` is at work, the findings are handed to it.
    """
    rows = findings.to_dicts()
    covered = {site: str(day) for site, day in analysed.items()} if analysed is not None else days_of(rows)
    ways = channels(fleet)
    with ledger.opened(state) as database:
        kept = [row for row in rows if row["status"] in KEPT]
        number = ledger.put_input(database, "night", {"rows": kept, "covered": covered})
        return work_off(database, fleet, state, number, ways, draw=draw)


def work_off(  # noqa: PLR0913 - the parts that a process has already
    database: Any, fleet: FleetConfig, state: Path, number: int, ways: Mapping[ChannelName, Channel], *,
    draw: Callable[[Finding], bytes | None] | None = None,
) -> Delivered:  # fmt: skip
    """See to it that an input is taken: by whoever holds the lock, or here."""
    clock = SystemClock()
    until = clock.boot() + 1000 * PATIENCE_S
    while (held := ledger.lock(state)) is None and not ledger.taken(database, number):
        if clock.boot() > until:
            return Delivered(0, 0, Outbox(database).waiting()[0])
        Event().wait(0.2)
    if held is None:
        return Delivered(0, 0, Outbox(database).waiting()[0], handed=True)
    with closing(held):
        outbox = Outbox(database)
        outbox.recover()
        edits = frozenset(name for name, way in ways.items() if way.edits)
        news = Notifier(database, fleet, clock, edits).step()
        sent, failed = _send(outbox, fleet, clock, ways, painted(draw))
        return Delivered(news, sent, outbox.waiting()[0], tuple(failed))


def painted(draw: Callable[[Finding], bytes | None] | None) -> Draw | None:
    """Draws what a delivery's `plot` names, for a painter of findings."""
    if draw is None:
        return None
    return lambda plot: draw(finding_of({**plot, "day": plot.get("day") or plot["date"]}))


def _send(
    outbox: Outbox, fleet: FleetConfig, clock: Clock, ways: Mapping[ChannelName, Channel], draw: Draw | None
) -> tuple[int, list[str]]:
    """Try everything that is due, again after a pause that a channel asked for, until PATIENCE_S are over."""
    senders = [Sender(name, way, outbox, fleet, clock, draw, BACKOFF_MS) for name, way in ways.items()]
    until, sent = clock.wall() + 1000 * PATIENCE_S, 0
    while True:
        left = sum(sender.send_due() for sender in senders)
        sent += left
        _, first = outbox.waiting()
        if first is None or first > until or (clock.wall() > until and not left):
            return sent, [reason for sender in senders for reason in sender.failed]
        Event().wait(max((first - clock.wall()) / 1000, 0.0 if left else 0.01))
