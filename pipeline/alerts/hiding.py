"""What keeps a trouble from being told: planned work, a silent collector before it, a worse trouble of the same module.

Nothing is lost by it: what still stands when the reason is gone is told then. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from cellherd.faults import catalogue
from pipeline.alerts.state import Alert, Cause, Silence

PLATFORM = "platform_outage"
"""Not a fault of a battery but of what carries readings here, so it stands in no catalogue of theirs."""
OFFLINE = "collector_offline"
REPEAT = "repeat_lockout"
CUTTING = {"protection", "lockout"}
BEHIND = {"stack_link_fault", "stack_master_missing", "module_missing"}
"""Faults that a silent collector makes or hides, beside those of the category `comm`."""

Place = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class World:
    """What stands now, in the shape that the rules ask for."""

    now: int
    silences: Sequence[Silence]
    platform: bool
    offline: frozenset[str]
    cut: frozenset[Place]
    repeating: frozenset[Place]
    live: frozenset[tuple[Place, str]]


def world(alerts: Iterable[Alert], silences: Sequence[Silence], now: int) -> World:
    """The world as the open alerts know it."""
    causes = [member.cause for alert in alerts for member in alert.members if member.standing]
    cut = {place_of(c) for c in causes if c.module and severity(c.fault) in CUTTING and not c.pattern}
    return World(
        now,
        silences,
        any(cause.fault == PLATFORM for cause in causes),
        frozenset(cause.site for cause in causes if cause.fault == OFFLINE),
        frozenset(cut),
        frozenset(place_of(cause) for cause in causes if cause.fault == REPEAT),
        frozenset((place_of(cause), cause.fault) for cause in causes if not cause.pattern),
    )


def hidden_by(cause: Cause, world: World) -> str:
    """Why this trouble is kept back, in words; "" if it is not."""
    silence = next((silence for silence in world.silences if silence.hides(cause, world.now)), None)
    if silence and cause.fault != PLATFORM:
        return f"silence {silence.id}" + (f": {silence.why}" if silence.why else "")
    return next((why for why, holds in _reasons(cause, world) if holds), "")


def _reasons(cause: Cause, world: World) -> Iterator[tuple[str, bool]]:
    place, kind = place_of(cause), severity(cause.fault)
    of_line = is_comm(cause.fault) and not cause.pattern
    yield "an outage of the platform", of_line and world.platform
    yield "its collector is offline", of_line and cause.site in world.offline and cause.fault != OFFLINE
    yield "it is told live", bool(cause.pattern) and (place, cause.fault) in world.live
    yield "the repeat lockout tells it", place in world.repeating and kind in CUTTING and cause.fault != REPEAT
    yield "its module is cut off", place in world.cut and bool(cause.module) and kind == "warning"


def is_comm(fault: str) -> bool:
    """Whether a fault is about the way to the battery rather than the battery."""
    known = catalogue().get(fault)
    return fault in BEHIND or (known is not None and known.category == "comm")


def severity(fault: str) -> str:
    """A fault's kind; what the catalogue does not know is a fault."""
    known = catalogue().get(fault)
    return known.severity if known else "fault"


def place_of(cause: Cause) -> Place:
    """Site, stack and module."""
    return cause.site, cause.stack, cause.module
