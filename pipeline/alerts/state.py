"""What is remembered of alerts: who is in trouble, since when, what was told of it, and what an operator said.

Every value is frozen; the machine makes new ones. Times are UTC ms on the server's clock, except a member's `since`,
which is when the trouble itself began.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

State = Literal["pending", "firing", "acked", "snoozed", "clearing", "resolved"]
"""`ok` is an alert that nobody remembers. `pending`: collecting its group, holding on, or hidden."""
DAY = 86_400_000
TRACE = 50
"""Times kept of a trouble's raises."""


class Cause(msgspec.Struct, frozen=True):
    """What is wrong with what. `pattern` is an analysis' own name for it, "" for live events."""

    fault: str
    site: str = ""
    stack: str = ""
    module: str = ""
    pattern: str = ""

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits. A finding that gets worse, or turns out to be another cell's, stays the same trouble."""
        said = "|".join((self.site, self.stack, self.module, self.family))
        return sha256(said.encode()).hexdigest()[:16]

    @property
    def family(self) -> str:
        """What counts as the same trouble in another module."""
        return self.pattern or self.fault


class Signal(msgspec.Struct, frozen=True):
    """A trouble that enters, leaves, or has news (`note`). `facts`: its row, for the words."""

    phase: Literal["enter", "leave", "note"]
    cause: Cause
    ts: int
    priority: int
    facts: dict[str, Any] = {}


class Action(msgspec.Struct, frozen=True):
    """What an operator decided about one alert, by its id or the beginning of it."""

    choice: Literal["ack", "snooze"]
    alert: str
    by: str = ""
    until: int = 0


class Silence(msgspec.Struct, frozen=True):
    """Planned work: troubles that fit are kept back until it ends. Empty fields fit everything."""

    id: str
    begin: int
    end: int
    site: str = ""
    stack: str = ""
    module: str = ""
    faults: tuple[str, ...] = ()
    why: str = ""

    def hides(self, cause: Cause, now: int) -> bool:
        """Whether it covers this trouble at this moment."""
        wanted = (self.site or cause.site, self.stack or cause.stack, self.module or cause.module)
        fits = wanted == (cause.site, cause.stack, cause.module)
        return self.begin <= now < self.end and fits and (not self.faults or cause.fault in self.faults)


class Member(msgspec.Struct, frozen=True):
    """One trouble in an alert. `news`: it has something that was not told yet; `told`: people know of it."""

    cause: Cause
    priority: int
    since: int
    entered: int
    standing: bool = True
    news: bool = True
    told: bool = False
    left: int = 0
    raises: tuple[int, ...] = ()
    facts: dict[str, Any] = {}


class Alert(msgspec.Struct, frozen=True):
    """One or several troubles that people hear of together. `turn` counts what was told, `at` is when `state` began."""

    id: str
    site: str
    family: str
    state: State
    at: int
    members: tuple[Member, ...]
    priority: int = 4
    turn: int = 0
    raised: int = 0
    told: int = 0
    level: int = 0
    until: int = 0
    by: str = ""
    before: Literal["firing", "acked", "snoozed"] = "firing"
    chattering: bool = False
    hidden: str = ""

    @property
    def open(self) -> bool:
        """Whether it is not over."""
        return self.state != "resolved"

    @property
    def standing(self) -> bool:
        """Whether anything in it still stands."""
        return any(member.standing for member in self.members)

    @property
    def worst(self) -> Member:
        """The member that says what the alert is about."""
        return min(self.members, key=lambda member: (not member.standing, member.priority, member.entered))

    def raises_since(self, since: int) -> int:
        """How often it came since then: the count of the member that came most often."""
        return max(sum(at > since for at in member.raises) for member in self.members)

    def named(self, fingerprint: str) -> Member | None:
        """The member of this fingerprint."""
        return next((member for member in self.members if member.cause.fingerprint == fingerprint), None)

    def with_member(self, member: Member) -> Alert:
        """The alert with a member added or changed."""
        print_ = member.cause.fingerprint
        others = tuple(other for other in self.members if other.cause.fingerprint != print_)
        return replace(self, members=(*others, member))


def earlier(alert: Alert, ms: int) -> Alert:
    """The alert as if all of it had been so much earlier: the clock was set back, and no time may lie ahead of it."""
    members = tuple(
        replace(
            member, entered=member.entered - ms, left=member.left and member.left - ms,
            raises=tuple(at - ms for at in member.raises),
        )
        for member in alert.members
    )  # fmt: skip
    times = {name: at and at - ms for name in ("raised", "told", "until") if (at := getattr(alert, name)) is not None}
    return replace(alert, at=alert.at - ms, members=members, **times)


TurnKind = Literal["raised", "again", "changed", "resolved", "escalated", "chattering"]


class Turn(msgspec.Struct, frozen=True):
    """A change that people hear of: the alert after it, the members it is about, and why it is told."""

    alert: Alert
    kind: TurnKind
    members: tuple[Member, ...]
    why: str = ""

    @property
    def key(self) -> str:
        """The turn's own name, the same at every attempt to tell it."""
        return f"{self.alert.id}.{self.alert.turn}"

    @property
    def earlier(self) -> str:
        """The key of the turn before; "" at the first."""
        return f"{self.alert.id}.{self.alert.turn - 1}" if self.alert.turn > 1 else ""
