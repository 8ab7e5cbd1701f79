"""Register maps as data: where a number stands in a frame and how it becomes our name and unit, both ways.

Drivers read with these tables and emulators write with the same ones.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from operator import itemgetter
from typing import Any

from cellherd.reading import LENGTHS, Measured


@cache
def _place(name: str) -> tuple[str, str | int]:
    """Group and key of a name, or "" and the name."""
    group, _, key = name.rpartition(".")
    return group, int(key) if group in LENGTHS else key


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """`name` = raw * times / over + plus, from `offset`.

    `name` is a field of Measured, a place in one of its lists (`cell_mv.3`), or `extra.x`, `limits.x`, `info.x`,
    `counters.x`. `form` is a struct code with its byte order (">H"). `absent` is the raw value that means "no such
    sensor". A field is itself and equals no other one, so that a whole table is quickly recognised.
    """

    name: str
    offset: int
    form: str
    times: int = 1
    over: int = 1
    plus: int = 0
    absent: int | None = None
    code: struct.Struct = field(init=False, repr=False, compare=False)
    place: tuple[str, str | int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """What every frame would ask for again: the compiled form, and group and key of the name."""
        object.__setattr__(self, "code", struct.Struct(self.form))
        object.__setattr__(self, "place", _place(self.name))

    @property
    def plain(self) -> bool:
        """Whether the raw number is the value."""
        return (self.times, self.over, self.plus, self.absent) == (1, 1, 0, None)

    @property
    def end(self) -> int:
        """Offset behind the last byte."""
        return self.offset + self.code.size

    def read(self, data: bytes) -> int | None:
        """The value in our unit, None if the sentinel stands there or the frame is too short to carry it."""
        return self.value(data, self.offset) if self.offset >= 0 and self.end <= len(data) else None

    def value(self, data: bytes, at: int) -> int | None:
        """The value of the bytes that stand whole at `at`."""
        raw: int = self.code.unpack_from(data, at)[0]
        if raw == self.absent:
            return None
        scaled = raw * self.times
        return (scaled if self.over == 1 else round(scaled / self.over)) + self.plus

    def write(self, data: bytearray, value: int | None) -> None:
        """Put a value back as the device would; None becomes the sentinel."""
        raw = (value - self.plus) * self.over // self.times if value is not None else self.absent
        self.code.pack_into(data, self.offset, raw or 0)


Table = tuple[Field, ...]


def read(table: Table, data: bytes, *, shift: int = 0) -> dict[str, Any]:
    """Arguments for Measured from every field that stands whole in `data`, whose first byte has offset `shift`.

    A list keeps the places of its absent entries, and of those before the window, as None. Of two fields of one name
    the later one counts.
    """
    plan = _plan(table, shift, len(data))
    values: list[int | None] = []
    for code, at in plan.layers:
        values += code.unpack_from(data, at)
    for i, times, over, plus, absent in plan.conversions:
        raw: int = values[i]  # type: ignore[assignment]
        if raw == absent:
            values[i] = None
        else:
            values[i] = (raw * times if over == 1 else round(raw * times / over)) + plus
    found: dict[str, Any] = {}
    for name, pick in plan.lists:
        found[name] = tuple(pick(values))
    for name, keys, pick, doubtful in plan.groups:
        entries = dict(zip(keys, pick(values), strict=True))
        for key in doubtful:
            if entries[key] is None:
                del entries[key]
        if not name:
            found |= entries
        elif entries:
            found[name] = entries
    return found


def put(said: dict[str, Any], name: str, value: Any) -> None:
    """One value into the arguments for Measured: `extra.x` into its group, a number into the list that `name` is."""
    group, _, key = name.rpartition(".")
    if group:
        said.setdefault(group, {})[key] = value
    else:
        said[name] = (value,) if name in LENGTHS and not isinstance(value, tuple) else value


Pick = Callable[[list[int | None]], Sequence[int | None]]


@dataclass(frozen=True, slots=True)
class Plan:
    """A table made ready for frames of one length: what to take out at once, to convert, and where it goes."""

    layers: tuple[tuple[struct.Struct, int], ...]
    conversions: tuple[tuple[int, int, int, int, int | None], ...]
    """Place among the values, times, over, plus, absent."""
    lists: tuple[tuple[str, Pick], ...]
    groups: tuple[tuple[str, tuple[str, ...], Pick, tuple[str, ...]], ...]
    """Name, keys, their values, and which of the keys may be absent."""


@lru_cache(1024)
def _plan(table: Table, shift: int, size: int) -> Plan:
    """What `read` does with the fields that stand whole in `size` bytes from offset `shift`."""
    whole = [one for one in table if one.offset >= shift and one.end <= shift + size]
    layers = _layers(whole)
    flat = [one for layer in layers for one in layer]
    index = {one: i for i, one in enumerate(flat)}
    groups: dict[str, dict[str | int, int]] = {}
    for one in whole:
        group, key = one.place
        groups.setdefault(group, {})[key] = index[one]
    return Plan(
        tuple((_code(layer), layer[0].offset - shift) for layer in layers),
        tuple((i, f.times, f.over, f.plus, f.absent) for i, f in enumerate(flat) if not f.plain),
        tuple((name, _at(_places(groups[name]))) for name in LENGTHS if name in groups),
        tuple(
            (name, tuple(map(str, keys)), _at([*keys.values()]), _doubtful(keys, flat))
            for name, keys in groups.items()
            if name not in LENGTHS
        ),
    )


def _doubtful(keys: Mapping[str | int, int], flat: list[Field]) -> tuple[str, ...]:
    return tuple(str(key) for key, i in keys.items() if flat[i].absent is not None)


def _layers(left: list[Field]) -> list[list[Field]]:
    """The fields in order of their offsets; one that overlaps, or has another byte order, lies in another layer."""
    layers: list[list[Field]] = []
    for one in sorted(left, key=lambda one: one.offset):
        fitting = (layer for layer in layers if layer[-1].end <= one.offset and layer[-1].form[0] == one.form[0])
        home = next(fitting, None)
        if home is None:
            layers.append([one])
        else:
            home.append(one)
    return layers


def _code(layer: list[Field]) -> struct.Struct:
    """All fields of a layer in one form, with pad bytes between them."""
    ends = [layer[0].offset, *(one.end for one in layer)]
    parts = (f"{one.offset - end}x{one.form[1:]}" for one, end in zip(layer, ends, strict=False))
    return struct.Struct(layer[0].form[0] + "".join(parts))


def _places(entries: Mapping[str | int, int]) -> list[int | None]:
    """Where the entries of a list stand among the values, from its first place on; None for those that nobody says."""
    return [entries.get(i) for i in range(max(map(int, entries)) + 1)]


def _at(places: list[int | None]) -> Pick:
    """Picks the values at these places."""
    if None in places:
        return lambda values: [None if i is None else values[i] for i in places]
    first = places[0] or 0
    if places == list(range(first, first + len(places))):
        return itemgetter(slice(first, first + len(places)))
    return itemgetter(*places)


def write(table: Table, measured: Measured, data: bytearray) -> None:
    """Put every field of the table that `measured` says into `data`."""
    for one in table:
        one.write(data, value_of(measured, one.name))


def value_of(measured: Measured, name: str) -> int | None:
    """What a field of a table stands for in a reading."""
    group, key = _place(name)
    if isinstance(key, int):
        entries: tuple[int | None, ...] = getattr(measured, group)
        return entries[key] if key < len(entries) else None
    holder: Mapping[str, Any] | None = getattr(measured, group) if group else None
    value = holder.get(key) if holder is not None else getattr(measured, name)
    return None if value is None else int(value)


def bits(mask: int) -> Iterable[int]:
    """Places of the bits that are set, lowest first."""
    return (i for i in range(mask.bit_length()) if mask >> i & 1)
