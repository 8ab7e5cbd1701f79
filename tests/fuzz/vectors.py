"""Every frame of the vectors with its request: what mutations begin with."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from collectors.decode import parse
from collectors.drivers import driver
from collectors.kernel import CanFrame, Chunk

VECTORS = Path(__file__).parents[1] / "vectors"


@dataclass(frozen=True, slots=True)
class Case:
    """One frame of a vector, sound or not, and the request that it answers."""

    name: str
    frame: Chunk
    request: bytes | None


@cache
def cases(name: str) -> tuple[Case, ...]:
    """All frames of a driver's vectors."""
    found: list[Case] = []
    for path in sorted((VECTORS / name).glob("*.toml")):
        vector = tomllib.loads(path.read_text(encoding="utf-8"))
        texts = vector["frame"] if isinstance(vector["frame"], list) else [vector["frame"]]
        request = parse(driver(name), vector["request"]) if "request" in vector else None
        assert not isinstance(request, CanFrame)
        found += [Case(path.stem, parse(driver(name), text), request) for text in texts]
    return tuple(found)
