"""`cellherd alerts test`: does everybody get what they are meant to get?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated
from uuid import uuid4

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cellherd.config import FleetConfig, load_fleet
from cellherd.errors import CellherdError
from pipeline.words import Told, tell


def test(
    config: Annotated[Path, typer.Option(help="fleet.toml", envvar="CELLHERD_CONFIG")] = Path("fleet.toml"),  # noqa: PT028 - a command, no test
) -> None:
    """Send a sample alert through every route, and say for each person whether it left.

    Exit code 1 if any did not.

    Example: cellherd alerts test --config fleet.toml
    """
    fleet = load_fleet(config)
    if not any(route.telegram or route.mail for route in fleet.route):
        raise CellherdError(f"{config} has no [[route]] with a recipient; docs/alerts.md shows one")
    results = list(_tried(fleet))
    table = Table("channel", "to", "", box=None)
    for channel, address, trouble in results:
        table.add_row(channel, escape(address), escape(trouble) or "sent", style="red" if trouble else "green")
    Console(soft_wrap=True).print(table)
    if any(trouble for _, _, trouble in results):
        raise typer.Exit(1)


def _tried(fleet: FleetConfig) -> Iterator[tuple[str, str, str]]:
    from pipeline.alerts.channel import NotSent  # noqa: PLC0415 - httpx is heavy; --help must not wait for it
    from pipeline.alerts.deliver import channels, way_to  # noqa: PLC0415
    from pipeline.alerts.messages import News, message  # noqa: PLC0415
    from pipeline.alerts.routes import people  # noqa: PLC0415

    sample, ways = message(News(f"test.{uuid4().hex[:12]}", "test", (_sample(fleet),))), channels(fleet)
    for person in dict.fromkeys(person for route in fleet.route for person in people(route)):
        try:
            way_to(person, ways).send(person.address, sample)
        except NotSent as error:
            yield person.channel, person.address, str(error)
        else:
            yield person.channel, person.address, ""


def _sample(fleet: FleetConfig) -> Told:
    site = fleet.site[0].id if fleet.site else None
    found = {
        "fault": "cell_imbalance_warning",
        "site": site,
        "stack": "stack",
        "module": "module",
        "cell": 6,
        "priority": 3,
    }
    told = tell({**found, "value": 118.0, "threshold": 100.0, "value_unit": "mV", "confidence": 0.9}, fleet)
    return replace(told, what=f"This is a test. {told.what}")
