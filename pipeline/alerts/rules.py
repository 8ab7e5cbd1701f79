"""The numbers by which troubles become alerts: how long they hold on, are collected, and have to be gone. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cellherd.config import FleetConfig
from cellherd.faults import catalogue
from cellherd.settings_people import Route
from pipeline.alerts.hiding import OFFLINE, PLATFORM, is_comm
from pipeline.alerts.state import Alert, Cause, Silence

MINUTE = 60_000
LINE_MS = 2 * MINUTE
"""A lost line waits for its collector to be called silent: 180 s at most, and the line itself is silent for 60 s."""
OFFLINE_MS = MINUTE
"""A silent collector waits for others: many at once are an outage of the platform."""
JOIN_MS = 5 * MINUTE
"""So long after an alert was raised, the same trouble in another module of the site joins it."""
MORE_MS = MINUTE
"""Modules that join are told together, at most so often."""
CALM_MS = 6 * 60 * MINUTE
"""An alert that chatters has to be gone for so long."""
PLATFORM_MS = 10 * MINUTE
BALANCING = tuple(
    fault.id for fault in catalogue().values()
    if fault.category in ("cell_voltage", "pack_voltage", "balance", "soc") and fault.severity != "lockout"
)  # fmt: skip
"""What a planned balancing makes by itself, and what a window for it keeps back unless it names faults."""
FEWEST_SITES = 3
"""Below this number of silent sites nobody speaks of the platform."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of escalation: a route's person, after so many minutes without an acknowledgement."""

    person: str
    after_ms: int


@dataclass(frozen=True, slots=True)
class Rules:
    """What fleet.toml says about alerts, as the machine needs it. Times in ms."""

    group_ms: int = 500
    clear_ms: int = 5 * MINUTE
    chatter_turns: int = 6
    platform_share: float = 0.2
    sites: int = 0
    installers: Mapping[str, str] = field(default_factory=dict)
    routes: tuple[Route, ...] = ()
    silences: tuple[Silence, ...] = ()

    def hold_ms(self, cause: Cause) -> int:
        """How long a trouble must stand before it is told; 0: it is told even if it is gone by then."""
        if cause.fault == OFFLINE:
            return OFFLINE_MS
        return LINE_MS if is_comm(cause.fault) and cause.fault != PLATFORM and not cause.pattern else 0

    def hold_clear_ms(self, alert: Alert) -> int:
        """How long all of an alert must be gone. A night's finding is judged once a day: that is hold enough."""
        if all(member.cause.pattern for member in alert.members):
            return 0
        return CALM_MS if alert.chattering else self.clear_ms

    def chain(self, site: str, priority: int) -> Sequence[Step]:
        """Who is asked next if nobody acknowledges an alert, in order."""
        steps: list[Step] = []
        for route in self.routes:
            if priority <= min(route.priority, 2) and fits(route, site, self.installers):
                after = route.escalate_after_min * MINUTE
                steps += [Step(person, after * (n + 1)) for n, person in enumerate(route.escalate)]
        return sorted(steps, key=lambda step: step.after_ms)


def fits(route: Route, site: str, installers: Mapping[str, str]) -> bool:
    """Whether a route is meant for a site; what has no site goes to routes that name neither."""
    return route.site in (None, site) and route.installer in (None, installers.get(site))


def rules_of(fleet: FleetConfig) -> Rules:
    """The rules that fleet.toml gives."""
    alerts = fleet.alerts
    return Rules(
        group_ms=round(1000 * alerts.group_s),
        clear_ms=round(MINUTE * alerts.clear_after_min),
        chatter_turns=alerts.chatter_turns,
        platform_share=alerts.platform_share,
        sites=len(fleet.site),
        installers={site.id: site.installer for site in fleet.site},
        routes=tuple(fleet.route),
        silences=tuple(_planned(fleet)),
    )


def _planned(fleet: FleetConfig) -> list[Silence]:
    return [
        Silence(
            f"window {n}",
            round(window.begin.timestamp() * 1000),
            round(window.end.timestamp() * 1000),
            window.site or "",
            window.stack or "",
            window.module or "",
            tuple(window.faults) or BALANCING if window.kind == "balancing" else tuple(window.faults),
            window.kind,
        )
        for n, window in enumerate(fleet.window, start=1)
    ]
