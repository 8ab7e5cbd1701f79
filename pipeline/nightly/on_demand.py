"""A night's work as a person or a timer asks for it: with a bar on the screen, and told in words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

import polars as pl
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from cellherd.clock import SystemClock
from cellherd.config import load_fleet
from cellherd.errors import CellherdError
from cellherd.paths import default_state
from cellherd.settings import FleetConfig
from pipeline.alerts import Delivered
from pipeline.days import date_at
from pipeline.live.history import late
from pipeline.nightly.chores import daily, gathered
from pipeline.nightly.diary import Diary
from pipeline.nightly.explain import explained
from pipeline.nightly.morning import to_influx, to_people
from pipeline.nightly.nights import Shift, look, work
from pipeline.nightly.site_day import Night, Owed, Publish, Site, sites_of
from pipeline.stores.archive import Archive, archive_of
from pipeline.words import tell

SHOWN = 30
"""Findings in the summary; the report has them all."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is wanted: a date as typed (None: yesterday), a site (None: all), a module to explain, or what is owed."""

    day: str | None
    site: str | None
    explain: str | None
    due: bool


def run(asked: Asked, config: Path, state: Path | None) -> None:
    """Do it and say what was found. Raises CellherdError."""
    fleet, folder = load_fleet(config), state or default_state()
    sites = _chosen(fleet, asked.site)
    store = archive_of(fleet, folder)
    wanted = _date(asked.day) if asked.day else None
    if asked.explain:
        Console().print(
            *explained(store, wanted or _yesterday(sites[0]), asked.explain, [s.id for s in sites]), sep="\n"
        )
        return
    with _shift(store, folder, to_influx(fleet)) as shift:
        if asked.due:
            gathered(store, shift.diary, shift.clock)
        owed = look(shift, sites) if asked.due else [Owed(s, wanted or _yesterday(s), "new") for s in sites]
        nights = list(work(shift, owed))
        late(fleet, folder)
        tidied = daily(store, fleet.archive, shift.diary, shift.clock) if asked.due else None
    spoken = [night for night in nights if night.rows["module_day"]]
    for night in spoken:
        show(night, fleet)
    if not spoken:
        typer.echo(f"nights worked through: {len(nights)}, all without a reading" if nights else "nothing is owed")
    if tidied and (tidied.compacted or tidied.thinned or tidied.deleted):
        typer.echo(f"archive: {tidied.compacted} days compacted, {tidied.thinned} thinned, {tidied.deleted} deleted")
    _say(to_people(nights, sites, fleet, folder))


def _say(told: Delivered) -> None:
    if told.handed:
        typer.echo("alerts: handed to the notifier")
    elif told.news or told.sent or told.waiting:
        typer.echo(f"alerts: {told.news} new, {told.sent} sent, {told.waiting} waiting")
    for reason in told.failed:
        typer.echo(f"not sent: {reason}", err=True)


def _chosen(fleet: FleetConfig, only: str | None) -> list[Site]:
    sites = [site for site in sites_of(fleet) if only in (None, site.id)]
    if not sites:
        known = ", ".join(site.id for site in fleet.site) or "none yet: add a [[site]]"
        raise CellherdError(f"no site {only or ''!r} in fleet.toml; there are {known}")
    return sites


def _date(text: str) -> date:
    try:
        return datetime.strptime(text, "%Y-%m-%d").date()
    except ValueError:
        raise CellherdError(f"--day {text!r} is no date; write it as 2026-06-01") from None


def _yesterday(site: Site) -> date:
    return date_at(SystemClock().wall(), site.tz) - timedelta(days=1)


@contextmanager
def _shift(store: Archive, folder: Path, publish: Publish | None) -> Iterator[Shift]:
    """A night shift with a progress bar on standard error."""
    diary = Diary(folder / "nightly.db")
    try:
        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("sites of the day", total=None)
            yield Shift(
                store, diary, SystemClock(), publish, lambda done, of: bar.update(task, completed=done, total=of)
            )
    finally:
        diary.close()


def show(night: Night, fleet: FleetConfig) -> None:
    """What a night found, the most urgent first, in plain words."""
    modules = night.rows["module_day"]
    found = night.findings.filter(pl.col("status") == "finding")
    typer.echo(f"{night.day}: modules {modules}, findings {found.height}")
    if not found.height:
        return
    table = Table("score", "where", "what", "how much", "since", "do first", box=None)
    for row in found.head(SHOWN).to_dicts():
        told = tell(row, fleet)
        first = told.actions[0] if told.actions else ""
        table.add_row(f"{row['score']:.0f}", told.where, told.what, told.numbers, told.since, first)
    Console().print(table)
    if found.height > SHOWN:
        typer.echo(f"and {found.height - SHOWN} more: cellherd report shows them all")
