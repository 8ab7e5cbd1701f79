"""`cellherd report`: the state of the fleet as one HTML file."""

from __future__ import annotations

import webbrowser
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from cellherd.config import load_fleet
from cellherd.paths import default_state


def report(
    config: Annotated[Path, typer.Option(help="fleet.toml", envvar="CELLHERD_CONFIG")] = Path("fleet.toml"),
    state: Annotated[Path | None, typer.Option(help="State folder.")] = None,
    day: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="The last day shown; default today.")
    ] = None,
    out: Annotated[Path, typer.Option("-o", "--out", help="The file to write.")] = Path("report.html"),
    show: Annotated[bool, typer.Option("--open", help="Open it in a browser.")] = False,
) -> None:
    """Write the report as one HTML file: worklist, all modules, and two days of curves.

    It needs no server and no network to be read.

    Example: cellherd report --config fleet.toml -o report.html --open
    """
    from pipeline.report import build  # noqa: PLC0415 - Altair and Polars are heavy; --help must not wait for them
    from pipeline.stores.archive import Archive  # noqa: PLC0415

    fleet = load_fleet(config)
    store = Archive(fleet.archive.uri or str((state or default_state()) / "archive"))
    written = build(store, fleet, (day or datetime.now(UTC)).date(), out)
    typer.echo(f"{written}: {written.stat().st_size / 1e6:.1f} MB")
    if show:
        webbrowser.open(written.resolve().as_uri())
