"""Commands of no room: config files and the doctor."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

import typer
from pydantic import BaseModel
from rich.console import Console
from rich.table import Table

from cellherd import __version__
from cellherd.clock import SystemClock
from cellherd.config import EdgeConfig, FleetConfig, load_edge, load_fleet
from cellherd.errors import CellherdError, ConfigError
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


def which(file: Path) -> Which:
    """Whether a config file is an edge's or the server's, by its first key."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ConfigError(str(file), [str(error.strerror)]) from None
    top = [line.partition("=")[0].strip() for line in lines[: next(_headers(lines), len(lines))]]
    return "edge" if "edge" in top or any(line.strip() == "[[device]]" for line in lines) else "fleet"


def _headers(lines: list[str]) -> Iterator[int]:
    return (i for i, line in enumerate(lines) if line.lstrip().startswith("["))


def schema(file: Annotated[str, typer.Argument(help="edge or fleet")] = "edge") -> None:
    """Print the JSON Schema of a config file, so that an editor can help.

    Example: cellherd config schema fleet > fleet.schema.json
    """
    if file not in MODELS:
        raise CellherdError(f"no config {file!r}; there are edge and fleet")
    typer.echo(json.dumps(MODELS[file].model_json_schema(), indent=2))


@dataclass(frozen=True, slots=True)
class Found:
    """One line of the doctor: ok, warn or fail, and what mends it."""

    state: Literal["ok", "warn", "fail"]
    what: str
    mend: str = ""


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


def examine(config: Path | None, state: Path) -> Iterator[Found]:
    """Everything the doctor looks at, in the order in which a person would mend it."""
    yield _python()
    yield from _extras()
    yield _clock()
    yield _disk(state)
    yield from _serial()
    if config:
        yield from _config(config)


def _python() -> Found:
    version = ".".join(map(str, sys.version_info[:3]))
    return Found("ok", f"cellherd {__version__} on Python {version}")


def _extras() -> Iterator[Found]:
    parts = {"edge": ("serial", "pymodbus", "can", "cantools"), "server": ("polars", "deltalake", "influxdb_client")}
    for extra, modules in parts.items():
        missing = [module for module in modules if find_spec(module) is None]
        if missing:
            yield Found("warn", f"{extra}: {', '.join(missing)} not installed", f"pip install 'cellherd[{extra}]'")
        else:
            yield Found("ok", f"{extra}: all parts installed")


def _clock() -> Found:
    quality = SystemClock().quality()
    if quality == "ntp":
        return Found("ok", "the clock is disciplined by a time service")
    return Found("warn", "no time service disciplines the clock", "timedatectl set-ntp true")


def _disk(state: Path) -> Found:
    place = next(p for p in (state, *state.parents) if p.exists())
    if not os.access(place, os.W_OK):
        return Found("fail", f"{state} cannot be written", f"chown it to this user, or use --state (now {place})")
    free = shutil.disk_usage(place).free // 2**20
    if free < 512:
        return Found("warn", f"{state}: only {free} MB free", "make room, or set outbox.cap_mb lower")
    return Found("ok", f"{state}: {free} MB free")


def _serial() -> Iterator[Found]:
    ports = sorted(p for pattern in ("ttyUSB*", "ttyACM*", "ttyAMA*") for p in Path("/dev").glob(pattern))
    for port in ports:
        if os.access(port, os.R_OK | os.W_OK):
            yield Found("ok", f"{port} can be opened")
        else:
            yield Found("fail", f"{port} belongs to a group that you are not in", f"usermod -aG {port.group()} $USER")


def _config(path: Path) -> Iterator[Found]:
    try:
        loaded = load_edge(path) if which(path) == "edge" else load_fleet(path)
    except ConfigError as error:
        for complaint in error.complaints:
            yield Found("fail", f"{path}: {complaint}", "docs/configuration.md")
        return
    yield Found("ok", f"{path} is fine")
    if isinstance(loaded, EdgeConfig):
        for device in loaded.device:
            port = Path(device.link.partition(":")[2].partition("?")[0])
            if str(port).startswith("/dev/") and not port.exists():
                yield Found("fail", f"{device.link} is not there", "ls -l /dev/serial/by-path")
