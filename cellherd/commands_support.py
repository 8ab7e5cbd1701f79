"""`cellherd support-bundle`: what a helper needs, in one file, without secrets."""

from __future__ import annotations

import json
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import distributions
from pathlib import Path
from typing import Annotated
from zipfile import ZIP_DEFLATED, ZipFile

import typer

from cellherd import __version__
from cellherd.doctor import examine
from cellherd.errors import CellherdError
from cellherd.paths import default_state
from cellherd.secrecy import STRUCK, redacted, remember

LOG_LINES = 2000
UNITS = ("cellherd-edge", "cellherd-server", "cellherd-nightly")
SECRETIVE = re.compile(
    r'^(\s*[\w.]*(?:password|token|secret|key)\w*\s*=\s*)("[^"]*"|\S+)', re.IGNORECASE | re.MULTILINE
)
"""A line of a config that sets something with such a name; those that end in _file name a place and stay."""


def support_bundle(
    out: Annotated[Path | None, typer.Option("-o", "--out", help="The zip file to write.")] = None,
    config: Annotated[list[Path] | None, typer.Option(help="edge.toml or fleet.toml; may be given twice.")] = None,
    capture: Annotated[Path | None, typer.Option(help="A capture to go along (it holds serial numbers).")] = None,
    state: Annotated[Path | None, typer.Option(help="State folder.")] = None,
) -> None:
    """Put what a helper needs into one zip: versions, the doctor's findings, config and logs, without secrets.

    Look into it before you send it: ids of sites and serial numbers of batteries may stand in it.

    Example: cellherd support-bundle --config /etc/cellherd/edge.toml
    """
    place = out or Path(f"cellherd-support-{datetime.now(UTC):%Y%m%d-%H%M%S}.zip")
    if place.exists():
        raise CellherdError(f"{place} exists; name another file with --out")
    configs = config or []
    for file in configs:
        _learn_secrets(file)
    with ZipFile(place, "x", ZIP_DEFLATED) as bundle:
        for name, text in _parts(configs, state or default_state()):
            bundle.writestr(name, redacted(text))
        if capture:
            bundle.writestr(f"capture/{capture.name}", _text(capture))
    typer.echo(f"{place}: {place.stat().st_size / 1000:.0f} kB. Look into it before you send it.")


def _parts(configs: list[Path], state: Path) -> Iterator[tuple[str, str]]:
    yield "versions.txt", "\n".join(_versions()) + "\n"
    if not configs:
        yield "doctor.json", _doctor(None, state)
    for file in configs:
        yield f"doctor-{file.stem}.json", _doctor(file, state)
        yield f"config/{file.name}", without_secrets(_text(file))
    yield "state.txt", "\n".join(_files(state)) + "\n"
    for unit in UNITS:
        if log := _log(unit):
            yield f"log/{unit}.txt", log


def _doctor(config: Path | None, state: Path) -> str:
    return json.dumps([asdict(found) for found in examine(config, state)], indent=1) + "\n"


def without_secrets(text: str) -> str:
    """A config without what its keys call a secret. Files of secrets are only named there."""
    return SECRETIVE.sub(lambda m: m[0] if m[1].rstrip(" =").endswith("_file") else f'{m[1]}"{STRUCK}"', text)


def _learn_secrets(file: Path) -> None:
    """Remember the secrets that a config names, so that they are struck out wherever they turn up."""
    for name in re.findall(r'^\s*\w+_file\s*=\s*"([^"]+)"', _text(file), re.MULTILINE):
        place = file.parent / name
        if place.is_file() and place.suffix not in (".pem", ".crt"):
            remember(_text(place).strip())


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise CellherdError(f"{file}: cannot be read, {error.strerror}") from None


def _versions() -> Iterator[str]:
    yield f"cellherd {__version__}"
    yield f"Python {sys.version.split()[0]}, {platform.platform()}, {platform.machine()}"
    yield from sorted(f"{one.metadata['Name']} {one.version}" for one in distributions())


def _files(state: Path) -> Iterator[str]:
    for path in sorted(state.rglob("*"))[:LOG_LINES] if state.exists() else []:
        if path.is_file():
            told = path.stat()
            when = datetime.fromtimestamp(told.st_mtime, UTC)
            yield f"{told.st_size:>12} {when:%Y-%m-%d %H:%M} {path.relative_to(state)}"


def _log(unit: str) -> str:
    if shutil.which("journalctl") is None:
        return ""
    command = ["journalctl", "--no-pager", "-q", "-n", str(LOG_LINES), "-u", unit]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout
