"""The frozen targets of every row, read from bars.toml beside this file."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files

Target = tuple[float, float]
"""Lowest and highest allowed, both included."""


def frozen(name: str, level: str = "base") -> tuple[str, Target]:
    """The row's name and its target at a level, else at `base`. Raises KeyError for a row that has none."""
    known = _bars()
    low, high = known[level].get(name) or known["base"][name]
    return name, (low, high)


def target(name: str, level: str = "base") -> Target:
    """The target alone, where the row says more than its bar's name."""
    return frozen(name, level)[1]


@cache
def _bars() -> dict[str, dict[str, Target]]:
    return tomllib.loads(files("pipeline.validation").joinpath("bars.toml").read_text("utf-8"))
