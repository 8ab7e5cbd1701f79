"""`cellherd init`: the first minute."""

from __future__ import annotations

from pathlib import Path
from socket import gethostname
from typing import Annotated
from zoneinfo import available_timezones

import typer

from cellherd.errors import CellherdError
from cellherd.topics import is_id

EDGE = """# This machine at the batteries. Every key: docs/configuration.md
edge = "{edge}"

[mqtt]
url = "{url}"
"""
ENROLLED = """# What `cellherd enroll {edge}` wrote on the server:
# password_file = "/etc/cellherd/mqtt-password"
# ca_file = "/etc/cellherd/ca.pem"
"""
FLEET = """# The server's registry. Every key: docs/configuration.md

[broker]
listen = "{listen}"
{public}
[[installer]]
id = "{installer}"

[[site]]
id = "{site}"
installer = "{installer}"
tz = "{tz}"
edge = "{site}-pi"
"""
SERVER_NEXT = """Next:
  cellherd config check {file}
  cellherd enroll {site}-pi --config {file}     # makes its login{tls}, and a folder for the Raspberry Pi
  cellherd ingest run --config {file}"""
EDGE_NEXT = """Next:
  cellherd scan --write {file}      # finds the batteries and writes them down
  cellherd doctor --config {file}
  cellherd edge run --config {file}"""
LOOPBACK = ("localhost", "127.0.0.1", "")


def init(
    file: Annotated[Path | None, typer.Argument(help="The file to write; default edge.toml or fleet.toml.")] = None,
    server: Annotated[bool | None, typer.Option("--server/--edge", help="What this machine is.")] = None,
) -> None:
    """Ask a few questions, write a config, and say what comes next. Nothing that exists is overwritten.

    Examples:

    cellherd init --server

    cellherd init --edge /etc/cellherd/edge.toml
    """
    if server is None:
        server = not typer.confirm(
            "Do batteries hang on this machine (an edge)? No means it is the server", default=True
        )
    place = file or Path("fleet.toml" if server else "edge.toml")
    if place.exists():
        raise CellherdError(f"{place} exists; edit it, or name another file (cellherd config check {place})")
    text, then = _server(place) if server else _edge(place)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CellherdError(f"{place}: cannot be written, {error.strerror}") from None
    typer.echo(f"{place} is written.\n{then}")


def _server(place: Path) -> tuple[str, str]:
    name = typer.prompt("Host name under which Raspberry Pis reach this server (localhost: only this machine)")
    installer = _id("Short name of your company", "my-company")
    site = _id("Short name of the first site", "first-site")
    tz = _zone("Its time zone", "Europe/Berlin")
    alone = name.strip() in LOOPBACK
    public = "" if alone else f'public_url = "mqtts://{name.strip()}:8883"\n'
    listen = "127.0.0.1:1883" if alone else "0.0.0.0:8883"
    text = FLEET.format(listen=listen, public=public, installer=installer, site=site, tz=tz)
    return text, SERVER_NEXT.format(file=place, site=site, tls="" if alone else ", the TLS certificate")


def _edge(place: Path) -> tuple[str, str]:
    edge = _id("Short name of this machine", gethostname().split(".")[0].lower())
    name = typer.prompt("Host name of the server (localhost: this machine)", default="localhost").strip()
    alone = name in LOOPBACK
    text = EDGE.format(edge=edge, url="mqtt://127.0.0.1:1883" if alone else f"mqtts://{name}:8883")
    return text + ENROLLED.format(edge=edge), EDGE_NEXT.format(file=place)


def _id(question: str, default: str) -> str:
    while True:
        said = str(typer.prompt(question, default=default)).strip().lower()
        if is_id(said):
            return said
        typer.echo(f"{said!r}: 1 to 63 of a-z 0-9 _ -, beginning with a letter or digit")


def _zone(question: str, default: str) -> str:
    while (said := str(typer.prompt(question, default=default)).strip()) not in available_timezones():
        typer.echo(f"{said!r} is no such time zone; for example Europe/London")
    return said
