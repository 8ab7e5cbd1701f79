"""Who is told: routes, people and their zones, quiet hours, holidays, and who is asked next. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from cellherd import settings_people as settings
from cellherd.config import FleetConfig
from cellherd.settings_people import Route
from pipeline.alerts.channel import ChannelName, Recipient
from pipeline.alerts.rules import fits
from pipeline.sentences import ENGLISH

URGENT = 1
"""The priority that may wake people."""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who is told: the ways to them, the preferred one first, and their day. An address has only one way."""

    id: str
    ways: tuple[Recipient, ...]
    tz: str = "UTC"
    quiet: tuple[time, time] | None = None
    digest: time | None = None
    language: str = ENGLISH

    def may_hear_at(self, now: int, priority: int) -> int:
        """The earliest time (UTC ms) at which a message of this priority may reach them: now, or after quiet hours."""
        if self.quiet is None or priority <= URGENT:
            return now
        local = datetime.fromtimestamp(now / 1000, ZoneInfo(self.tz))
        first, last = self.quiet
        at = local.time()
        asleep = first <= at < last if first <= last else at >= first or at < last
        if not asleep:
            return now
        day = local.date() + timedelta(days=1 if at >= last else 0)
        return round(datetime.combine(day, last, ZoneInfo(self.tz)).timestamp() * 1000)


def told_of(site: str, priority: int, fleet: FleetConfig, now: int) -> list[Person]:
    """Everybody with a fitting route, once each, and who stands in for those away."""
    installers = _installer(site, fleet)
    fitting = [route for route in fleet.route if priority <= route.priority and fits(route, site, installers)]
    found = {person.id: person for route in fitting for person in of_route(route, fleet, now)}
    return list(found.values())


def of_route(route: Route, fleet: FleetConfig, now: int) -> list[Person]:
    """A route's people and bare addresses, Telegram first."""
    named = [person_of(name, fleet, now) for name in route.people]
    language = route.language or fleet.alerts.language
    return [*named, *(address(way, language) for way in _bare(route))]


def _bare(route: Route) -> list[Recipient]:
    named: tuple[tuple[ChannelName, list[str]], ...] = (
        ("telegram", route.telegram), ("mail", route.mail), ("webhook", route.webhook),
    )  # fmt: skip
    return [Recipient(channel, name) for channel, names in named for name in names]


def address(way: Recipient, language: str = ENGLISH) -> Person:
    """A bare address as a person: no quiet hours, no digest, no second way."""
    return Person(f"{way.channel}:{way.address}", (way,), language=language)


def known(name: str, way: Recipient, fleet: FleetConfig) -> Person:
    """Whoever was told by this way, which comes first now."""
    entry = next((entry for entry in fleet.person if entry.id == name), None)
    if entry is None:
        spoken = (route.language for route in fleet.route if route.language and way in _bare(route))
        return address(way, next(spoken, fleet.alerts.language))
    person = as_person(entry, fleet)
    return replace(person, ways=(way, *(other for other in person.ways if other != way)))


def person_of(name: str, fleet: FleetConfig, now: int) -> Person:
    """A person of fleet.toml, or whoever stands in for them today; holidays that lead in a circle end at the last."""
    entries = {entry.id: entry for entry in fleet.person}
    asked = {name}
    while (other := _stands_in(entries[name], now)) and other not in asked:
        asked.add(other)
        name = other
    return as_person(entries[name], fleet)


def as_person(entry: settings.Person, fleet: FleetConfig | None = None) -> Person:
    """An entry of fleet.toml. Who names no language is told in the fleet's."""
    ways = [Recipient("telegram", entry.telegram)] if entry.telegram else []
    ways += [Recipient("mail", entry.mail)] if entry.mail else []
    language = entry.language or (fleet.alerts.language if fleet else ENGLISH)
    return Person(entry.id, tuple(ways), entry.tz, entry.quiet, entry.digest, language)


def _stands_in(entry: settings.Person, now: int) -> str:
    today = datetime.fromtimestamp(now / 1000, UTC).astimezone(ZoneInfo(entry.tz)).date()
    return next((away.stands_in for away in entry.away if away.first <= today <= away.last), "")


def concerned(person: str, site: str, fleet: FleetConfig) -> bool:
    """Whether a site is any business of a person's, whatever the priority: for their digest."""
    installers = _installer(site, fleet)
    return any(person in (*route.people, *route.escalate) and fits(route, site, installers) for route in fleet.route)


def _installer(site: str, fleet: FleetConfig) -> dict[str, str]:
    return next(({site: entry.installer} for entry in fleet.site if entry.id == site), {})
