"""Commands of no room: config files and the doctor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer
from pydantic import BaseModel
from rich.console import Console
from rich.table import Table

from cellherd.config import EdgeConfig, FleetConfig, load_edge, load_fleet, which
from cellherd.doctor import Found, examine
from cellherd.errors import CellherdError
from cellherd.paths import default_state

Which = Literal["edge", "fleet"]
MODELS: dict[str, type[BaseModel]] = {"edge": EdgeConfig, "fleet": FleetConfig}


def check(file: Annotated[Path, typer.Argument(help="edge.toml or fleet.toml")]) -> None:
    """Check a config file and say everything that is wrong in it at once.

    A file with an `edge = ` line at its top is an edge's, any other the server's.

    Example: cellherd config check /etc/cellherd/edge.toml
    """
    if which(file) == "edge":
        config = load_edge(file)
        typer.echo(f"{file}: fine, edge {config.edge!r} with {len(config.device)} devices")
    else:
        fleet = load_fleet(file)
        typer.echo(f"{file}: fine, {len(fleet.site)} sites with {len(fleet.module)} registered modules")


def schema(file: Annotated[str, typer.Argument(help="edge or fleet")] = "edge") -> None:
    """Print the JSON Schema of a config file, so that an editor can help.

    Example: cellherd config schema fleet > fleet.schema.json
    """
    if file not in MODELS:
        raise CellherdError(f"no config {file!r}; there are edge and fleet")
    typer.echo(json.dumps(MODELS[file].model_json_schema(), indent=2))


def doctor(
    config: Annotated[Path | None, typer.Option(help="Check this edge.toml or fleet.toml as well.")] = None,
    state: Annotated[Path | None, typer.Option(help="State folder.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Look for what would keep this machine from working, and say what mends it.

    Exit code 1 if anything fails.

    Example: cellherd doctor --config /etc/cellherd/edge.toml
    """
    found = list(examine(config, state or default_state()))
    if as_json:
        for line in found:
            typer.echo(json.dumps({"state": line.state, "what": line.what, "mend": line.mend}))
    else:
        _show(found)
    if any(line.state == "fail" for line in found):
        raise typer.Exit(1)


def _show(found: list[Found]) -> None:
    table = Table("", "what", "what mends it", box=None)
    colours = {"ok": "green", "warn": "yellow", "fail": "bold red"}
    for line in found:
        table.add_row(f"[{colours[line.state]}]{line.state}[/]", line.what, line.mend)
    Console().print(table)
