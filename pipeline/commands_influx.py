"""`cellherd influx setup`: buckets, InfluxQL names and tokens, as fleet.toml wants them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cellherd.config import load_fleet, read_secret
from cellherd.errors import CellherdError
from pipeline.stores.influx_setup import Server, wanted


def setup(
    admin_token_file: Annotated[Path, typer.Option(help="File with a token that may make buckets and tokens.")],
    config: Annotated[Path, typer.Option(help="fleet.toml", envvar="CELLHERD_CONFIG")] = Path("fleet.toml"),
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
        raise CellherdError(f"{config} has no [influx] with its url")
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
