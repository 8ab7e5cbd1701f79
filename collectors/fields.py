"""Register maps as data: where a number stands in a frame and how it becomes our name and unit, both ways.

Drivers read with these tables and emulators write with the same ones.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
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

    @property
    def end(self) -> int:
        """Offset behind the last byte."""
        return self.offset + struct.calcsize(self.form)

    def read(self, data: bytes) -> int | None:
        """The value in our unit, None if the sentinel stands there or the frame is too short to carry it."""
        if self.offset < 0 or self.end > len(data):
            return None
        raw: int = struct.unpack_from(self.form, data, self.offset)[0]
        if raw == self.absent:
            return None
        scaled = raw * self.times
        return (scaled if self.over == 1 else round(scaled / self.over)) + self.plus

    def write(self, data: bytearray, value: int | None) -> None:
        """Put a value back as the device would; None becomes the sentinel."""
        raw = (value - self.plus) * self.over // self.times if value is not None else self.absent
        struct.pack_into(self.form, data, self.offset, raw or 0)


Table = tuple[Field, ...]


def read(table: Table, data: bytes, *, shift: int = 0) -> dict[str, Any]:
    """Arguments for Measured from every field that stands whole in `data`, whose first byte has offset `shift`.

    A list keeps the places of its absent entries, and of those before the window, as None.
    """
    flat: dict[str, Any] = {}
    for field in table:
        here = _moved(field, shift) if shift else field
        value = here.read(data)
        group, _, name = field.name.rpartition(".")
        if group in LENGTHS:
            if here.offset >= 0 and here.end <= len(data):
                flat.setdefault(group, {})[int(name)] = value
        elif value is not None and group:
            flat.setdefault(group, {})[name] = value
        elif value is not None:
            flat[name] = value
    return {name: _as_list(value) if name in LENGTHS else value for name, value in flat.items()}


def _as_list(places: Mapping[int, int | None]) -> tuple[int | None, ...]:
    return tuple(places.get(i) for i in range(max(places) + 1))


def _moved(field: Field, shift: int) -> Field:
    return replace(field, offset=field.offset - shift)


def write(table: Table, measured: Measured, data: bytearray) -> None:
    """Put every field of the table that `measured` says into `data`."""
    for field in table:
        field.write(data, value_of(measured, field.name))


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
