"""`cellherd notify run`: tells people, by hand or under systemd."""

from __future__ import annotations

import logging
import signal
from functools import partial
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated

import typer

from cellherd.config import FleetConfig, load_fleet
from cellherd.paths import default_state
from cellherd.signals import sets
from pipeline.storing.storeroom import LOG_FORMAT

if TYPE_CHECKING:
    from pipeline.stores.archive import Archive


def run(
    config: Annotated[Path, typer.Option(help="fleet.toml", envvar="CELLHERD_CONFIG")] = Path("fleet.toml"),
    state: Annotated[Path | None, typer.Option(help="State folder, the same as the ingester's.")] = None,
) -> None:
    """Tell people what the live engine and the night's work find, within seconds, losing none of it.

    Runs beside `cellherd ingest run` on the same state folder. Ends at SIGTERM or Ctrl-C.

    Example: cellherd notify run --config /etc/cellherd/fleet.toml --state /var/lib/cellherd
    """
    from pipeline.alerts.easel import Easel  # noqa: PLC0415 - httpx and the rest take a moment; --help must not
    from pipeline.alerts.listening import listeners  # noqa: PLC0415
    from pipeline.alerts.service import run as run_notifier  # noqa: PLC0415

    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    stop = Event()
    sets(stop, signal.SIGTERM, signal.SIGINT)
    fleet, folder = load_fleet(config), state or default_state()
    easel = Easel(fleet, partial(_archive, fleet, folder))
    draws = [easel.warm] if fleet.telegram or fleet.mail else []  # programs get no pictures
    run_notifier(fleet, folder, stop, easel.draw, [*listeners(fleet, folder, easel.look, easel.draw), *draws])


def _archive(fleet: FleetConfig, folder: Path) -> Archive:
    from pipeline.stores.archive import archive_of  # noqa: PLC0415 - only where a picture is wanted

    return archive_of(fleet, folder)
