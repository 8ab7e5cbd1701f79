"""A finding as a person hears it: what, where, how much, since when, how sure, why, and what to do next.

The report, Telegram and e-mail all say the same, so the words are made here. Everything is plain text: whoever shows
it escapes it. The fault catalogue gives the meaning; numbers come from the finding.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from typing import Any
from urllib.parse import urlencode

from cellherd.config import FleetConfig
from cellherd.faults import Fault, catalogue

Finding = Mapping[str, Any]
"""One row of the table `finding` (design A.5)."""

URGENCY = {1: "Act now", 2: "Today", 3: "When you are there", 4: "For the record"}
"""What a priority means to the person who reads it."""

UNITS = {
    "mA": (0.001, "A", 1),
    "mAh": (0.001, "Ah", 1),
    "0.1 %": (0.1, "%", 1),
    "0.1 degC": (0.1, "°C", 1),
    "degC": (1, "°C", 1),
    "K": (1, "K", 1),
    "mV": (1, "mV", 0),
    "count": (1, "times", 0),
    "ms": (1 / 60_000, "min", 0),
}
"""Units of the data that people do not use: the factor, their own unit and its decimals."""

IDENTITY = ("analysis", "pattern", "site", "stack", "module")
"""A trouble may get worse, or turn out to be another cell's, and is still the same one."""


@dataclass(frozen=True, slots=True)
class Told:
    """A finding in words. `fingerprint` stays the same from day to day while the trouble is the same."""

    fingerprint: str
    priority: int
    what: str
    where: str
    numbers: str
    since: str
    sure: str
    reasons: tuple[str, ...]
    causes: tuple[str, ...]
    actions: tuple[str, ...]
    safety: str
    link: str


def tell(finding: Finding, fleet: FleetConfig) -> Told:
    """Put a finding into words; what the catalogue does not know is shown by its own name."""
    fault = catalogue().get(finding.get("fault") or "")
    return Told(
        fingerprint=fingerprint(finding),
        priority=finding.get("priority") or (fault.priority if fault else 3),
        what=fault.title if fault else _plain(finding.get("fault") or finding.get("pattern") or "finding"),
        where=place(finding, fleet),
        numbers=_numbers(finding),
        since=_since(finding),
        sure=_sure(finding.get("confidence")),
        reasons=tuple(_reason(entry) for entry in _entries(finding.get("reasons"))),
        causes=fault.causes if fault else (),
        actions=_actions(finding, fault),
        safety=fault.safety if fault else "",
        link=_link(finding, fleet),
    )


def fingerprint(finding: Finding) -> str:
    """Sixteen hex digits of what makes two findings the same trouble; the day is no part of it."""
    said = json.dumps([finding.get(key) for key in IDENTITY])
    return sha256(said.encode()).hexdigest()[:16]


def place(finding: Finding, fleet: FleetConfig) -> str:
    """Where: the site's name, then stack, module and cell (from 1)."""
    names = {site.id: site.name or site.id for site in fleet.site}
    site = str(finding.get("site") or "")
    parts = [names.get(site, site)] if site else ["the whole fleet"]
    parts += [f"{word} {finding[word]}" for word in ("stack", "module") if finding.get(word)]
    parts += [f"cell {finding['cell'] + 1}"] if finding.get("cell") is not None else []
    return ", ".join(parts)


def quantity(value: float, unit: str | None) -> str:
    """A number with a unit that people use: quantity(231, "0.1 degC") is "23.1 °C"."""
    factor, shown, decimals = UNITS.get(unit or "", (1, unit or "", 0 if float(value).is_integer() else 2))
    number = f"{value * factor:.{decimals}f}"
    return f"{number} {shown}".strip()


def _numbers(finding: Finding) -> str:
    value, unit = finding.get("value"), finding.get("value_unit")
    if value is None:
        return ""
    lo, hi, limit = (finding.get(key) for key in ("lo", "hi", "threshold"))
    beside = [f"limit {quantity(limit, unit)}"] if limit is not None else []
    if lo is not None and hi is not None and lo < hi:
        beside.append(f"probably between {quantity(lo, unit)} and {quantity(hi, unit)}")
    return quantity(value, unit) + (f" ({'; '.join(beside)})" if beside else "")


def _since(finding: Finding) -> str:
    day, since = finding.get("day"), finding.get("since_day")
    if not isinstance(since, date) or not isinstance(day, date) or since >= day:
        return f"first seen on {day}" if day else ""
    days = (day - since).days + 1
    return f"since {since} ({days} days)"


def _sure(confidence: float | None) -> str:
    if confidence is None:
        return ""
    word = "almost certain" if confidence >= 0.9 else "likely" if confidence >= 0.6 else "a suspicion"
    return f"{word} ({confidence:.0%})"


def _actions(finding: Finding, fault: Fault | None) -> tuple[str, ...]:
    known = [catalogue().get(_id(entry)) for entry in _entries(finding.get("action"))]
    named = [step for meant in known if meant for step in meant.actions]
    return tuple(dict.fromkeys(named)) or (fault.actions if fault else ())


def _reason(entry: Any) -> str:
    """`{"id": "came_within_24_hours", "value": 4, "threshold": 3, "value_unit": "count"}` as words."""
    known = catalogue().get(_id(entry))
    title = known.title if known else _plain(_id(entry))
    numbers = _numbers(entry) if isinstance(entry, dict) and isinstance(entry.get("value"), int | float) else ""
    return f"{title}: {numbers}" if numbers else title


def _entries(text: str | None) -> list[Any]:
    if not text:
        return []
    said = json.loads(text)
    entries = said if isinstance(said, list) else [said]
    return [entry for entry in entries if _id(entry)]


def _id(entry: Any) -> str:
    return str(entry.get("id") or "") if isinstance(entry, dict) else str(entry or "")


def _plain(name: str) -> str:
    return name.replace("_", " ")


def _link(finding: Finding, fleet: FleetConfig) -> str:
    if not fleet.dashboard_url or not finding.get("module"):
        return ""
    chosen = urlencode({f"var-{key}": finding[key] for key in ("site", "stack", "module")})
    return f"{fleet.dashboard_url.rstrip('/')}/d/fleet-module?{chosen}"
