"""`cellherd nightly`: work out a day's tables and findings, or everything that is owed, and say what was found."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def nightly(  # noqa: PLR0913, PLR0917 - each parameter is an option that a person types
    day: Annotated[str | None, typer.Option(help="The sites' local date, YYYY-MM-DD; default: yesterday.")] = None,
    site: Annotated[str | None, typer.Option(help="Only this site.")] = None,
    due: Annotated[bool, typer.Option("--due", help="Everything that is owed: new, late or by older code.")] = False,
    explain: Annotated[str | None, typer.Option(help="Show the numbers behind a MODULE's verdict instead.")] = None,
    config: Annotated[Path, typer.Option(help="fleet.toml", envvar="CELLHERD_CONFIG")] = Path("fleet.toml"),
    state: Annotated[Path | None, typer.Option(help="State folder.")] = None,
) -> None:
    """Work out a day's tables and findings. A day can be worked through as often as you like.

    Exit code 75 if another one is at work.

    Example: cellherd nightly --day 2026-06-01 --site barn
    """
    from pipeline.nightly.on_demand import Asked, run  # noqa: PLC0415 - Polars and Altair are heavy; --help must not wait

    run(Asked(day, site, explain, due), config, state)
