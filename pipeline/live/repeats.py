"""A lockout that keeps coming back: three times in a day, five in a week, or at once after its release."""

from __future__ import annotations

from collections.abc import Iterator

from cellherd.faults import catalogue
from pipeline.limits import DAY
from pipeline.live.events import Event
from pipeline.live.levels import number
from pipeline.live.state import Episode, Module

REPEAT = "repeat_lockout"
COUNTED = frozenset(
    fault.id for fault in catalogue().values()
    if fault.severity in ("protection", "lockout", "fault") and fault.category not in ("comm", "stack", "config", "soc")
    and (fault.severity != "fault" or fault.cuts not in ("none", "varies")) and fault.id != REPEAT
)  # fmt: skip
"""Faults whose return is a lockout: what cuts a path. No lost line, no wrong percentage, and no defect of a cell, a
lead or a sensor with which the battery works on: these come and go, and nobody resets anything."""


def repeats(module: Module, event: Event, *, missed: int = 0) -> Iterator[Event]:
    """The repeat lockout that an enter makes, or a note if it stands already; changes `module`.

    `missed` episodes are those that only a counter of the device tells of.
    """
    if event.fault not in COUNTED:
        return
    times = module.entered.get(event.fault, [])
    times = [at for at in times if at > event.ts - 7 * DAY] + [event.ts] * max(1, missed)
    module.entered[event.fault] = times[-50:]
    in_day = sum(at > event.ts - DAY for at in times)
    gone = module.left.get(event.fault)
    at_once = gone is not None and 0 <= event.ts - gone <= 1000 * number(REPEAT, "at_once_s")
    often = in_day >= number(REPEAT, "times_a_day") or len(times) >= number(REPEAT, "times_a_week")
    if not (often or at_once):
        return
    resets = sum(at > event.ts - DAY for at in module.resets)
    evidence = {
        "of": event.fault, "times_24_h": in_day, "times_7_days": len(times), "at_once": at_once, "resets_24_h": resets,
        "missed": missed, "stop_resetting": at_once or resets > 0, "enters": times[-10:],
    }  # fmt: skip
    stands = module.standing.get(REPEAT)
    since = stands.since if stands else event.ts
    if stands is None:
        module.standing[REPEAT] = Episode(event.ts, "derived", REPEAT, event.cuts, event.cell, event.late)
    day = in_day >= number(REPEAT, "times_a_day") or at_once
    yield Event(
        event.place, event.unit, event.kind, "note" if stands else "enter", REPEAT, event.ts, since, "derived",
        event.cuts, event.late, code="again" if stands else event.fault, cell=event.cell,
        value=float(in_day if day else len(times)),
        threshold=float(number(REPEAT, "times_a_day" if day else "times_a_week")), value_unit="count",
        evidence=evidence, identity=event.identity,
    )  # fmt: skip


def settled(module: Module, ts: int) -> Iterator[Event]:
    """The repeat lockout leaves a day after its last return."""
    stands = module.standing.get(REPEAT)
    if stands is None:
        return
    last = max((times[-1] for times in module.entered.values() if times), default=stands.since)
    if ts - last < DAY or module.standing.keys() & COUNTED:
        return
    del module.standing[REPEAT]
    yield Event(
        module.place, module.unit, module.kind, "leave", REPEAT, last + DAY, stands.since, "derived", stands.cuts,
        stands.late, cell=stands.cell, evidence={"after_ms": last + DAY - stands.since},
    )  # fmt: skip
