"""The flow: which nights are owed, then one task a day, with retries and a page that says what was found."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import polars as pl
from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from cellherd.clock import SystemClock
from cellherd.config import FleetConfig, load_fleet
from pipeline.nightly.chores import daily, gathered
from pipeline.nightly.diary import Diary
from pipeline.nightly.morning import to_influx, to_people
from pipeline.nightly.nights import Shift, look, work
from pipeline.nightly.site_day import Night, Owed, sites_of
from pipeline.stores.archive import archive_of
from pipeline.words import tell


@flow(name="cellherd-nightly")
def owed_nights(config: Path, state: Path) -> int:
    """Work through every night that is owed; gives the number of findings. What fails stays owed."""
    fleet = load_fleet(config)
    with _shift(fleet, state) as shift:
        gathered(archive_of(fleet, state), shift.diary, shift.clock)
        owed = look(shift, sites_of(fleet))
    days = sorted({entry.day for entry in owed})
    found = sum(one_day(config, state, day, [entry.site.id for entry in owed if entry.day == day]) for day in days)
    in_order(config, state)
    return found


@task(retries=3, retry_delay_seconds=60, cache_policy=NO_CACHE)
def one_day(config: Path, state: Path, day: date, sites: list[str]) -> int:
    """One day of the sites that owe it, and its page; gives the number of findings."""
    fleet = load_fleet(config)
    owed = [Owed(site, day, "new") for site in sites_of(fleet) if site.id in sites]
    with _shift(fleet, state) as shift:
        nights = list(work(shift, owed))
    to_people(nights, [entry.site for entry in owed], fleet, state)
    for night in nights:
        create_markdown_artifact(page(night, fleet), key=f"night-{night.day}")
    return sum(_found(night).height for night in nights)


@task(cache_policy=NO_CACHE)
def in_order(config: Path, state: Path) -> None:
    """The archive's daily upkeep, where it is owed."""
    fleet = load_fleet(config)
    with _shift(fleet, state) as shift:
        daily(archive_of(fleet, state), fleet.archive, shift.diary, shift.clock)


@contextmanager
def _shift(fleet: FleetConfig, state: Path) -> Iterator[Shift]:
    diary = Diary(state / "nightly.db")
    try:
        yield Shift(archive_of(fleet, state), diary, SystemClock(), to_influx(fleet))
    finally:
        diary.close()


def page(night: Night, fleet: FleetConfig) -> str:
    """A night as Markdown."""
    found = _found(night).to_dicts()
    lines = [f"# {night.day}: {night.rows['module_day']} modules, {len(found)} findings", ""]
    if found:
        lines += ["| score | where | what | how much | since |", "|---|---|---|---|---|"]
    for row in found:
        told = tell(row, fleet)
        lines.append(f"| {row['score']:.0f} | {told.where} | {told.what} | {told.numbers} | {told.since} |")
    return "\n".join(lines)


def _found(night: Night) -> pl.DataFrame:
    return night.findings.filter(pl.col("status") == "finding")
