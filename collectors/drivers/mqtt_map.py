"""Any bridge's topics, by a preset that is data: which topic carries what. Docs: docs/devices/mqtt_map.md."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from cellherd.errors import BadFrame, CellherdError
from cellherd.faults import catalogue
from cellherd.reading import KINDS, LENGTHS, SCALARS, Kind, Measured
from collectors.kernel import Chunk, Driver
from collectors.telegrams import Key, document, flat, number, parts

STALE_TELLS = 20
"""A value that was not renewed while so many readings were told is no longer told."""
MOST_MODULES = 64
PLACES = {"module": r"(?P<module>\d{1,3})", "place": r"(?P<place>\d{1,2})"}
"""What stands for a number in a topic: the pack, and the cell or sensor counted from 1."""
UNIT = "{unit}"
NAMES = {quantity.name for quantity in SCALARS} | {*LENGTHS}
MISSING = (b"unavailable", b"unknown", b"", b"nan")


@dataclass(frozen=True, slots=True)
class Read:
    """One topic of a preset. `tells` marks the one whose arrival makes a reading."""

    topic: str
    shape: re.Pattern[str]
    keys: tuple[Key, ...]
    faults: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    tells: bool = False
    module: int = 0


@dataclass(frozen=True, slots=True)
class Preset:
    """What a bridge publishes."""

    title: str
    kind: Kind
    reads: tuple[Read, ...]


Held = Mapping[int, Mapping[str, tuple[int, Any]]]
"""Module -> name -> (number of readings told when it was said, value)."""
TOLD = ""


def shipped() -> list[str]:
    """Names of the presets that come with CellHerd."""
    files = resources.files("collectors").joinpath("presets").iterdir()
    return sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml"))


@cache
def preset(name: str) -> Preset:
    """A preset by its name, or by the path of a file. Raises CellherdError with what is wrong in it."""
    if name not in shipped() and "/" not in name:
        raise CellherdError(f"no preset {name!r}; there are {', '.join(shipped())}, or give the path of a file")
    try:
        text = (
            resources.files("collectors").joinpath("presets", f"{name}.toml").read_text(encoding="utf-8")
            if name in shipped()
            else Path(name).read_text(encoding="utf-8")
        )
        return _parsed(tomllib.loads(text))
    except (OSError, ValueError, TypeError, KeyError) as error:
        what = f"{type(error).__name__} {error}"
        raise CellherdError(f"preset {name}: {what}; docs/devices/mqtt_map.md shows one") from None


def _parsed(tree: Mapping[str, Any]) -> Preset:
    if tree["kind"] not in KINDS:
        raise ValueError(f"kind {tree['kind']!r} is none of {', '.join(KINDS)}")
    return Preset(str(tree["title"]), tree["kind"], tuple(map(_read, tree["read"])))


def _read(entry: Mapping[str, Any]) -> Read:
    topic = str(entry["topic"])
    shape = re.escape(topic).replace(re.escape(UNIT), r"(?P<unit>[^/]+?)", 1).replace(re.escape(UNIT), r"(?P=unit)")
    for name, pattern in PLACES.items():
        shape = shape.replace(re.escape(f"{{{name}}}"), pattern)
    keys = tuple(_key(told) for told in entry.get("fields", ()))
    faults = {str(value): tuple(ids) for value, ids in entry.get("faults", {}).items()}
    if strange := {one for ids in faults.values() for one in ids} - {*catalogue()}:
        raise ValueError(f"no such fault: {', '.join(sorted(strange))}")
    return Read(topic, re.compile(shape), keys, faults, bool(entry.get("tells")), int(entry.get("module", 0)))


def _key(told: Mapping[str, Any]) -> Key:
    name = str(told["name"])
    if name not in NAMES and not name.startswith("extra."):
        raise ValueError(f"{name!r} is no quantity; there are {', '.join(sorted(NAMES))} and extra.NAME")
    bounds = {side: told[side] for side in ("least", "most") if side in told}
    return Key(name, tuple(told.get("paths", ())), told.get("times", 1), tuple(told.get("absent", ())), **bounds)


def topics(known: Preset) -> tuple[str, ...]:
    """What is listened to: a step with a number in it is any step."""
    numbered = re.compile(r"\{(module|place)\}")
    steps = (["+" if numbered.search(step) else step for step in read.topic.split("/")] for read in known.reads)
    return tuple(dict.fromkeys("/".join(told) for told in steps))


def said(known: Preset, chunk: Chunk) -> Iterator[tuple[Read, int, dict[str, Any]]]:
    """What one message says: the topic's line, the module, values by name. Raises BadFrame."""
    topic, payload = parts(chunk)
    for read in known.reads:
        found = read.shape.fullmatch(topic)
        if found is None:
            continue
        groups = found.groupdict()
        module = int(groups["module"]) if groups.get("module") else read.module
        yield read, module, dict(_values(read, payload, int(groups.get("place") or 0)))


def _values(read: Read, payload: bytes, place: int) -> Iterator[tuple[str, Any]]:
    if payload.lower() in MISSING:
        return
    if read.faults:
        text = payload.decode("utf-8", "replace").strip('"')
        yield "faults", read.faults.get(text, read.faults.get("*", ("vendor_code_unknown",)))
    if any(key.paths for key in read.keys):
        tree = document(payload)
        found = dict(flat(tree)) if isinstance(tree, dict) else {}
        yield from ((key.name, value) for key in read.keys if (value := key.value(found)) is not None)
    for key in read.keys:
        value = None if key.paths else key.one(number(payload.decode("utf-8", "replace")))
        if value is not None:
            yield f"{key.name}.{place - 1}" if place else key.name, value


def measured(known: Preset, module: int, values: Mapping[str, Any]) -> Measured:
    """A reading of values by name; cells and sensors that came one by one become their list."""
    told: dict[str, Any] = {"extra": {}}
    lists: dict[str, dict[int, int]] = {}
    for name, value in values.items():
        group, _, key = name.rpartition(".")
        if group in LENGTHS and int(key) >= 0:
            lists.setdefault(group, {})[int(key)] = value
        elif group == "extra":
            told["extra"][key] = value
        elif not group:
            told[name] = value if name not in LENGTHS or isinstance(value, tuple) else (value,)
    for name, entries in lists.items():
        told[name] = tuple(entries.get(i) for i in range(max(entries) + 1))
    for name in ("charge_on", "discharge_on"):
        if name in told:
            told[name] = bool(told[name])
    return Measured(module=module, kind=known.kind, **told)


def mapped(name: str) -> Driver:
    """The driver of one preset. Raises CellherdError."""
    known = preset(name)

    def decode(frame: Chunk, request: bytes | None = None) -> tuple[Measured, ...]:
        found = tuple(measured(known, module, values) for _, module, values in said(known, frame))
        if not found:
            raise BadFrame("no topic of this preset", parts(frame)[1][:512])
        return found

    def feed(state: Held, chunk: Chunk) -> tuple[Held, tuple[Measured, ...]]:
        told: list[Measured] = []
        try:
            news = list(said(known, chunk))
        except BadFrame:
            return state, ()
        for read, module, values in news:
            held = dict(state.get(module, {}))
            count = held.get(TOLD, (0, 0))[0]
            held |= {name: (count, value) for name, value in values.items()}
            if read.tells and values:
                held[TOLD] = (count + 1, 0)
                fresh = {name: value for name, (since, value) in held.items() if name and count - since <= STALE_TELLS}
                told.append(measured(known, module, fresh))
            if module in state or len(state) < MOST_MODULES:
                state = {**state, module: held}
        return state, tuple(told)

    return replace(DRIVER, title=f"mqtt_map: {known.title}", decode=decode, feed=feed, topics=topics(known))


def _undecided(frame: Chunk, request: bytes | None = None) -> tuple[Measured, ...]:
    """Without a preset: by the first shipped one that has the topic. Raises BadFrame."""
    for name in shipped():
        found = [measured(preset(name), module, values) for _, module, values in said(preset(name), frame)]
        if found:
            return tuple(found)
    raise BadFrame("no topic of a preset that comes with CellHerd", parts(frame)[1][:512])


def _unheard(state: Held, chunk: Chunk) -> tuple[Held, tuple[Measured, ...]]:
    """Without a preset: what each message alone says."""
    try:
        return state, _undecided(chunk)
    except BadFrame:
        return state, ()


DRIVER = Driver(
    name="mqtt_map",
    brand="generic",
    title="any bridge's topics, by a preset (`preset` in edge.toml)",
    line="a broker in the house",
    links=("mqtt",),
    decode=_undecided,
    feed=_unheard,
    fresh=dict,
    silence_s=600.0,
    ascii=True,
)
