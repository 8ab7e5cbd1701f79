"""What comes in, as signals of one kind: the live engine's events and what the night's work found. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

from cellherd.faults import catalogue
from pipeline.alerts.state import Alert, Cause, Member, Signal

UNSURE = ("not_observable", "low_quality")
"""Statuses of a finding that say nothing about whether the trouble is still there."""
KEPT = ("finding", *UNSURE)


def of_event(row: Mapping[str, Any]) -> Signal:
    """An event of the live engine: a row of the table `event`, as `pending_event` keeps it."""
    cause = Cause(row["fault"], row["site"], row["stack"] or "", row["module"] or "")
    return Signal(row["phase"], cause, row["ts"], row["priority"], dict(row) if row["phase"] != "leave" else {})


def of_night(
    rows: Iterable[Mapping[str, Any]], covered: Mapping[str, str], alerts: Mapping[str, Alert]
) -> list[Signal]:
    """The findings of a night's work over the sites in `covered` (site -> the day worked out, ISO).

    A trouble is gone when its site was worked out, for the same day or a later one, without finding it again; where
    data were missing or doubtful nothing is said. An old day worked out again is no news.
    """
    known = {m.cause.fingerprint: m for a in alerts.values() for m in a.members if m.cause.pattern}
    signals, seen = [], set[str]()
    for row in rows:
        cause, day = cause_of(row), str(row["day"])
        priority = priority_of(row)
        if row["status"] in UNSURE:
            seen.add(cause.fingerprint)
        elif row["status"] == "finding" and priority < 4:
            seen.add(cause.fingerprint)
            before = known.get(cause.fingerprint)
            if before is None or day >= _day(before):
                signals.append(Signal("enter", cause, 0, priority, dict(row) | {"day": day}))
    for print_, member in known.items():
        worked = covered.get(member.cause.site, "")
        if member.standing and print_ not in seen and worked and worked >= _day(member):
            signals.append(Signal("leave", member.cause, 0, member.priority, {"day": worked}))
    return signals


def cause_of(row: Mapping[str, Any]) -> Cause:
    """What a finding is about; the same from day to day."""
    site, stack, module = (row.get(key) or "" for key in ("site", "stack", "module"))
    return Cause(row.get("fault") or "", site, stack, module, f"{row.get('analysis')}/{row.get('pattern')}")


def priority_of(row: Mapping[str, Any]) -> int:
    """A finding's own priority, else that of its fault."""
    known = catalogue().get(row.get("fault") or "")
    return int(row.get("priority") or (known.priority if known else 3))


def days_of(rows: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """The latest day of each site that the rows name."""
    latest: dict[str, str] = {}
    for row in rows:
        if row["site"]:
            latest[row["site"]] = max(str(row["day"]), latest.get(row["site"], ""))
    return latest


def finding_of(facts: Mapping[str, Any]) -> dict[str, Any]:
    """A member's facts as a row again, with dates as dates."""
    return {
        key: date.fromisoformat(value) if key in ("day", "since_day", "date") and isinstance(value, str) else value
        for key, value in facts.items()
    }


def _day(member: Member) -> str:
    return str(member.facts.get("day", ""))
