"""`cellherd broker ...`: the broker's certificate, and the files of a Mosquitto of one's own."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from cellherd.config import load_fleet
from cellherd.errors import CellherdError
from cellherd.paths import default_state
from pipeline.commands_enrol import Config, State, write_mosquitto
from pipeline.enrolment import authority
from pipeline.enrolment.places import tls_folder


def certificate(
    host: Annotated[
        list[str] | None, typer.Option(help="A name or address under which edges reach it; may be repeated.")
    ] = None,
    state: State = None,
) -> None:
    """Make the broker's certificate, and the fleet's own authority if there is none; or renew it for the same names.

    A running ingester takes it over within a second, and renews it by itself 30 days before it ends: this command is
    for the first time, for other names, or after a key was seen by somebody.

    Example: cellherd broker certificate --host broker.example --host 192.168.1.5
    """
    folder, now = tls_folder(state or default_state()), datetime.now(UTC)
    server = folder / "server.pem"
    hosts = host or (authority.hosts_of(server) if server.exists() else [])
    if not hosts:
        raise CellherdError("say under which name edges reach the broker: --host broker.example")
    names = list(dict.fromkeys([*hosts, "localhost", "127.0.0.1"]))
    authority.authority(folder, now).issue_server(names, now)
    until = authority.holds_until(server).date()
    typer.echo(f"{server} holds until {until} for {', '.join(names)}; edges trust {folder / 'ca.pem'}")


def acl(config: Config = Path("fleet.toml"), state: State = None) -> None:
    """Write users, rights and a listener for a Mosquitto of your own, from the registry and the enrolled edges.

    `enroll` and `revoke` do the same for the users; this is for the first time, and after fleet.toml was changed by
    hand. The listener (cellherd.conf) is written once and then yours.

    Example: cellherd broker acl --config /etc/cellherd/fleet.toml
    """
    fleet, home = load_fleet(config), state or default_state()
    place = write_mosquitto(fleet, home)
    typer.echo(f"wrote {place}; in mosquitto.conf: include_dir {place.resolve()}")
    typer.echo(
        f"the ingester's password: broker.password_file = '{(home / 'broker' / 'secrets' / 'ingest').resolve()}'"
    )
