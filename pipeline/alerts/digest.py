"""The morning's digest: what changed since the last one, what to do first, who is silent, what was worked out.

A day with nothing to say has no digest, but after a week one line comes all the same: proof that we are alive.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from cellherd.config import FleetConfig
from pipeline.alerts.channel import Message
from pipeline.alerts.hiding import OFFLINE
from pipeline.alerts.messages import listed
from pipeline.alerts.news import words
from pipeline.alerts.people import Person, concerned
from pipeline.alerts.state import DAY, Alert
from pipeline.sentences import clock, say

WORKLIST = 10
ALIVE_DAYS = 7
STATES = ("pending", "acked", "snoozed", "clearing")
"""States that a line names."""


@dataclass(frozen=True, slots=True)
class Morning:
    """One person's morning: when their last digest was made (UTC ms, 0: never), and the night's coverage by site."""

    person: Person
    last: int
    now: int
    covered: Mapping[str, str]

    @property
    def day(self) -> str:
        """Today on the person's calendar, ISO."""
        return self._local().date().isoformat()

    def due(self, last_day: str) -> bool:
        """Whether it is time for today's digest."""
        return self.person.digest is not None and self._local().time() >= self.person.digest and self.day > last_day

    def _local(self) -> datetime:
        return datetime.fromtimestamp(self.now / 1000, ZoneInfo(self.person.tz))


def digest(morning: Morning, alerts: Iterable[Alert], fleet: FleetConfig) -> Message | None:
    """Today's digest for one person; None if there is nothing to say and they heard of us within a week."""
    person, zone, language = morning.person, morning.person.tz, morning.person.language
    mine = [alert for alert in alerts if alert.site == "" or concerned(person.id, alert.site, fleet)]
    since = max(morning.last, morning.now - 8 * DAY)
    open_now = sorted((a for a in mine if a.open and a.standing), key=_rank)
    new = [a for a in mine if a.turn and a.raised > since]
    over = [a for a in mine if a.state == "resolved" and a.turn and a.at > since]
    key = f"digest.{person.id}.{morning.day}"
    if not (new or over or open_now):
        if morning.now - morning.last < ALIVE_DAYS * DAY:
            return None
        alive = f"{say(language, 'digest_watching')} {_coverage(morning, fleet)}"
        return listed(key, "digest", say(language, "digest_quiet"), [alive], language)
    counts = {"new": len(new), "over": len(over), "open": len(open_now)}
    lines = [say(language, "digest_since", at=clock(since, zone, language), **counts)]
    lines += _section("digest_todo", [_line(a, fleet, person) for a in open_now], language)
    lines += _section("digest_resolved", [_line(a, fleet, person) for a in over], language)
    silent = sorted({m.cause.site for a in open_now for m in a.members if m.standing and m.cause.fault == OFFLINE})
    lines += _section("digest_silent", silent, language)
    title = say(language, "digest_title", day=morning.day, n=len(open_now))
    return listed(key, "digest", title, [*lines, "", _coverage(morning, fleet)], language)


def _rank(alert: Alert) -> tuple[int, float, int]:
    return alert.worst.priority, -float(alert.worst.facts.get("score") or 0), alert.at


def _line(alert: Alert, fleet: FleetConfig, person: Person) -> str:
    told, language = words(alert.worst, fleet, person.tz, person.language), person.language
    others = len(alert.members) - 1
    where = say(language, "and_more", where=told.where, n=others) if others else told.where
    state = f" ({say(language, f'state_{alert.state}')})" if alert.state in STATES else ""
    return f"- {told.what}: {where}{state}"


def _section(title: str, lines: list[str], language: str) -> list[str]:
    if not lines:
        return []
    more = [say(language, "others", n=len(lines) - WORKLIST)] if len(lines) > WORKLIST else []
    return ["", f"{say(language, title)}:", *lines[:WORKLIST], *more]


def _coverage(morning: Morning, fleet: FleetConfig) -> str:
    """How many of the person's sites the last nights worked out."""
    language = morning.person.language
    mine = [site.id for site in fleet.site if concerned(morning.person.id, site.id, fleet)]
    fresh = str(datetime.fromtimestamp(morning.now / 1000, ZoneInfo(morning.person.tz)).date() - timedelta(days=2))
    missing = [site for site in mine if morning.covered.get(site, "") < fresh]
    said = say(language, "digest_covered", done=len(mine) - len(missing), all=len(mine))
    return f"{said} {say(language, 'digest_missing', sites=', '.join(missing[:WORKLIST]))}" if missing else said
