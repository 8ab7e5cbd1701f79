"""Register maps as data: where a number stands in a frame and how it becomes our name and unit, both ways.

Drivers read with these tables and emulators write with the same ones.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cellherd.reading import LENGTHS, Measured


@dataclass(frozen=True, slots=True)
class Field:
    """`name` = raw * times / over + plus, from `offset`.

    `name` is a field of Measured, a place in one of its lists (`cell_mv.3`), or `extra.x`, `limits.x`, `info.x`,
    `counters.x`. `form` is a struct code with its byte order (">H"). `absent` is the raw value that means "no such
    sensor".
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
        group, _, key = self.name.rpartition(".")
        object.__setattr__(self, "code", struct.Struct(self.form))
        object.__setattr__(self, "place", (group, int(key) if group in LENGTHS else key))

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

    A list keeps the places of its absent entries, and of those before the window, as None.
    """
    flat: dict[Any, Any] = {}
    for one in table:
        at = one.offset - shift
        if at < 0 or at + one.code.size > len(data):
            continue
        value, (group, key) = one.value(data, at), one.place
        if not group:
            if value is not None:
                flat[key] = value
        elif value is not None or group in LENGTHS:
            flat.setdefault(group, {})[key] = value
    return {name: _as_list(value) if name in LENGTHS else value for name, value in flat.items()}


def _as_list(places: Mapping[int, int | None]) -> tuple[int | None, ...]:
    return tuple(places.get(i) for i in range(max(places) + 1))


def write(table: Table, measured: Measured, data: bytearray) -> None:
    """Put every field of the table that `measured` says into `data`."""
    for one in table:
        one.write(data, value_of(measured, one.name))


def value_of(measured: Measured, name: str) -> int | None:
    """What a field of a table stands for in a reading."""
    group, _, key = name.rpartition(".")
    if group in LENGTHS:
        entries: tuple[int | None, ...] = getattr(measured, group)
        return entries[int(key)] if int(key) < len(entries) else None
    holder: Mapping[str, Any] | None = getattr(measured, group) if group else None
    value = holder.get(key) if holder is not None else getattr(measured, name)
    return None if value is None else int(value)


def bits(mask: int) -> Iterable[int]:
    """Places of the bits that are set, lowest first."""
    return (i for i in range(mask.bit_length()) if mask >> i & 1)
