"""`cellherd archive past`: a simulated fleet that was met today is given the year that it would have behind it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cellherd.config import load_fleet
from cellherd.errors import CellherdError
from cellherd.paths import default_state


def give(
    config: Annotated[Path, typer.Option(help="fleet.toml", envvar="CELLHERD_CONFIG")] = Path("fleet.toml"),
    state: Annotated[Path | None, typer.Option(help="State folder.")] = None,
    days: Annotated[int, typer.Option(min=30, max=3650, help="How long a past.")] = 365,
    seed: Annotated[int, typer.Option(help="The same seed gives the same past.")] = 7,
    worn: Annotated[
        list[str] | None, typer.Option(help="SITE/STACK/MODULE that ages fast; may be given several times.")
    ] = None,
) -> None:
    """Give a simulated fleet a past: what its cells held in the days before each module's first reading.

    The modules age by the simulator's law (docs/simulation.md) into the tables `capacity` and `soh`, as rows of
    code_version 0. Only for a fleet.toml that says `simulated = true`. Again changes nothing.

    Example: cellherd archive past --config fleet.toml --state server --worn barn/shed/m4
    """
    fleet = load_fleet(config)
    if not fleet.simulated:
        raise CellherdError(
            f"{config} does not say `simulated = true`, and a past is made up for simulated fleets only; "
            "measured data comes in by `cellherd archive import`"
        )
    from pipeline.simulation.bestow import bestow  # noqa: PLC0415 - Polars is heavy; --help must not wait for it
    from pipeline.stores.archive import Archive  # noqa: PLC0415

    store = Archive(fleet.archive.uri or str((state or default_state()) / "archive"))
    typer.echo(f"{bestow(fleet, store, days, seed, worn or [])} modules have a past of {days} days, simulated")
