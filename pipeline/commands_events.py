"""`cellherd events list` and `cellherd events replay`: what happened, in words, with the numbers that raised it."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import polars as pl
import typer
from rich.console import Console
from rich.table import Table

from cellherd.clock import SystemClock, as_text
from cellherd.config import FleetConfig, load_fleet
from cellherd.errors import CellherdError
from cellherd.fault_words import CUTS
from cellherd.faults import catalogue
from cellherd.paths import default_state
from pipeline.live.events import frame
from pipeline.live.replay import replay
from pipeline.live.store import late_days, recent, replayed
from pipeline.nightly.morning import archive_of
from pipeline.words import place, quantity

Config = Annotated[Path, typer.Option(help="fleet.toml", envvar="CELLHERD_CONFIG")]
State = Annotated[Path | None, typer.Option(help="State folder.")]


def list_events(  # noqa: PLR0913, PLR0917 - each parameter is an option that a person types
    site: Annotated[str | None, typer.Option(help="Only this site.")] = None,
    module: Annotated[str | None, typer.Option(help="Only modules of this id.")] = None,
    since: Annotated[str | None, typer.Option(help="From this UTC day on, YYYY-MM-DD; default: a week ago.")] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Show the numbers that raised each event.")] = False,
    config: Config = Path("fleet.toml"),
    state: State = None,
) -> None:
    """List fault events, the newest last, in words.

    Example: cellherd events list --site barn --since 2026-06-01 --explain
    """
    fleet, folder = load_fleet(config), state or default_state()
    first = day_of(since) if since else datetime.fromtimestamp(SystemClock().wall() / 1000, UTC).date() - timedelta(7)
    rows = gathered(fleet, folder, first)
    shown = [row for row in rows if site in (None, row["site"]) and module in (None, row["module"])]
    if not shown:
        typer.echo(f"no events since {first}")
        return
    table = Table("when", "what", "where", "fault", "how much", "cut", box=None)
    for row in shown:
        table.add_row(*told(row, fleet))
        if explain:
            table.add_row("", "", "", *(json.dumps(json.loads(row["evidence"] or "{}")),), "", "")
    Console().print(table)


def gathered(fleet: FleetConfig, folder: Path, first: date) -> list[dict[str, Any]]:
    """Events of the archive and of the live engine, each once, oldest first."""
    stored = archive_of(fleet, folder).scan("event").filter(pl.col("date") >= first).collect()
    live = frame([row for row in recent(folder / "live.sqlite") if row["date"] >= first])
    return pl.concat([stored, live]).unique("event_id", keep="first").sort("ts").to_dicts()


def told(row: dict[str, Any], fleet: FleetConfig) -> tuple[str, ...]:
    """One event as a line of words."""
    fault = catalogue().get(row["fault"])
    word = {"enter": "began", "leave": "ended", "note": "note"}[row["phase"]]
    much = quantity(row["value"], row["value_unit"]) if row["value"] is not None else ""
    much += f" (limit {quantity(row['threshold'], row['value_unit'])})" if much and row["threshold"] is not None else ""
    cut = CUTS.get(row["cuts"], "") if row["cuts"] not in (None, "none") and row["phase"] == "enter" else ""
    note = f" [{row['code']}]" if row["phase"] == "note" and row["code"] else ""
    return as_text(row["ts"]), word, place(row, fleet), (fault.title if fault else row["fault"]) + note, much, cut


def replay_events(
    site: Annotated[str | None, typer.Option(help="Only this site; with --day.")] = None,
    day: Annotated[
        str | None, typer.Option(help="A UTC day, YYYY-MM-DD; default: every day with late readings.")
    ] = None,
    config: Config = Path("fleet.toml"),
    state: State = None,
) -> None:
    """Play archived days to the event engine again, so that events of readings that came late are known too.

    Events that are known already are not stored twice. Nobody is told: it is history.

    Example: cellherd events replay --day 2026-06-01
    """
    fleet, folder = load_fleet(config), state or default_state()
    sites = [known.id for known in fleet.site if site in (None, known.id)]
    if not sites:
        raise CellherdError(
            f"no site {site!r} in fleet.toml; there are {', '.join(s.id for s in fleet.site) or 'none'}"
        )
    registry = {(entry.site, entry.stack, entry.id): entry for entry in fleet.module}
    if day:
        typer.echo(f"{day}: {replay(archive_of(fleet, folder), day_of(day), sites, registry)} new events")
        return
    typer.echo(f"late days: {late(fleet, folder)} new events")


def late(fleet: FleetConfig, folder: Path) -> int:
    """Replay every day that the live engine had late readings of. Returns how many events were new."""
    archive, new = archive_of(fleet, folder), 0
    registry = {(entry.site, entry.stack, entry.id): entry for entry in fleet.module}
    for site, day, readings in late_days(folder / "live.sqlite"):
        new += replay(archive, date.fromisoformat(day), [site], registry)
        replayed(folder / "live.sqlite", site, day, readings)
    return new


def day_of(text: str) -> date:
    """A day as a person types it. Raises CellherdError."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise CellherdError(f"{text!r} is no date; write it as 2026-06-01") from None
