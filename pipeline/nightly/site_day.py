"""The night's work: a site's day of readings becomes small daily tables and findings. Any day can be done again.

Sites with the same midnights are read together, a few hundred modules at a time: memory follows the part, and not the
fleet. Everything that decides is in pipeline/analyses; here is only the order of things.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import groupby
from typing import Literal, TypeAlias

import polars as pl

from cellherd.config import FleetConfig
from pipeline.days import date_at, local_day
from pipeline.limits import HOUR, MINUTE
from pipeline.nightly.fleet import in_the_fleet
from pipeline.nightly.parts import CODE_VERSION, MEASURED, About, Part, Site, parts, tables_of
from pipeline.nightly.store import Store
from pipeline.schema import TABLES

__all__ = [
    "CODE_VERSION",
    "REACH",
    "Done",
    "Key",
    "Night",
    "Owed",
    "Progress",
    "Publish",
    "Site",
    "Store",
    "due",
    "nightly",
    "sites_of",
]

DAILY = MEASURED
SETTLE = 15 * MINUTE
"""After local midnight, so that what the outboxes still hold can come."""
GRACE = 6 * HOUR
"""After local midnight: a site that said nothing all day is then worked through as well."""
REACH = timedelta(days=31)
"""How far back a day can still be owed; `cellherd nightly --day` does older ones."""


@dataclass(frozen=True, slots=True)
class Night:
    """What a night gave: rows written by table, its findings' rows, and each site's newest arrival (UTC ms)."""

    day: date
    rows: Mapping[str, int]
    findings: pl.DataFrame
    upto: Mapping[str, int]


Progress: TypeAlias = Callable[[int, int], None]
"""Told after each part: how many sites are done, and of how many."""
Publish: TypeAlias = Callable[[str, pl.DataFrame], None]
"""Given each of the night's tables, and finding last, once they are in the archive."""


def sites_of(fleet: FleetConfig) -> list[Site]:
    """The registry's sites with what it knows of their modules' chemistry."""
    known = [module for module in fleet.module if module.kind == "module"]
    modules = {site.id: {(m.stack, m.id): m for m in known if m.site == site.id} for site in fleet.site}
    return [
        Site(
            site.id,
            site.installer,
            site.tz,
            {place: m.chemistry for place, m in modules[site.id].items()},
            {place: m.nominal_mah for place, m in modules[site.id].items() if m.nominal_mah},
            {place: About(m.model, m.installed, m.warranty) for place, m in modules[site.id].items()},
        )
        for site in fleet.site
    ]


def nightly(
    store: Store,
    day: date,
    sites: Sequence[Site],
    progress: Progress = lambda _done, _all: None,
    publish: Publish | None = None,
) -> Night:
    """Work through the local `day` of each site and replace its rows of the daily tables and of finding.

    Sites are measured part by part; then the fleet is looked at as a whole, from the small tables.
    """
    rows, upto, done = dict.fromkeys((*DAILY, "finding"), 0), dict[str, int](), 0
    findings = [pl.DataFrame(schema=TABLES["finding"])]
    by_zone = groupby(sorted(sites, key=lambda site: (site.tz, site.id)), key=lambda site: site.tz)
    for part in (part for tz, zone in by_zone for part in parts(store, local_day(day, tz), list(zone))):
        tables = tables_of(part, store)
        for table in DAILY:
            _replace(store, table, tables[table], part)
            rows[table] += tables[table].height
            if publish:
                publish(table, tables[table])
        findings.append(tables["finding"])
        upto |= dict(part.roster.group_by("site").agg(pl.col("upto").max()).iter_rows())
        done += len(part.sites)
        progress(done, len(sites))
    told = in_the_fleet(store, day, sites, pl.concat(findings))
    rows["finding"] = told.height
    if publish:
        publish("finding", told)
    return Night(day, rows, told.sort("score", descending=True, nulls_last=True), upto)


def _replace(store: Store, table: str, frame: pl.DataFrame, part: Part) -> None:
    store.replace(table, frame, where={"site": part.sites, "day": part.day.day})


Key: TypeAlias = tuple[str, date]
"""A site and its local day."""


@dataclass(frozen=True, slots=True)
class Done:
    """A night that is behind us: by which code, and up to which arrival (UTC ms; 0 = there was nothing)."""

    code_version: int
    upto: int


@dataclass(frozen=True, slots=True)
class Owed:
    """A site's day that is to be worked through, and why."""

    site: Site
    day: date
    why: Literal["new", "late rows", "new code"]


def due(now: int, done: Mapping[Key, Done], last_data: Mapping[Key, int], sites: Sequence[Site]) -> list[Owed]:
    """The nights that are owed at `now` (UTC ms), oldest first.

    A day is ready when its local midnight is 15 minutes past and data came, or 6 hours past. It is owed where it is not
    done, was done by other code, or `last_data` (newest arrival by site and day) is beyond what was worked through. A
    site's days begin with the first that data or a night is known of, so that an outage of ours is caught up with.
    """
    known = {*done, *last_data}
    begins = {site.id: min((day for at, day in known if at == site.id), default=date.max) for site in sites}
    owed = [entry for site in sites for entry in _owed(now, done, last_data, (site, begins[site.id]))]
    return sorted(owed, key=lambda entry: (entry.day, entry.site.id))


def _owed(now: int, done: Mapping[Key, Done], last_data: Mapping[Key, int], begins: tuple[Site, date]) -> list[Owed]:
    site, first = begins
    today = date_at(now, site.tz)
    days = [today - timedelta(days=n) for n in range(1, REACH.days + 1) if today - timedelta(days=n) >= first]
    whys = {day: _why(done.get((site.id, day)), last_data.get((site.id, day))) for day in days}
    return [
        Owed(site, day, why)
        for day, why in whys.items()
        if why and now >= local_day(day, site.tz).end + (SETTLE if (site.id, day) in last_data else GRACE)
    ]


def _why(done: Done | None, last: int | None) -> Literal["new", "late rows", "new code"] | None:
    if done is None:
        return "new"
    if last is not None and last > done.upto:
        return "late rows"
    return "new code" if done.code_version != CODE_VERSION else None
