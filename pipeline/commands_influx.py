"""`cellherd influx`: buckets, InfluxQL names and tokens as fleet.toml wants them, and the archive written once more."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from cellherd.clock import SystemClock
from cellherd.config import FleetConfig, load_fleet, read_secret
from cellherd.errors import CellherdError
from cellherd.paths import default_state
from pipeline.commands_events import day_of
from pipeline.nightly.morning import archive_of, refused
from pipeline.stores.archive import Archive
from pipeline.stores.influx import InfluxWriter
from pipeline.stores.influx_setup import Server
from pipeline.stores.influx_setup import wanted as asked_for
from pipeline.stores.refill import points

Wanted: TypeAlias = "tuple[Archive, tuple[date, date], str | None]"
"""From where, which days, and which bucket (None: both)."""
Config = Annotated[Path, typer.Option(help="fleet.toml", envvar="CELLHERD_CONFIG")]


def setup(
    admin_token_file: Annotated[Path, typer.Option(help="File with a token that may make buckets and tokens.")],
    config: Config = Path("fleet.toml"),
    out: Annotated[Path, typer.Option(help="Folder for the new tokens' files, mode 0600.")] = Path("secrets"),
    renew: Annotated[bool, typer.Option("--renew", help="New tokens in place of the old ones.")] = False,
) -> None:
    """Make both buckets, their InfluxQL names, a token that may only write and one that may only read.

    With `{installer}` in the buckets' names: that for each installer. What is there already stays as it is, so this
    may be repeated, for instance after an installer was added.

    Example: cellherd influx setup --admin-token-file admin-token --out /etc/cellherd
    """
    fleet = load_fleet(config)
    if fleet.influx is None:
        raise CellherdError(f"{config} has no [influx]; add it with url and token_file, docs/configuration.md")
    server = Server(fleet.influx, read_secret(str(admin_token_file)) or "")
    try:
        did = [
            line
            for one in asked_for(fleet.influx, [installer.id for installer in fleet.installer], out)
            for line in server.prepare(one, renew=renew)
        ]
    finally:
        server.close()
    for line in did or ["everything was there already"]:
        typer.echo(line)


def fill(  # noqa: PLR0913, PLR0917 - each parameter is an option that a person types
    since: Annotated[str | None, typer.Option(help="From this UTC day on, YYYY-MM-DD; default: a week ago.")] = None,
    until: Annotated[str | None, typer.Option(help="To this day; default: today.")] = None,
    only: Annotated[str | None, typer.Option(help="live (readings, faults) or nightly (what was found).")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for line protocol files in place of InfluxDB.")] = None,
    config: Config = Path("fleet.toml"),
    state: Annotated[Path | None, typer.Option(help="State folder.")] = None,
) -> None:
    """Write what the archive holds into InfluxDB once more, or into files `live.lp` and `nightly.lp`.

    For an InfluxDB that came later or lost its disk. What is there already stays as it is.

    Example: cellherd influx fill --since 2026-06-01

    Example: cellherd influx fill --out points; cellherd dashboards render --points points
    """
    fleet, today = load_fleet(config), datetime.fromtimestamp(SystemClock().wall() / 1000, UTC).date()
    if only not in (None, "live", "nightly"):
        raise CellherdError(f"--only {only}: there are live and nightly")
    first = day_of(since) if since else today - timedelta(days=7)
    days = (first, day_of(until) if until else today)
    if out is not None:
        _to_files(fleet, (archive_of(fleet, state or default_state()), days, only), out)
    elif fleet.influx is None:
        raise CellherdError(f"{config} has no [influx] with its url; --out FOLDER writes files")
    else:
        _to_influx(fleet, (archive_of(fleet, state or default_state()), days, only))


def _to_files(fleet: FleetConfig, wanted: Wanted, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (archive, days, only), sites, count = wanted, {site.id: site for site in fleet.site}, 0
    with ExitStack() as stack:
        files = {name: stack.enter_context((out / f"{name}.lp").open("wb")) for name in ("live", "nightly")}
        for bucket, lines in points(archive, sites, days, only):
            files[bucket].write(lines)
            count += lines.count(b"\n")
    typer.echo(f"{out}: {count} points from {days[0]} to {days[1]}")


def _to_influx(fleet: FleetConfig, wanted: Wanted) -> None:
    influx, count = fleet.influx, 0
    archive, days, only = wanted
    if influx is None:
        return
    for installer in sorted({site.installer for site in fleet.site}) if influx.by_installer() else [None]:
        own = influx.of(installer or "")
        sites = {site.id: site for site in fleet.site if installer in (None, site.installer)}
        buckets, writer = {"live": own.bucket, "nightly": own.derived_bucket}, InfluxWriter(own, refused)
        try:
            for bucket, lines in points(archive, sites, days, only):
                writer.write(buckets[bucket], lines)
                count += lines.count(b"\n")
        finally:
            writer.close()
    typer.echo(f"InfluxDB at {influx.url}: {count} points from {days[0]} to {days[1]}")
