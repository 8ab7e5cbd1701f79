"""`cellherd influx`: buckets, InfluxQL names and tokens as fleet.toml wants them, and the archive written once more."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from cellherd.clock import SystemClock
from cellherd.config import load_fleet, read_secret
from cellherd.errors import CellherdError
from cellherd.paths import default_state
from pipeline.days import day_of

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
    from pipeline.stores.influx_setup import Server, wanted  # noqa: PLC0415 - httpx is heavy; --help must not wait for it

    server = Server(fleet.influx, read_secret(str(admin_token_file)) or "")
    try:
        did = [
            line
            for one in wanted(fleet.influx, [installer.id for installer in fleet.installer], out)
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
    if out is None and fleet.influx is None:
        raise CellherdError(f"{config} has no [influx] with its url; --out FOLDER writes files")
    from pipeline.stores.archive import archive_of  # noqa: PLC0415 - Polars is heavy; --help must not wait for it
    from pipeline.stores.filling import to_files, to_influx  # noqa: PLC0415

    wanted = (archive_of(fleet, state or default_state()), days, only)
    count = to_files(fleet, wanted, out) if out else to_influx(fleet, wanted)
    where = out or f"InfluxDB at {fleet.influx.url if fleet.influx else ''}"
    typer.echo(f"{where}: {count} points from {days[0]} to {days[1]}")
