"""`cellherd dashboards build` and `push`: the Grafana dashboards as files, or straight into a Grafana."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cellherd.config import read_secret
from cellherd.errors import CellherdError
from dashboards import OUT


def build(
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = OUT,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail if a file is not fresh.")] = False,
) -> None:
    """Write the Grafana dashboards as JSON, ready for provisioning or import.

    Example: cellherd dashboards build --out /var/lib/grafana/dashboards
    """
    from dashboards.build import stale, write  # noqa: PLC0415 - grafanalib is heavy; --help must not wait for it

    if not check:
        for path in write(out):
            typer.echo(path)
    elif old := stale(out):
        raise CellherdError(f"not fresh: {', '.join(old)}; run `cellherd dashboards build --out {out}`")


def push(
    url: Annotated[str, typer.Option(help="Address of the Grafana.")],
    token_file: Annotated[Path, typer.Option(help="File with a service account's token (role Editor), mode 0600.")],
) -> None:
    """Send all dashboards to a Grafana, into its folder CellHerd; those that are there already are replaced.

    Example: cellherd dashboards push --url https://grafana.example --token-file grafana-token
    """
    from dashboards.build import built  # noqa: PLC0415 - as above
    from dashboards.push import Grafana  # noqa: PLC0415
    from dashboards.push import push as send  # noqa: PLC0415

    token = read_secret(str(token_file))
    if not token:
        raise CellherdError(f"{token_file} is empty; it holds the token of a service account of Grafana")
    for uid in send(Grafana(url, token), built()):
        typer.echo(f"{url.rstrip('/')}/d/{uid}")
