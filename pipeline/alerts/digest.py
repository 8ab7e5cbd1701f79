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
from pipeline.alerts.news import clock, words
from pipeline.alerts.people import Person, concerned
from pipeline.alerts.state import DAY, Alert

WORKLIST = 10
ALIVE_DAYS = 7
STATES = {"pending": "kept back", "acked": "acknowledged", "snoozed": "snoozed", "clearing": "going"}


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
    person, zone = morning.person, morning.person.tz
    mine = [alert for alert in alerts if alert.site == "" or concerned(person.id, alert.site, fleet)]
    since = max(morning.last, morning.now - 8 * DAY)
    open_now = sorted((a for a in mine if a.open and a.standing), key=_rank)
    new = [a for a in mine if a.turn and a.raised > since]
    over = [a for a in mine if a.state == "resolved" and a.turn and a.at > since]
    key = f"digest.{person.id}.{morning.day}"
    if not (new or over or open_now):
        if morning.now - morning.last < ALIVE_DAYS * DAY:
            return None
        return listed(
            key, "digest", "All quiet", [f"CellHerd is watching; nothing to report. {_coverage(morning, fleet)}"]
        )
    lines = [f"Since {clock(since, zone)}: {len(new)} new, {len(over)} resolved, {len(open_now)} open."]
    lines += _section("To do, the most urgent first", [_line(a, fleet, zone) for a in open_now], WORKLIST)
    lines += _section("Resolved", [_line(a, fleet, zone) for a in over], WORKLIST)
    silent = sorted({m.cause.site for a in open_now for m in a.members if m.standing and m.cause.fault == OFFLINE})
    lines += _section("Silent collectors", silent, WORKLIST)
    return listed(
        key, "digest", f"Digest of {morning.day}: {len(open_now)} open", [*lines, "", _coverage(morning, fleet)]
    )


def _rank(alert: Alert) -> tuple[int, float, int]:
    return alert.worst.priority, -float(alert.worst.facts.get("score") or 0), alert.at


def _line(alert: Alert, fleet: FleetConfig, zone: str) -> str:
    told = words(alert.worst, fleet, zone)
    more = f" and {len(alert.members) - 1} more" if len(alert.members) > 1 else ""
    state = f" ({STATES[alert.state]})" if alert.state in STATES else ""
    return f"- {told.what}: {told.where}{more}{state}"


def _section(title: str, lines: list[str], most: int) -> list[str]:
    if not lines:
        return []
    more = [f"and {len(lines) - most} more"] if len(lines) > most else []
    return ["", f"{title}:", *lines[:most], *more]


def _coverage(morning: Morning, fleet: FleetConfig) -> str:
    """How many of the person's sites the last nights worked out."""
    mine = [site.id for site in fleet.site if concerned(morning.person.id, site.id, fleet)]
    fresh = str(datetime.fromtimestamp(morning.now / 1000, ZoneInfo(morning.person.tz)).date() - timedelta(days=2))
    missing = [site for site in mine if morning.covered.get(site, "") < fresh]
    said = f"Nights worked out: {len(mine) - len(missing)} of {len(mine)} sites."
    return said + (f" Missing: {', '.join(missing[:WORKLIST])}." if missing else "")
