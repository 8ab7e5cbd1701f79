"""Devices that are nothing but a table of Modbus registers: parts to read, fields, and words that tell faults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from cellherd import faults
from cellherd.errors import BadFrame
from cellherd.reading import Kind, Measured, combine
from collectors.fields import Field, Table, read
from collectors.kernel import Chunk, Conversation, Readable, Registers, Unsupported
from collectors.modbus_rtu import split

FUNCTIONS = (3, 4)


@dataclass(frozen=True, slots=True)
class Part:
    """`count` registers from `start` on, read at once. What is optional some models do not have."""

    function: Literal[3, 4]
    start: int
    count: int
    optional: bool = False

    @property
    def permit(self) -> Readable:
        """Its line of an allow-list."""
        return Readable(self.function, self.start, self.start + self.count)


@dataclass(frozen=True, slots=True)
class RegisterMap:
    """One model family. Offsets of `table` are those of `at`: twice the register's number.

    `words` are alarm words by the name of their raw value: register, and word of the brand's fault file. `codes` tell
    one fault by their value instead, in hex as the maker writes it; a value that is not listed is a state. `silent` are
    masks that nobody has explained.
    """

    brand: str
    kind: Kind
    parts: tuple[Part, ...]
    table: Table
    words: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    codes: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    silent: Mapping[str, int] = field(default_factory=dict)


def at(  # noqa: PLR0913, PLR0917 - a register is one readable line
    name: str, register: int, form: str = ">H", times: int = 1, over: int = 1, absent: int | None = None, plus: int = 0
) -> Field:
    """A field of a register map by its register's number."""
    return Field(name, 2 * register, form, times, over, plus, absent)


def measure(known: RegisterMap, start: int, data: bytes) -> Measured:
    """What the registers from `start` on say. Lists, faults and raw hold what stands whole in the data."""
    values = read(known.table, data, shift=2 * start)
    raw, told = dict[str, str](), list[str]()
    listed = faults.brand(known.brand)
    spoken = False
    for name, (register, word) in known.words.items():
        if (mask := _word(register, start, data)) is not None:
            spoken = True
            told += listed[word].of_mask(mask)
            raw[name] = f"{mask:04x}"
    for name, (register, word) in known.codes.items():
        if (code := _word(register, start, data)) is not None:
            raw[name] = f"{code:04x}"
            if raw[name] in listed[word].values:
                told += listed[word].of_value(raw[name])
    for name, register in known.silent.items():
        if (mask := _word(register, start, data)) is not None:
            raw[name] = f"{mask:04x}"
    values["faults"] = tuple(dict.fromkeys(told)) if spoken or told else None
    return Measured(kind=known.kind, raw=raw, **values)


def _word(register: int, start: int, data: bytes) -> int | None:
    place = 2 * (register - start)
    return int.from_bytes(data[place : place + 2], "big") if 0 <= place <= len(data) - 2 else None


def decode(known: RegisterMap, frame: Chunk, request: bytes | None) -> Measured:
    """The answer to a read that `known` has a part for. Raises BadFrame, Unsupported for a Modbus exception."""
    reply = split(frame, request, FUNCTIONS)
    if not covers(known, reply.function, reply.start):
        raise BadFrame(f"register {reply.start} is in no part of the map that we read", reply.data)
    return measure(known, reply.start, reply.data)


def covers(known: RegisterMap, function: int, start: int) -> bool:
    """Whether a read from `start` on is one of this map's."""
    return any(part.function == function and part.start <= start < part.start + part.count for part in known.parts)


def poll(known: RegisterMap) -> Conversation:
    """Every part, as one reading. Raises Unsupported where a part that all models have is refused."""
    found: list[Measured] = []
    for part in known.parts:
        try:
            data = yield Registers(part.function, part.start, part.count)
        except Unsupported:
            if not part.optional:
                raise
            continue
        if len(data) != 2 * part.count:
            raise BadFrame(f"{len(data)} bytes for {part.count} registers from {part.start}", data)
        found.append(measure(known, part.start, data))
    return (combine(*found),)
