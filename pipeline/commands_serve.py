"""`cellherd serve`: the fleet in a browser, without Grafana."""

from __future__ import annotations

import signal
from pathlib import Path
from threading import Event
from typing import Annotated

import typer

from cellherd.clock import SystemClock
from cellherd.config import load_fleet, read_secret
from cellherd.errors import CellherdError
from cellherd.paths import default_state
from cellherd.secrecy import begin_log
from cellherd.signals import sets

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def serve(
    config: Annotated[Path, typer.Option(help="fleet.toml", envvar="CELLHERD_CONFIG")] = Path("fleet.toml"),
    state: Annotated[Path | None, typer.Option(help="State folder.")] = None,
    listen: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where to answer.")] = "127.0.0.1:9838",
    user: Annotated[str, typer.Option(help="The user's name, with --password-file.")] = "cellherd",
    password_file: Annotated[str | None, typer.Option(help="Ask for this password; needed off this machine.")] = None,
) -> None:
    """Show the fleet in a browser: a live page that updates by itself, and the report. Nothing can be changed there.

    It speaks plain HTTP: for people elsewhere put a proxy with TLS in front (deploy/README.md). Pages: / (live),
    /report, /state.json, /healthz, /metrics.

    Example: cellherd serve --config fleet.toml
    """
    from pipeline.enrolment.places import host_and_port  # noqa: PLC0415 - quick, but not for every --help

    host, port = host_and_port(listen, "--listen")
    password = read_secret(password_file)
    if password is None and host not in LOOPBACK:
        raise CellherdError(f"--listen {listen} would show the fleet to everybody: give --password-file, or 127.0.0.1")
    _serve(config, state or default_state(), (host, port), (user, password) if password else None)


def _serve(config: Path, state: Path, listen: tuple[str, int], login: tuple[str, str] | None) -> None:
    from pipeline.serve.keeper import Keeper  # noqa: PLC0415 - Polars and Altair are heavy; --help must not wait
    from pipeline.serve.pages import Server  # noqa: PLC0415
    from pipeline.stores.archive import Archive  # noqa: PLC0415

    begin_log("%(levelname)s %(message)s")
    fleet, folder = load_fleet(config), state / "serve"
    folder.mkdir(parents=True, exist_ok=True)
    keeper = Keeper(Archive(fleet.archive.uri or str(state / "archive")), fleet, folder, SystemClock().wall)
    server = Server(listen, keeper.pages(), login)
    keeper.start()
    typer.echo(f"http://{listen[0]}:{server.port}/ shows the fleet; Ctrl-C ends it.")
    over = Event()
    sets(over, signal.SIGTERM, signal.SIGINT)
    over.wait()
    server.stop()
    keeper.stop()
