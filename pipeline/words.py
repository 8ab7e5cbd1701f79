"""A finding or an event as a person hears it: what, where, how much, since when, how sure, why, and what to do next.

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
from pipeline.sentences import ENGLISH, decimal, say

Finding = Mapping[str, Any]
"""One row of the table `finding` (design A.5)."""

URGENCY = {priority: say(ENGLISH, f"urgency_{priority}") for priority in (1, 2, 3, 4)}
"""What a priority means to the person who reads it."""

UNITS = {
    "mA": (0.001, "A", 1),
    "mAh": (0.001, "Ah", 1),
    "0.1 %": (0.1, "%", 1),
    "0.1 degC": (0.1, "°C", 1),
    "degC": (1, "°C", 1),
    "K": (1, "K", 1),
    "mV": (1, "mV", 0),
    "mV as V": (0.001, "V", 1),
    "count": (1, "times", 0),
    "ms": (1 / 60_000, "min", 0),
}
"""Units of the data that people do not use: the factor, their own unit and its decimals."""

SHORT_YEARS = 2.0
"""Below it a span is told in months."""
BESIDE = (
    ("soc", "soc_pm", "0.1 %"),
    ("current", "current_ma", "mA"),
    ("voltage", "voltage_mv", "mV as V"),
    ("temperature", "tmax", "0.1 degC"),
)
"""What is told of the moment of an event: sentence, key in its evidence's numbers, unit."""
BEFORE_MS = 2 * 3_600_000
AFTER_MS = 3_600_000
"""The time around an event that the dashboard opens with."""

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
    fault: str = ""
    beside: str = ""
    code: str = ""
    never: tuple[str, ...] = ()
    runbook: str = ""
    module: str = ""
    """site/stack/module, "" for what is of a site or of the fleet."""


def tell(finding: Finding, fleet: FleetConfig, language: str = ENGLISH) -> Told:
    """Put a finding or an event into words; what the catalogue does not know is shown by its own name."""
    fault = catalogue(language).get(finding.get("fault") or "")
    return Told(
        fingerprint=fingerprint(finding),
        priority=finding.get("priority") or (fault.priority if fault else 3),
        what=fault.title if fault else _plain(finding.get("fault") or finding.get("pattern") or "finding"),
        where=place(finding, fleet, language),
        numbers=_numbers(finding, language),
        since=_since(finding, language),
        sure=_sure(finding.get("confidence"), language),
        reasons=tuple(_reason(entry, language) for entry in _entries(finding.get("reasons"))),
        causes=fault.causes if fault else (),
        actions=_actions(finding, fault, language),
        safety=fault.safety if fault else "",
        link=_link(finding, fleet),
        fault=fault.id if fault else "",
        beside=_beside(finding, language),
        code=_code(finding),
        never=fault.never if fault else (),
        runbook=fleet.alerts.runbook_url.replace("{fault}", fault.id) if fault else "",
        module=_module(finding),
    )


def _module(finding: Finding) -> str:
    place = [finding.get(key) for key in ("site", "stack", "module")]
    return "/".join(map(str, place)) if all(place) else ""


@dataclass(frozen=True, slots=True)
class Brief:
    """A finding on one line: what, its numbers, the reasons, the first thing to do, and for how many days."""

    what: str
    numbers: str
    why: str
    todo: str
    days: int


def brief(finding: Finding) -> Brief:
    """A finding in the few words that a table's row has room for."""
    fault = catalogue().get(finding.get("fault") or "")
    reasons = [_reason(entry, ENGLISH) for entry in _entries(finding.get("reasons"))]
    day, since = finding.get("day"), finding.get("since_day")
    lasting = (day - since).days + 1 if isinstance(day, date) and isinstance(since, date) else 1
    actions = _actions(finding, fault, ENGLISH)
    what = fault.title if fault else _plain(finding.get("fault") or finding.get("pattern") or "finding")
    return Brief(what, _numbers(finding, ENGLISH), "; ".join(reasons), actions[0] if actions else "", max(1, lasting))


def fingerprint(finding: Finding) -> str:
    """Sixteen hex digits of what makes two findings the same trouble; the day is no part of it."""
    said = json.dumps([finding.get(key) for key in IDENTITY])
    return sha256(said.encode()).hexdigest()[:16]


def place(finding: Finding, fleet: FleetConfig, language: str = ENGLISH) -> str:
    """Where: the site's name, then stack, module and cell (from 1)."""
    names = {site.id: site.name or site.id for site in fleet.site}
    site = str(finding.get("site") or "")
    parts = [names.get(site, site)] if site else [say(language, "whole_fleet")]
    parts += [say(language, word, name=finding[word]) for word in ("stack", "module") if finding.get(word)]
    parts += [say(language, "cell", name=finding["cell"] + 1)] if finding.get("cell") is not None else []
    return ", ".join(parts)


def quantity(value: float, unit: str | None, language: str = ENGLISH) -> str:
    """A number with a unit that people use: quantity(231, "0.1 degC") is "23.1 °C"."""
    if unit == "years":
        return _years(value, language)
    factor, shown, decimals = UNITS.get(unit or "", (1, unit or "", _decimals(float(value))))
    shown = say(language, shown) if unit == "count" else shown
    return f"{decimal(f'{value * factor:.{decimals}f}', language)} {shown}".strip()


def _decimals(value: float) -> int:
    """As many as three digits need: nothing that we work out is known better."""
    return 0 if round(value, 2).is_integer() else max(0, 3 - len(str(int(abs(round(value, 1))))))


def _years(value: float, language: str) -> str:
    """A span of years; a short one in months, for "0 years" says neither whether it is over nor when."""
    if value >= SHORT_YEARS:
        return say(language, "years", n=decimal(f"{value:.1f}", language))
    months = round(12 * max(value, 0.0))
    return say(language, "no_month" if months < 1 else "month" if months == 1 else "months", n=months)


def _numbers(finding: Finding, language: str) -> str:
    value, unit = finding.get("value"), finding.get("value_unit")
    if value is None:
        return ""
    lo, hi, limit = (finding.get(key) for key in ("lo", "hi", "threshold"))
    beside = [say(language, "limit", limit=quantity(limit, unit, language))] if limit is not None else []
    if lo is not None and hi is not None and lo < hi:
        beside.append(say(language, "between", lo=quantity(lo, unit, language), hi=quantity(hi, unit, language)))
    return quantity(value, unit, language) + (f" ({'; '.join(beside)})" if beside else "")


def _beside(finding: Finding, language: str) -> str:
    """The rest of the reading at the moment of an event: charge, current, voltage, temperature, cells."""
    numbers = _evidence(finding).get("numbers")
    if not isinstance(numbers, dict):
        return ""
    known = {key: value for key, value in numbers.items() if isinstance(value, int | float)}
    said = [
        say(language, name, value=quantity(known[key], unit, language)) for name, key, unit in BESIDE if key in known
    ]
    if "lo" in known and "hi" in known:
        lo, hi = (quantity(known[key], "mV", language) for key in ("lo", "hi"))
        said.append(say(language, "cells", lo=lo, hi=hi))
    return ", ".join(said)


def _code(finding: Finding) -> str:
    """The maker's code, where the device gave one: JK 0x0010."""
    if finding.get("origin") != "device" or not finding.get("code"):
        return ""
    return " ".join(str(finding[key]) for key in ("vendor", "code") if finding.get(key))


def _since(finding: Finding, language: str) -> str:
    day, since = finding.get("day"), finding.get("since_day")
    if not isinstance(since, date) or not isinstance(day, date) or since >= day:
        return say(language, "first_seen", day=day) if day else ""
    return say(language, "since_day", day=since, days=(day - since).days + 1)


def _sure(confidence: float | None, language: str) -> str:
    if confidence is None:
        return ""
    word = "certain" if confidence >= 0.9 else "likely" if confidence >= 0.6 else "suspicion"
    return say(language, word, share=f"{confidence:.0%}")


def _actions(finding: Finding, fault: Fault | None, language: str) -> tuple[str, ...]:
    known = [catalogue(language).get(_id(entry)) for entry in _entries(finding.get("action"))]
    named = [step for meant in known if meant for step in meant.actions]
    return tuple(dict.fromkeys(named)) or (fault.actions if fault else ())


def _reason(entry: Any, language: str) -> str:
    """`{"id": "came_within_24_hours", "value": 4, "threshold": 3, "value_unit": "count"}` as words."""
    known = catalogue(language).get(_id(entry))
    title = known.title if known else _plain(_id(entry))
    given = isinstance(entry, dict) and isinstance(entry.get("value"), int | float)
    numbers = _numbers(entry, language) if given else ""
    return f"{title}: {numbers}" if numbers else title


def _evidence(finding: Finding) -> dict[str, Any]:
    said = json.loads(finding.get("evidence") or "{}")
    return said if isinstance(said, dict) else {}


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
    """The module's dashboard, at the time meant: around an event, else the evidence's own window."""
    if not fleet.dashboard_url or not finding.get("module"):
        return ""
    chosen = {f"var-{key}": finding[key] for key in ("site", "stack", "module")}
    ts, window = finding.get("ts"), _evidence(finding)
    first, last = (ts - BEFORE_MS, ts + AFTER_MS) if ts else (window.get("from_ts"), window.get("to_ts"))
    if isinstance(first, int) and isinstance(last, int):
        chosen |= {"from": first, "to": last}
    return f"{fleet.dashboard_url.rstrip('/')}/d/fleet-module?{urlencode(chosen)}"
