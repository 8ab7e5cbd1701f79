"""`cellherd events list` and `cellherd events replay`: what happened, in words, with the numbers that raised it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from cellherd.clock import SystemClock
from cellherd.config import load_fleet
from cellherd.errors import CellherdError
from cellherd.paths import default_state
from pipeline.days import day_of

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
    from pipeline.live.history import gathered, told  # noqa: PLC0415 - Polars is heavy; --help must not wait for it

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
    from pipeline.live.history import again, late  # noqa: PLC0415 - as above

    if day:
        typer.echo(f"{day}: {again(fleet, folder, day_of(day), sites)} new events")
        return
    typer.echo(f"late days: {late(fleet, folder)} new events")
