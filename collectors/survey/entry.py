"""What was found as `[[device]]` tables, added to an edge.toml that a person may have written."""

from __future__ import annotations

import re
import socket
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from shutil import copy2, copymode

from pydantic import ValidationError

from cellherd.config import load_edge
from cellherd.errors import ConfigError
from cellherd.settings import EdgeConfig
from collectors import scan
from collectors.drivers import driver
from collectors.survey.finds import Find

SELDOM = {"victron_hex": 60}
"""Seconds between readings of devices that want to be asked seldom."""


def entries(finds: Sequence[Find], taken: Sequence[str] = ()) -> list[str]:
    """One table for each find that is worth it; those on one port are one stack. `taken` are stacks that exist."""
    kept = [find for find in finds if find.verdict.sure != "doubtful"]
    free = (name for number in range(1, 10_000) if (name := f"battery-{number}") not in taken)
    stacks = {port: next(free) for port in dict.fromkeys(find.port for find in kept)}
    return ["\n".join(_lines(find, stacks[find.port])) for find in kept]


def _lines(find: Find, stack: str) -> Iterator[str]:
    known = driver(find.driver)
    model = " ".join((*find.said("model"), *find.said("serial")))
    yield f"[[device]]  # {_comment(f'{known.title}; {model}' if model else known.title)}"
    yield f'stack = "{stack}"'
    yield f'driver = "{find.driver}"'
    yield f'link = "{find.link}"'
    if known.poll and find.address != known.default_address:
        yield f"address = {find.address}"
    places = [measured.module for measured in find.told if measured.module is not None and measured.kind != "bank"]
    if known.whole_bus or len(places) > 1 or (places and scan.shares_a_bus(known)):
        named = ", ".join(f'"{place}" = "m{place}"' for place in places)
        yield f"modules = {{ {named} }}"
    if find.driver in SELDOM:
        yield f"period_s = {SELDOM[find.driver]}"


def _comment(text: str) -> str:
    """What a device said of itself is no part of a file but as printable text on one line."""
    return re.sub(r"[^ -~]", "?", text)


def add_to(path: Path, finds: Sequence[Find]) -> str:
    """Append the tables of devices whose port is not in the file yet, and tell what was done.

    What stands there stays as it stands, and a copy of it is kept beside it. Raises ConfigError for a file that is
    wrong already, or that would be.
    """
    old = path.read_text(encoding="utf-8") if path.exists() else _begin()
    there = load_edge(path).device if path.exists() else []
    ports = {device.link.partition(":")[2].partition("?")[0] for device in there}
    new = [find for find in finds if find.link.partition(":")[2].partition("?")[0] not in ports]
    tables = entries(new, [device.stack for device in there])
    if not tables:
        return f"{path}: nothing to add, these ports stand there already"
    text = old.rstrip("\n") + "\n\n" + "\n\n".join(tables) + "\n"
    _check(path, text)
    kept = _keep(path) if path.exists() else None
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_text(text, encoding="utf-8")
    if kept:
        copymode(path, fresh)
    fresh.replace(path)
    return f"{path}: {len(tables)} added" + (f"; as it was: {kept}" if kept else "")


def _begin() -> str:
    name = re.sub(r"[^a-z0-9_-]+", "-", socket.gethostname().lower()).strip("-_") or "edge"
    return f'edge = "{name[:63]}"\n'


def _check(path: Path, text: str) -> None:
    try:
        EdgeConfig.model_validate(tomllib.loads(text))
    except (tomllib.TOMLDecodeError, ValidationError) as error:
        raise ConfigError(str(path), [f"left as it is, with what was found it would be wrong: {error}"]) from None


def _keep(path: Path) -> Path:
    names = (path.with_name(f"{path.name}.before-scan{'' if n == 1 else f'-{n}'}") for n in range(1, 10_000))
    copy = next(name for name in names if not name.exists())
    return Path(copy2(path, copy))
