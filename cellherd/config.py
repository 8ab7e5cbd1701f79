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
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ValidationError

from cellherd.errors import ConfigError
from cellherd.secrecy import redacted, remember
from cellherd.settings import EdgeConfig, FleetConfig
from cellherd.toml_lines import lines_of, nearest

__all__ = ["EdgeConfig", "FleetConfig", "load", "load_edge", "load_fleet", "read_public", "read_secret"]

PREFIX = "CELLHERD_"
CONTAINER = Path("/run/secrets")


Config = TypeVar("Config", bound=BaseModel)


def load_edge(path: Path, environ: Mapping[str, str] = os.environ) -> EdgeConfig:
    """Read edge.toml. Raises ConfigError with everything that is wrong in it."""
    return load(EdgeConfig, path, environ)


def load_fleet(path: Path, environ: Mapping[str, str] = os.environ) -> FleetConfig:
    """Read fleet.toml. Raises ConfigError with everything that is wrong in it."""
    return load(FleetConfig, path, environ)


def which(file: Path) -> Literal["edge", "fleet"]:
    """Whether a config file is an edge's or the server's, by its first key."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ConfigError(str(file), [str(error.strerror)]) from None
    top = [line.partition("=")[0].strip() for line in lines[: next(_headers(lines), len(lines))]]
    return "edge" if "edge" in top or any(line.strip() == "[[device]]" for line in lines) else "fleet"


def _headers(lines: list[str]) -> Iterator[int]:
    return (i for i, line in enumerate(lines) if line.lstrip().startswith("["))


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
        return model.model_validate(_beside(_overridden(raw, environ, set(model.model_fields)), path.parent))
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
    return told if isinstance(got, dict) else redacted(f"{told}, got {got!r}")


def _keys(model: type[BaseModel], path: tuple[str | int, ...]) -> list[str]:
    here: Any = model
    for part in path:
        if isinstance(part, str):
            inner = here.model_fields[part].annotation
            here = next((a for a in (*getattr(inner, "__args__", ()), inner) if hasattr(a, "model_fields")), here)
    return list(here.model_fields)


def _beside(table: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Bare names of files that lie beside the config get its folder; systemd's credentials go first."""
    found = dict(table)
    for key, value in table.items():
        if isinstance(value, dict):
            found[key] = _beside(value, folder)
        elif isinstance(value, list):
            found[key] = [_beside(each, folder) if isinstance(each, dict) else each for each in value]
        elif key.endswith("_file") and isinstance(value, str) and "/" not in value:
            here = folder / value
            found[key] = str(here) if here.exists() and not _credential(value) else value
    return found


def _credential(name: str) -> Path | None:
    """A systemd credential of that name."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    path = Path(folder, name) if folder and "/" not in name else None
    return path if path is not None and path.exists() else None


def file_named(name: str) -> Path:
    """The file that a `*_file` key means: a systemd credential of that name, else a path."""
    return _credential(name) or Path(name)


def read_secret(name: str | None) -> str | None:
    """The secret in a file, to be struck out of everything we say.

    Raises ConfigError if it cannot be read, or if everybody on this machine can. Files below /run/secrets are left
    alone: their container is the wall around them, and its engine decides their mode.
    """
    if name is None:
        return None
    path = file_named(name)
    try:
        if path.stat().st_mode & 0o007 and path.parent != CONTAINER:
            raise ConfigError(name, [f"everybody on this machine can read this secret; chmod 600 {path}"])
        secret = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(name, [f"the secret cannot be read: {getattr(error, 'strerror', 'not text')}"]) from None
    remember(secret)
    return secret


def read_public(name: str) -> str:
    """The text of a file that is no secret, such as a certificate. Raises ConfigError if it cannot be read."""
    try:
        return file_named(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(name, [f"it cannot be read: {getattr(error, 'strerror', 'not text')}"]) from None
