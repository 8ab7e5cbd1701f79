"""How a foreign file's columns become ours: a small TOML, shipped for known data sets or written by the analyst."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from cellherd.config import load
from cellherd.errors import CellherdError

PRESETS = resources.files("pipeline.measured") / "presets"


class Strict(BaseModel):
    """A table of the mapping, in which an unknown key is a mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Time(Strict):
    """Which column says when: ISO text, or a number since 1970. `plus_s` names seconds to be added to it."""

    column: str
    unit: Literal["iso", "s", "ms"] = "iso"
    plus_s: str | None = None
    zone: str = "UTC"


class Column(Strict):
    """Our number is theirs times `times` plus `plus`. A list takes `count` columns, numbered from `first` in {}.

    A file may lack what is `optional`; without that word a missing column is an error.
    """

    column: str
    times: float = 1.0
    plus: float = 0.0
    first: int = 0
    count: Annotated[int, Field(ge=1, le=48)] | None = None
    optional: bool = False

    def names(self) -> list[str]:
        """The foreign columns, one or several."""
        return [self.column.format(self.first + i) for i in range(self.count or 1)]


class Module(Strict):
    """The column that tells several batteries of one file apart."""

    column: str


class Mapping(Strict):
    """A whole mapping; `columns` by the names of design section 2."""

    title: str
    chemistry: str
    time: Time
    module: Module | None = None
    columns: dict[str, Column]


def presets() -> list[str]:
    """The names of the mappings that are shipped."""
    return sorted(Path(item.name).stem for item in PRESETS.iterdir() if item.name.endswith(".toml"))


def mapping(name: str) -> Mapping:
    """A shipped mapping by its name, or one from a file. Raises CellherdError, or ConfigError with every mistake."""
    if name in presets():
        with resources.as_file(PRESETS / f"{name}.toml") as path:
            return load(Mapping, path, {})
    if not Path(name).is_file():
        raise CellherdError(f"no mapping {name!r}: give a file, or one of {', '.join(presets())}")
    return load(Mapping, Path(name), {})
