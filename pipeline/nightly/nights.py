"""Every night that is owed, one after the other: what `cellherd nightly --due` and the Prefect flow call."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby

import polars as pl

from cellherd.clock import Clock
from pipeline.days import date_at
from pipeline.limits import HOUR, MINUTE
from pipeline.nightly.diary import Diary
from pipeline.nightly.site_day import REACH, Key, Night, Owed, Progress, Publish, Site, Store, due, nightly

QUARTER = 15 * MINUTE
"""All time zones differ by whole quarters of an hour, so local dates need be worked out for these only."""
OVERLAP = HOUR
"""Arrivals are looked at again for so long, for several ingesters do not write in step."""


def _nobody(_done: int, _all: int) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True)
class Shift:
    """All that a night shift works with. `progress` is told how many of a day's sites are done, and of how many."""

    store: Store
    diary: Diary
    clock: Clock
    publish: Publish | None = None
    progress: Progress = _nobody


def look(shift: Shift, sites: Sequence[Site]) -> list[Owed]:
    """Note what has arrived since the last look, and say which nights are owed."""
    now, known = shift.clock.wall(), shift.diary.arrived()
    shift.diary.note(arrivals(shift.store, now, max(known.values(), default=0) - OVERLAP, sites))
    return due(now, shift.diary.done(), shift.diary.arrived(), sites)


def arrivals(store: Store, now: int, since: int, sites: Sequence[Site]) -> dict[Key, int]:
    """The newest arrival (UTC ms) by site and local day, of readings of the last weeks that arrived after `since`."""
    today = datetime.fromtimestamp(now / 1000, UTC).date()
    rows = store.scan("reading", (today - REACH - timedelta(days=1), today)).filter(pl.col("arrival_ts") > since)
    modules = rows.filter(pl.col("kind") == "module")
    quarters = modules.group_by("site", at=pl.col("ts") // QUARTER * QUARTER).agg(pl.col("arrival_ts").max())
    zones, newest = {site.id: site.tz for site in sites}, dict[Key, int]()
    for site, at, arrived in quarters.collect(engine="streaming").iter_rows():
        if site in zones:
            key = (site, date_at(at, zones[site]))
            newest[key] = max(arrived, newest.get(key, 0))
    return newest


def work(shift: Shift, owed: Sequence[Owed]) -> Iterator[Night]:
    """Work through owed nights, oldest day first, and note each as done once it is stored.

    Raises diary.Busy where another worker is alive.
    """

    def progress(done: int, of: int) -> None:
        shift.diary.keep(shift.clock.wall())
        shift.progress(done, of)

    with shift.diary.working(shift.clock.wall()):
        for day, entries in groupby(sorted(owed, key=lambda entry: entry.day), key=lambda entry: entry.day):
            sites, begun = [entry.site for entry in entries], shift.clock.boot()
            night = nightly(shift.store, day, sites, progress, shift.publish)
            for site in sites:
                shift.diary.finish(site.id, day, night.upto.get(site.id, 0))
            shift.diary.took(day, shift.clock.boot() - begun, shift.clock.wall())
            yield night
