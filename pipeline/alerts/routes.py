"""Who is told: the routes of fleet.toml that fit a finding's site, installer and priority. Pure."""

from __future__ import annotations

from cellherd.config import FleetConfig
from cellherd.settings import Route
from pipeline.alerts.channel import Recipient


def recipients(site: str | None, priority: int, fleet: FleetConfig) -> list[Recipient]:
    """Everybody with a fitting route, once each. A finding without a site goes to routes that name neither."""
    installer = next((s.installer for s in fleet.site if s.id == site), None)
    fitting = [r for r in fleet.route if priority <= r.priority and _meant(r, site, installer)]
    return list(dict.fromkeys(person for route in fitting for person in people(route)))


def people(route: Route) -> list[Recipient]:
    """A route's recipients, Telegram first."""
    return [Recipient("telegram", a) for a in route.telegram] + [Recipient("mail", a) for a in route.mail]


def _meant(route: Route, site: str | None, installer: str | None) -> bool:
    return route.site in (None, site) and route.installer in (None, installer)
