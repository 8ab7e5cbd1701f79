"""What a person writes down: `edge.toml` on a Raspberry Pi and `fleet.toml` on the server. Strict, with kind errors.

All errors are found at once, each with its line and the nearest right spelling. Secrets never stand in these files:
`*_file` keys name the file that holds one (a bare name is looked up among systemd's credentials first).
CELLHERD_ variables override tables: CELLHERD_MQTT__URL=mqtts://broker.example sets `url` in `[mqtt]`.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from cellherd.errors import ConfigError
from cellherd.settings import EdgeConfig, FleetConfig
from cellherd.toml_lines import lines_of, nearest

__all__ = ["EdgeConfig", "FleetConfig", "load", "load_edge", "load_fleet", "read_secret"]

PREFIX = "CELLHERD_"


Config = TypeVar("Config", bound=BaseModel)


def load_edge(path: Path, environ: Mapping[str, str] = os.environ) -> EdgeConfig:
    """Read edge.toml. Raises ConfigError with everything that is wrong in it."""
    return load(EdgeConfig, path, environ)


def load_fleet(path: Path, environ: Mapping[str, str] = os.environ) -> FleetConfig:
    """Read fleet.toml. Raises ConfigError with everything that is wrong in it."""
    return load(FleetConfig, path, environ)


def load(model: type[Config], path: Path, environ: Mapping[str, str]) -> Config:
    """Read a TOML file as the model, with what the environment sets over it. Raises ConfigError with every mistake."""
    try:
        text = path.read_text(encoding="utf-8")
        raw = tomllib.loads(text)
    except FileNotFoundError:
        raise ConfigError(str(path), ["there is no such file; docs/configuration.md shows one to begin with"]) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(str(path), [str(error)]) from None
    try:
        return model.model_validate(_overridden(raw, environ, set(model.model_fields)))
    except ValidationError as error:
        raise ConfigError(str(path), list(_complaints(model, error, text))) from None


def _overridden(raw: dict[str, Any], environ: Mapping[str, str], known: set[str]) -> dict[str, Any]:
    """Names without a `__` that are no key of ours (CELLHERD_STATE and the like) are somebody else's business."""
    for name, value in environ.items():
        key = name.removeprefix(PREFIX).lower()
        if not name.startswith(PREFIX) or ("__" not in key and key not in known):
            continue
        *tables, last = key.split("__")
        place = raw
        for table in tables:
            place = place.setdefault(table, {})
        place[last] = _value(value)
    return raw


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _complaints(model: type[BaseModel], error: ValidationError, text: str) -> Iterator[str]:
    lines = lines_of(text)
    for problem in error.errors():
        path = tuple(part for part in problem["loc"] if not str(part).startswith(("list[", "dict[")))
        line = nearest(lines, path)
        where = (f"line {line}: " if line else "") + ".".join(map(str, path))
        yield f"{where}: {_said(model, problem, path)}" if where else _said(model, problem, path)


def _said(model: type[BaseModel], problem: Any, path: tuple[str | int, ...]) -> str:
    if problem["type"] == "extra_forbidden":
        known = _keys(model, path[:-1])
        near = get_close_matches(str(path[-1]), known, 1)
        return "unknown key, " + (f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}")
    if problem["type"] == "missing":
        return "is missing"
    got = problem.get("input")
    told = str(problem["msg"]).removeprefix("Value error, ")
    return told if isinstance(got, dict) else f"{told}, got {got!r}"


def _keys(model: type[BaseModel], path: tuple[str | int, ...]) -> list[str]:
    here: Any = model
    for part in path:
        if isinstance(part, str):
            inner = here.model_fields[part].annotation
            here = next((a for a in (*getattr(inner, "__args__", ()), inner) if hasattr(a, "model_fields")), here)
    return list(here.model_fields)


def read_secret(name: str | None) -> str | None:
    """The secret in a file: a systemd credential of that name, else a path. Raises ConfigError if it cannot be read."""
    if name is None:
        return None
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    path = Path(credentials, name) if credentials and Path(credentials, name).exists() else Path(name)
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError(name, [f"the secret cannot be read: {error.strerror}"]) from None
