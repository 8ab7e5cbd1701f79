"""What would keep a machine from working, and what mends it: the machine itself here, the rest in the rooms.

A room adds what it knows of its own config: `ROOMS` names a function (config, state folder) -> Iterator[Found].
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal
from zoneinfo import available_timezones

from cellherd import __version__
from cellherd.clock import SystemClock
from cellherd.config import EdgeConfig, load_edge, load_fleet, which
from cellherd.errors import CellherdError, ConfigError

ROOMS = {"edge": "collectors.doctor", "fleet": "pipeline.doctor"}
PARTS = {"edge": ("serial", "pymodbus", "can", "cantools"), "server": ("polars", "deltalake", "influxdb_client")}
NEEDS = {"edge": "edge", "fleet": "server"}
FASTAPI_FOR_PREFECT = (0, 151)
"""Prefect 3.8 breaks with this FastAPI and later ones."""


@dataclass(frozen=True, slots=True)
class Found:
    """One line of the doctor: ok, warn or fail, and what mends it."""

    state: Literal["ok", "warn", "fail"]
    what: str
    mend: str = ""


def examine(config: Path | None, state: Path) -> Iterator[Found]:
    """Everything the doctor looks at, in the order in which a person would mend it."""
    yield Found("ok", f"cellherd {__version__} on Python {'.'.join(map(str, sys.version_info[:3]))}")
    yield from _extras()
    yield from _prefect()
    yield _clock()
    yield _zones()
    yield _disk(state)
    yield from _serial()
    if config:
        yield from _config(config, state)


def _extras() -> Iterator[Found]:
    for extra, modules in PARTS.items():
        missing = [module for module in modules if find_spec(module) is None]
        if missing:
            yield Found("warn", f"{extra}: {', '.join(missing)} not installed", f"pip install 'cellherd[{extra}]'")
        else:
            yield Found("ok", f"{extra}: all parts installed")


def _prefect() -> Iterator[Found]:
    try:
        prefect, fastapi = version("prefect"), version("fastapi")
    except PackageNotFoundError:
        return
    fits = tuple(int(part) for part in fastapi.split(".")[:2]) < FASTAPI_FOR_PREFECT
    told = f"Prefect {prefect} with FastAPI {fastapi}"
    yield Found("ok", told) if fits else Found("fail", f"{told}: every flow would die", "pip install 'fastapi<0.151'")


def _clock() -> Found:
    if SystemClock().quality() == "ntp":
        return Found("ok", "the clock is disciplined by a time service")
    return Found("warn", "no time service disciplines the clock", "timedatectl set-ntp true")


def _zones() -> Found:
    if "Europe/Berlin" in available_timezones():
        return Found("ok", "time zones are known")
    return Found("fail", "no time zone is known on this machine", "apt install tzdata, or pip install tzdata")


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


def _config(path: Path, state: Path) -> Iterator[Found]:
    try:
        kind = which(path)
        loaded = load_edge(path) if kind == "edge" else load_fleet(path)
    except ConfigError as error:
        for complaint in error.complaints:
            yield Found("fail", f"{path}: {complaint}", "docs/configuration.md")
        return
    devices = f", {len(loaded.device)} devices" if isinstance(loaded, EdgeConfig) else ""
    yield Found("ok", f"{path} is fine{devices}")
    try:
        room = import_module(ROOMS[kind])
    except ImportError as error:
        yield Found("warn", f"{kind}: cannot look further, {error}", f"pip install 'cellherd[{NEEDS[kind]}]'")
        return
    try:
        yield from room.examine(loaded, state)
    except CellherdError as error:
        yield Found("fail", str(error), f"cellherd config check {path}")
