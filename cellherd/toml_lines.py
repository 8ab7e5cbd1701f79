"""Which line of a TOML file says what, so that a complaint can point at it; tomllib itself does not tell."""

from __future__ import annotations

import re

Path = tuple[str | int, ...]

_HEADER = re.compile(r"\s*(\[\[?)\s*([^\[\]#]+?)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(r"\s*([A-Za-z0-9_.\"'-]+)\s*=")


def lines_of(text: str) -> dict[Path, int]:
    """Line number, from 1, of every table header and key, by its path (`("device", 0, "driver")`)."""
    found: dict[Path, int] = {}
    table: Path = ()
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(line):
            table = _enter(header, found)
            found[table] = number
        elif key := _KEY.match(line):
            found[(*table, *_names(key[1]))] = number
    return found


def _enter(header: re.Match[str], found: dict[Path, int]) -> Path:
    path: Path = tuple(_names(header[2]))
    if header[1] == "[":
        return path
    return (*path, sum(1 for known in found if len(known) == len(path) + 1 and known[:-1] == path))


def _names(dotted: str) -> list[str]:
    return [part.strip().strip("\"'") for part in dotted.split(".")]


def nearest(lines: dict[Path, int], path: Path) -> int | None:
    """Line of the path, or of the closest thing around it that stands in the file."""
    return next((lines[path[:n]] for n in range(len(path), 0, -1) if path[:n] in lines), None)
