"""A machine of alerts to play with: signals by short words, a clock by hand, and what was told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from cellherd.faults import catalogue
from pipeline.alerts.machine import step
from pipeline.alerts.rules import Rules
from pipeline.alerts.state import Action, Alert, Cause, Signal, Silence, Turn

START = 1_773_500_000_000
SECOND, MINUTE, HOUR = 1000, 60_000, 3_600_000
TRIP = "cell_overvoltage_protection"


def signal(
    phase: Literal["enter", "leave", "note"], fault: str = TRIP, where: str = "farm/s1/m1", ts: int = START, **more: Any
) -> Signal:
    site, stack, module = (*where.split("/"), "", "")[:3]
    known = catalogue().get(fault)
    facts = {"fault": fault, "site": site, "stack": stack, "module": module, "ts": ts, **more}
    return Signal(phase, Cause(fault, site, stack, module), ts, known.priority if known else 1, facts)


class Herd:
    """Steps the machine and keeps all turns."""

    def __init__(self, rules: Rules | None = None) -> None:
        self.rules = rules or Rules(sites=10)
        self.alerts: dict[str, Alert] = {}
        self.turns: list[Turn] = []
        self.silences: list[Silence] = []
        self.now = START

    def step(self, *signals: Signal, actions: Sequence[Action] = (), after: int = 0) -> list[str]:
        """Let time pass, take signals, and return the kinds of what is told."""
        self.now += after
        done = step(self.alerts, (signals, actions), self.silences, self.now, self.rules)
        self.alerts.update(done.changed)
        self.turns += done.turns
        return [turn.kind for turn in done.turns]

    def enter(self, fault: str = TRIP, where: str = "farm/s1/m1", **more: Any) -> list[str]:
        return self.step(signal("enter", fault, where, self.now, **more))

    def leave(self, fault: str = TRIP, where: str = "farm/s1/m1") -> list[str]:
        return self.step(signal("leave", fault, where, self.now))

    def wait(self, ms: int, each: int = 30 * SECOND) -> list[str]:
        """Let time pass in ticks."""
        kinds: list[str] = []
        while ms > 0:
            kinds += self.step(after=min(each, ms))
            ms -= each
        return kinds

    def one(self) -> Alert:
        (alert,) = [alert for alert in self.alerts.values() if alert.open]
        return alert
