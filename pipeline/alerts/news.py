"""From a turn of the machine to news in words: the members as the catalogue tells them, and the machine's remarks."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from cellherd.config import FleetConfig
from pipeline.alerts.channel import Choice
from pipeline.alerts.hiding import PLATFORM, REPEAT
from pipeline.alerts.messages import News
from pipeline.alerts.rules import CALM_MS
from pipeline.alerts.signals import finding_of
from pipeline.alerts.state import DAY, Alert, Member, Turn
from pipeline.words import Told, tell

Note = tuple[str, Mapping[str, Any]]
OUTAGE = "Many sites fell silent at once: look at the server, the broker and the line, not at the batteries"


def news_of(turn: Turn, fleet: FleetConfig, zone: str, now: int) -> News:
    """What is told of a turn, with times in the recipient's zone."""
    alert = turn.alert
    about = sorted(turn.members or alert.members, key=lambda member: (member.priority, member.entered))
    over = turn.kind == "resolved" or not alert.open
    choices: tuple[Choice, ...] = () if over else ("snooze",) if alert.state == "acked" else ("ack", "snooze")
    return News(
        turn.key, turn.kind, tuple(words(member, fleet, zone) for member in about), alert.id, turn.earlier,
        tuple(_notes(turn, about[0], zone, now)), choices,
    )  # fmt: skip


def words(member: Member, fleet: FleetConfig, zone: str) -> Told:
    """A member in words; a live event says since when to the minute."""
    facts = finding_of(member.facts) or {"fault": member.cause.fault, "site": member.cause.site}
    told = replace(tell(facts, fleet), fingerprint=member.cause.fingerprint, priority=member.priority)
    if member.cause.fault == PLATFORM:
        return replace(told, what="Outage of the platform", actions=(OUTAGE,))
    return told if member.cause.pattern else replace(told, since=f"since {clock(member.since, zone)}")


def _notes(turn: Turn, worst: Member, zone: str, now: int) -> Iterator[Note]:
    alert = turn.alert
    if turn.kind == "resolved":
        if worst.cause.pattern:
            yield "cleared_at_night", {}
        else:
            yield "resolved", {"duration": duration(max(worst.left, worst.since) - worst.since)}
        return
    if turn.kind == "escalated":
        yield "escalated", {"duration": duration(now - alert.raised)}
    if turn.kind == "chattering":
        yield "chattering", {"times": alert.raises_since(now - DAY), "duration": duration(CALM_MS)}
    if turn.why == "ack":
        yield "acked", {"by": alert.by or "somebody"}
    if turn.why == "snooze":
        yield "snoozed", {"by": alert.by or "somebody", "until": clock(alert.until, zone)}
    if turn.why == "snooze_over":
        yield "snooze_over", {}
    yield from _returns(worst, zone)
    if len(alert.members) > 1 and turn.kind in ("changed", "escalated", "again"):
        yield "still", {"standing": sum(m.standing for m in alert.members), "all": len(alert.members)}


def _returns(member: Member, zone: str) -> Iterator[Note]:
    """How often a repeat lockout came and when, and that resetting it does not help."""
    if member.cause.fault != REPEAT or member.cause.pattern:
        return
    said = json.loads(member.facts.get("evidence") or "{}")
    dates = ", ".join(clock(at, zone) for at in said.get("enters", [])[-5:])
    times = {"times": said.get("times_24_h", 0), "week": said.get("times_7_days", 0), "dates": dates}
    yield "came", times
    if said.get("stop_resetting"):
        yield "stop_resetting", {}


def plot_of(alert: Alert) -> dict[str, Any] | None:
    """What a picture of this alert shows: the keys of pipeline.alerts.picture; None where no module is meant."""
    worst = alert.worst
    if not worst.cause.module:
        return None
    keys = ("site", "stack", "module", "cell", "day", "date")
    return {key: worst.facts[key] for key in keys if worst.facts.get(key) is not None}


def clock(at: int, zone: str) -> str:
    """A time as the recipient's clock shows it: 14 Mar 09:05."""
    return datetime.fromtimestamp(at / 1000, ZoneInfo(zone)).strftime("%-d %b %H:%M")


def duration(ms: int) -> str:
    """A span for people: 40 s, 12 min, 2 h 10 min, 3 days."""
    minutes = max(0, ms) // 60_000
    if minutes < 1:
        return f"{max(0, ms) // 1000} s"
    if minutes < 60:
        return f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    return f"{hours} h {rest} min" if hours < 48 else f"{hours // 24} days"
