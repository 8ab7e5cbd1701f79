"""Line protocol as tables: what `cellherd influx fill --out` wrote, read back for those who have no InfluxDB."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

import polars as pl

from cellherd.errors import CellherdError

Points: TypeAlias = Mapping[str, pl.DataFrame]
"""By measurement: `ts` (UTC ms), its tags and its fields."""

BUCKETS = ("live", "nightly")
_FIELD = re.compile(r'([a-z][a-z0-9_]*)=("(?:[^"\\]|\\.)*"|[^,]*)')
_HEAD = re.compile(r"((?:[^ \\]|\\.)+) (.*) (-?[0-9]+)")


def read(folder: Path) -> Points:
    """Both files of the folder. Raises CellherdError where there is none."""
    texts = [path.read_text(encoding="utf-8") for name in BUCKETS if (path := folder / f"{name}.lp").is_file()]
    if not texts:
        raise CellherdError(f"{folder} holds no live.lp or nightly.lp; write them with `cellherd influx fill --out`")
    return parsed("\n".join(texts))


def parsed(text: str) -> Points:
    """Tables of line protocol as `pipeline` writes it. A later point of the same series and time replaces fields."""
    rows: dict[str, list[dict[str, str | float | None]]] = {}
    for line in text.splitlines():
        if found := _HEAD.fullmatch(line):
            measurement, *tags = re.split(r"(?<!\\),", found[1])
            row: dict[str, str | float | None] = {"ts": int(found[3])}
            row |= {key: _plain(value) for key, _, value in (tag.partition("=") for tag in tags)}
            row |= {key: _value(value) for key, value in _FIELD.findall(found[2])}
            rows.setdefault(measurement, []).append(row)
    return {name: _table(found) for name, found in rows.items()}


def _table(rows: list[dict[str, str | float | None]]) -> pl.DataFrame:
    names = {name: None for row in rows for name in row}
    columns = {name: [row.get(name) for row in rows] for name in names}
    return pl.DataFrame({name: pl.Series(name, values, strict=False) for name, values in columns.items()})


def _plain(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)


def _value(text: str) -> str | float:
    if text.startswith('"'):
        return _plain(text[1:-1])
    return float(text.removesuffix("i"))
