"""`cellherd notify run`: tells people, by hand or under systemd."""

from __future__ import annotations

import logging
import signal
from pathlib import Path
from threading import Event
from typing import Annotated

import typer

from cellherd.config import load_fleet
from cellherd.paths import default_state
from pipeline.storing.storeroom import LOG_FORMAT


def run(
    config: Annotated[Path, typer.Option(help="fleet.toml", envvar="CELLHERD_CONFIG")] = Path("fleet.toml"),
    state: Annotated[Path | None, typer.Option(help="State folder, the same as the ingester's.")] = None,
) -> None:
    """Tell people what the live engine and the night's work find, within seconds, losing none of it.

    Runs beside `cellherd ingest run` on the same state folder. Ends at SIGTERM or Ctrl-C.

    Example: cellherd notify run --config /etc/cellherd/fleet.toml --state /var/lib/cellherd
    """
    from pipeline.alerts.deliver import painted  # noqa: PLC0415 - httpx and the engine take a moment; --help must not
    from pipeline.alerts.listening import listeners  # noqa: PLC0415
    from pipeline.alerts.picture import latest, painter  # noqa: PLC0415
    from pipeline.alerts.service import run as run_notifier  # noqa: PLC0415
    from pipeline.nightly.morning import archive_of  # noqa: PLC0415

    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    fleet, folder = load_fleet(config), state or default_state()
    archive = archive_of(fleet, folder)
    draw = painted(painter(archive, fleet))
    run_notifier(fleet, folder, stop, draw, listeners(fleet, folder, latest(archive, fleet), draw))
