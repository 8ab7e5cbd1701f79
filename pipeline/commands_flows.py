"""`cellherd flows serve`: the nightly work under Prefect's schedule, for those who run a Prefect server."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from cellherd.config import load_fleet
from cellherd.errors import CellherdError
from cellherd.paths import default_state

EVERY = timedelta(minutes=15)
"""How often the owed nights are looked for; a look that finds none costs little."""


def serve(
    config: Annotated[Path, typer.Option(help="fleet.toml", envvar="CELLHERD_CONFIG")] = Path("fleet.toml"),
    state: Annotated[Path | None, typer.Option(help="State folder.")] = None,
) -> None:
    """Look every 15 minutes for nights that are owed, under a Prefect server (PREFECT_API_URL).

    Without Prefect, `cellherd nightly --due` from a timer does the same.

    Example: PREFECT_API_URL=http://127.0.0.1:4200/api cellherd flows serve
    """
    load_fleet(config)
    if not os.environ.get("PREFECT_API_URL"):
        # Prefect without a server keeps the schedule and never starts a run, without a word.
        raise CellherdError("PREFECT_API_URL is not set: start `prefect server start`, or use `cellherd nightly --due`")
    from pipeline.flows.night import owed_nights  # noqa: PLC0415 - importing Prefect takes seconds

    parameters = {"config": config.absolute(), "state": (state or default_state()).absolute()}
    owed_nights.serve(name="owed-nights", interval=EVERY, parameters=parameters)
