"""`cellherd edge run`: the collector, by hand or under systemd."""

from __future__ import annotations

import signal
from pathlib import Path
from threading import Event
from typing import Annotated

import typer

from cellherd.config import load_edge
from cellherd.paths import default_state
from cellherd.secrecy import begin_log
from cellherd.signals import sets


def run(
    config: Annotated[Path, typer.Option(help="edge.toml of this site.")] = Path("edge.toml"),
    state: Annotated[Path | None, typer.Option(help="State folder; the outbox lies in it.")] = None,
) -> None:
    """Read this site's batteries and publish what they say, losing none of it.

    Readings are safe on the disk within seconds and go to the server when it is there. Ctrl-C, or systemctl stop, ends
    it cleanly. Changes of state are told on standard error, one line each.

    Examples:

    cellherd edge run --config /etc/cellherd/edge.toml

    cellherd edge run --config edge.toml --state ./state
    """
    from collectors.edge import run as run_edge  # noqa: PLC0415 - `--help` need not load drivers, MQTT and SQLite

    loaded = load_edge(config)
    begin_log("%(asctime)s %(levelname)s %(message)s")
    stop = Event()
    sets(stop, signal.SIGTERM, signal.SIGINT)
    run_edge(loaded, state or default_state(), stop)
