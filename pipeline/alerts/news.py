"""From a turn of the machine to news in words: the members as the catalogue tells them, and the machine's remarks."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from cellherd.config import FleetConfig
from cellherd.faults import catalogue
from pipeline.alerts.channel import Choice
from pipeline.alerts.hiding import PLATFORM, REPEAT
from pipeline.alerts.people import Person
from pipeline.alerts.rules import CALM_MS
from pipeline.alerts.signals import finding_of
from pipeline.alerts.state import DAY, Alert, Member, Turn
from pipeline.alerts.story import News
from pipeline.sentences import ENGLISH, clock, duration, say
from pipeline.words import Told, tell

Note = tuple[str, Mapping[str, Any]]
DATES = 5
"""Times of a repeat lockout that are told, the latest."""


def news_of(turn: Turn, fleet: FleetConfig, person: Person, now: int) -> News:
    """What a person is told of a turn, in their language and zone."""
    alert = turn.alert
    about = sorted(turn.members or alert.members, key=lambda member: (member.priority, member.entered))
    told = tuple(words(member, fleet, person.tz, person.language) for member in about)
    return News(
        turn.key, turn.kind, told, alert.id, turn.earlier, tuple(_notes(turn, about[0], person, now)), _choices(turn),
        person.language, facts_of(turn, about, told, now),
    )  # fmt: skip


def _choices(turn: Turn) -> tuple[Choice, ...]:
    """What may be done about it now."""
    look: tuple[Choice, ...] = ("module",) if turn.alert.worst.cause.module else ()
    if turn.kind == "resolved" or not turn.alert.open:
        return look
    return ("snooze", *look) if turn.alert.state == "acked" else ("ack", "snooze", *look)


def words(member: Member, fleet: FleetConfig, zone: str, language: str = ENGLISH) -> Told:
    """A member in words; a live event says since when to the minute."""
    facts = finding_of(member.facts) or {"fault": member.cause.fault, "site": member.cause.site}
    told = tell(facts, fleet, language)
    told = replace(told, fingerprint=member.cause.fingerprint, priority=member.priority)
    if member.cause.fault == PLATFORM:
        return replace(told, what=say(language, "platform"), actions=(say(language, "platform_action"),))
    if member.cause.pattern:
        return told
    return replace(told, since=say(language, "since", at=clock(member.since, zone, language)))


def _notes(turn: Turn, worst: Member, person: Person, now: int) -> Iterator[Note]:
    alert, zone, language = turn.alert, person.tz, person.language
    if turn.kind == "resolved":
        if worst.cause.pattern:
            yield "cleared_at_night", {}
        else:
            stood = max(worst.left, worst.since) - worst.since
            yield "resolved_after", {"duration": duration(stood, language)}
        return
    if turn.kind == "escalated":
        yield "escalated", {"duration": duration(now - alert.raised, language)}
    if turn.kind == "chattering":
        yield "chattering", {"times": alert.raises_since(now - DAY), "duration": duration(CALM_MS, language)}
    by = alert.by or say(language, "somebody")
    if turn.why == "ack":
        yield "acked", {"by": by}
    if turn.why == "snooze":
        yield "snoozed", {"by": by, "until": clock(alert.until, zone, language)}
    if turn.why == "snooze_over":
        yield "snooze_over", {}
    yield from _history(worst, person, now)
    if len(alert.members) > 1 and turn.kind in ("changed", "escalated", "again"):
        yield "still", {"standing": sum(m.standing for m in alert.members), "all": len(alert.members)}


def _history(member: Member, person: Person, now: int) -> Iterator[Note]:
    """How often it came, when last, and whether it comes more often than before."""
    if member.cause.fault == REPEAT and not member.cause.pattern:
        yield from _returns(member, person)
        return
    week = [at for at in member.raises if at > now - 7 * DAY]
    before = sum(now - 14 * DAY < at <= now - 7 * DAY for at in member.raises)
    if len(week) > 1:
        yield "came_before", {"times": len(week), "last": clock(week[-2], person.tz, person.language)}
    if before and len(week) != before:
        yield "more_often" if len(week) > before else "less_often", {"before": before}


def _returns(member: Member, person: Person) -> Iterator[Note]:
    """How often a repeat lockout came and when, and that resetting it does not help."""
    said = json.loads(member.facts.get("evidence") or "{}")
    if returns := catalogue(person.language).get(str(said.get("of"))):
        yield "comes_as", {"what": returns.title}
    dates = ", ".join(clock(at, person.tz, person.language) for at in said.get("enters", [])[-DATES:])
    yield "came", {"times": said.get("times_24_h", 0), "week": said.get("times_7_days", 0), "dates": dates}
    if said.get("stop_resetting"):
        yield "stop_resetting", {}


def facts_of(turn: Turn, about: list[Member], told: tuple[Told, ...], now: int) -> dict[str, Any]:
    """The same for programs: names and units of the archive's table `event`, times in UTC ms."""
    alert = turn.alert
    return {
        "version": 1, "alert": alert.id, "turn": alert.turn, "kind": turn.kind, "state": alert.state, "at": now,
        "priority": alert.priority, "members": [_fact(*one) for one in zip(about, told, strict=True)],
    }  # fmt: skip


def _fact(member: Member, told: Told) -> dict[str, Any]:
    cause, given = member.cause, member.facts
    known = {key: given.get(key) for key in ("cell", "value", "threshold", "value_unit", "cuts", "severity", "code")}
    return {
        "fingerprint": cause.fingerprint, "fault": cause.fault, "pattern": cause.pattern, "site": cause.site,
        "stack": cause.stack, "module": cause.module, "priority": member.priority, "standing": member.standing,
        "since": member.since or member.entered, "left": member.left, "what": told.what, "where": told.where,
        "numbers": told.numbers, "actions": list(told.actions), "safety": told.safety, "link": told.link,
        "runbook": told.runbook, **known,
    }  # fmt: skip


def plot_of(alert: Alert, language: str = ENGLISH) -> dict[str, Any] | None:
    """What a picture of this alert shows: the keys of pipeline.alerts.picture; None where no module is meant."""
    worst = alert.worst
    if not worst.cause.module:
        return None
    keys = ("site", "stack", "module", "cell", "day", "date", "ts", "fault", "threshold", "value_unit")
    return {key: worst.facts[key] for key in keys if worst.facts.get(key) is not None} | {"language": language}
