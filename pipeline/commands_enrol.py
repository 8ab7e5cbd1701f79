"""`cellherd enroll` and `cellherd revoke`: who may speak to this server."""

from __future__ import annotations

import re
import shlex
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Annotated

import typer
from rich.console import Console

from cellherd.config import load_fleet, read_public
from cellherd.errors import CellherdError
from cellherd.paths import default_state
from cellherd.settings import Broker, FleetConfig, Mqtt
from cellherd.topics import EDGE, is_id
from pipeline.enrolment import accounts, authority, mosquitto
from pipeline.enrolment.bundle import Bundle, check_free, next_steps, write_folder, write_tar
from pipeline.enrolment.fleet_file import Place, registered
from pipeline.enrolment.places import host_and_port, on_loopback, tls_folder, tls_of
from pipeline.ingest.registry import wait_until_applied
from pipeline.ingest.running import is_running

Config = Annotated[Path, typer.Option(help="fleet.toml")]
State = Annotated[Path | None, typer.Option(help="The ingester's state folder.")]
RELOAD_S = 30


def enroll(  # noqa: PLR0913, PLR0917 - each parameter is an option that a person types
    edge: Annotated[str, typer.Argument(help="Id of the new edge.")],
    site: Annotated[str | None, typer.Option(help="Its site; a new one is written into fleet.toml.")] = None,
    installer: Annotated[str | None, typer.Option(help="Who looks after a new site.")] = None,
    tz: Annotated[str, typer.Option(help="Time zone of a new site.")] = "UTC",
    url: Annotated[str | None, typer.Option(help="The broker as the edge sees it; default broker.public_url.")] = None,
    certificate: Annotated[bool, typer.Option("--certificate", help="Make a client certificate as well.")] = False,
    rotate: Annotated[bool, typer.Option("--rotate", help="A new password for an edge that has one.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder to make; one that ends in .tar becomes a file.")] = None,
    config: Config = Path("fleet.toml"),
    state: State = None,
) -> None:
    """Let an edge in: make its login, give it its rights at the broker, and write a ready config for its machine.

    The password stands only in what is written for the edge; the server keeps hashes. A running ingester takes the
    edge over within a second, without a restart. A Mosquitto of your own reads its users again by the command in
    broker.reload_command.

    Examples:

    cellherd enroll hill-pi --site hill-road-4 --url mqtts://broker.example:8883

    cellherd enroll hill-pi --certificate --out hill-pi.tar

    cellherd enroll hill-pi --rotate
    """
    _check_name(edge)
    home, place = state or default_state(), out or Path(edge)
    check_free(place)
    fleet = registered(config, edge, Place(site, installer, tz))
    known = accounts.read(home / "broker").get(edge)
    if known is not None and not known.revoked and not rotate:
        raise CellherdError(f"{edge!r} is enrolled since {known.since}; --rotate gives it a new password")
    bundle, account = _made(edge, _url(fleet.broker, url), home, fleet.broker, certificate=certificate)
    if known is not None and not known.revoked:  # its edge.toml may stay as it is
        account = replace(account, client_id=known.client_id)
        bundle = replace(bundle, client_id=known.client_id)
    tar = place.suffix == ".tar"
    (write_tar if tar else write_folder)(bundle, place)
    accounts.put(home / "broker", edge, account)
    told = _in_force(fleet, home)
    Console(soft_wrap=True).print(f"{edge} is enrolled. {told}\nNext:\n", markup=False, highlight=False)
    typer.echo(next_steps(bundle, place, tar=tar))


def revoke(
    edge: Annotated[str, typer.Argument(help="Id of the edge.")],
    config: Config = Path("fleet.toml"),
    state: State = None,
) -> None:
    """Shut an edge out at once: its password ends, and so does a connection that it has open.

    What it sent stays, and so does its site in fleet.toml. `cellherd enroll` lets it in again, with a new login.

    Example: cellherd revoke hill-pi
    """
    home, fleet = state or default_state(), load_fleet(config)
    if edge not in {site.edge for site in fleet.site} | set(accounts.read(home / "broker")):
        raise CellherdError(f"there is no edge {edge!r} in {config}, and none was enrolled under that name")
    accounts.revoke(home / "broker", edge, _now())
    told = _in_force(fleet, home)
    Console(soft_wrap=True).print(f"{edge} is revoked. {told}", markup=False, highlight=False)


def _check_name(edge: str) -> None:
    if not is_id(edge) or edge in (EDGE, accounts.INGEST):
        raise CellherdError(
            f"{edge!r} cannot be an edge's id: 1 to 63 of a-z 0-9 _ -, not {EDGE!r} or {accounts.INGEST!r}"
        )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _url(broker: Broker, said: str | None) -> str:
    """How the edge reaches the broker. Raises CellherdError where nobody said it and it cannot be known."""
    url = said or broker.public_url
    if url is None and not broker.embedded:
        url = broker.url
    if url is None and on_loopback(broker.listen):
        host, port = host_and_port(broker.listen)
        url = f"mqtt://{host}:{port}"
    if url is None:
        raise CellherdError(
            "say how edges reach the broker: --url mqtts://NAME:8883, or broker.public_url in fleet.toml"
        )
    if not re.fullmatch(r"mqtts?://[A-Za-z0-9.:\[\]-]+", url):
        raise CellherdError(f"{url!r} must look like mqtts://broker.example:8883")
    try:
        Mqtt.model_validate({"url": url, "plain_text": broker.plain_text})
    except ValueError:
        raise CellherdError(f"{url} would send passwords in the open; use mqtts://, or set broker.plain_text") from None
    return url


def _made(edge: str, url: str, home: Path, broker: Broker, *, certificate: bool) -> tuple[Bundle, accounts.Account]:
    account, password = accounts.new_account(edge, _now())
    now, own = datetime.now(UTC), tls_folder(home)
    secure = url.startswith("mqtts:")
    if secure and broker.embedded and not broker.cert_file and not (own / "server.pem").exists():
        host = host_and_port(url.partition("://")[2] if url.count(":") > 1 else f"{url.partition('://')[2]}:8883")[0]
        authority.authority(own, now).issue_server([host, "localhost", "127.0.0.1"], now)
    trusted = read_public(broker.ca_file) if broker.ca_file else ""
    if secure and not broker.ca_file and not broker.cert_file and (own / "ca.pem").exists():
        trusted = (own / "ca.pem").read_text(encoding="utf-8")
    bundle = Bundle(edge, url, account.client_id, password, trusted, plain_text=broker.plain_text and not secure)
    if certificate or broker.require_certificate:
        if not secure:
            raise CellherdError("a certificate needs TLS: give --url mqtts://NAME:8883")
        pem, key, serial = authority.authority(own, now).issue_client(edge, now)
        bundle, account = replace(bundle, certificate=pem, key=key), replace(account, certificate=serial)
    return bundle, account


def _in_force(fleet: FleetConfig, home: Path) -> str:
    """Bring the accounts to the broker; says in one sentence how far that got."""
    folder = home / "broker"
    if fleet.broker.embedded:
        if not is_running(home):
            return "The ingester is not running; this holds from its next start."
        if wait_until_applied(folder, Event().wait):
            return "The broker knows."
        raise CellherdError("the running ingester did not take it over within 15 s; its log says why (fleet.toml?)")
    place = write_mosquitto(fleet, home)
    if not fleet.broker.reload_command:
        return f"NOT YET IN FORCE: {place} was written; now let your broker read it again: kill -HUP its process."
    words = fleet.broker.reload_command
    try:
        subprocess.run(words, check=True, capture_output=True, text=True, timeout=RELOAD_S)
    except (OSError, subprocess.SubprocessError) as error:
        said = str(getattr(error, "stderr", "") or error).strip()
        raise CellherdError(f"broker.reload_command {shlex.join(words)!r} failed: {said}; not yet in force") from None
    return f"{place} was written and the broker read it."


def write_mosquitto(fleet: FleetConfig, home: Path) -> Path:
    """Users and rights for Mosquitto, below broker.mosquitto_dir."""
    broker = fleet.broker
    edges = [site.edge for site in fleet.site]
    place = mosquitto.write_files(broker, home / "broker", home, edges)
    mosquitto.write_conf(broker, place, tls_of(broker, home))
    return place
