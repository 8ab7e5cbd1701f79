"""`cellherd dashboards build`: the Grafana dashboards as files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cellherd.errors import CellherdError
from dashboards.build import OUT, stale, write


def build(
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = OUT,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail if a file is not fresh.")] = False,
) -> None:
    """Write the Grafana dashboards as JSON, ready for provisioning or import.

    Example: cellherd dashboards build --out /var/lib/grafana/dashboards
    """
    if not check:
        for path in write(out):
            typer.echo(path)
    elif old := stale(out):
        raise CellherdError(f"not fresh: {', '.join(old)}; run `cellherd dashboards build --out {out}`")
