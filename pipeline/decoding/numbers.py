"""The numbers of many messages at once: one text of digits and commas becomes one array, and that the columns.

No number is an object of Python's on its way, which would be half of what decoding costs. What a text looks like
without its digits tells whether each column has the length it must have; msgspec made sure before that it is JSON, so
what stands between the commas is a whole number or null. Whether it fits its column is seen once it is a number.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from cellherd.reading import CELLS, SCALARS, TEMPS
from pipeline.schema import CELL_COLUMNS, TEMP_COLUMNS

_AT_ONCE = 128
"""Messages whose numbers are one text: more fall out of the processor's cache (tests/bench/stores.py)."""
_BITS = {**{q.name: q.bits for q in SCALARS}, **dict.fromkeys((*CELL_COLUMNS, *TEMP_COLUMNS), 16)}
_LARGEST = 2**63 - 1
"""What becomes of a larger number too, so that it is in doubt itself."""
_DIGITS, _BRACKETS, _NULL = b"-0123456789", b"[]", b"null"
_Ints: TypeAlias = npt.NDArray[np.int64]
_Truths: TypeAlias = npt.NDArray[np.bool_]


class Shape(NamedTuple):
    """Which columns a message has: how many readings, which scalars, how many cells and temperatures."""

    n: int
    scalars: tuple[bool, ...]
    cells: int
    temps: int


class Numbers(NamedTuple):
    """A message's scalars and lists as JSON, separated by commas, and how many they are."""

    shape: Shape
    text: bytes
    keys: int


def numbers(n: int, columns: Sequence[msgspec.Raw | None]) -> Numbers | None:
    """What a message of n readings says in SCALARS and LISTS; None unless every column is n integers or nulls."""
    *scalars, cells, temps = columns
    shape = Shape(n, tuple([column is not None for column in scalars]), _width(cells), _width(temps))
    said = [column for column in columns if column is not None]
    text = b",".join(said)
    bare = text.translate(None, _DIGITS)
    if b"n" in bare:
        bare = bare.replace(_NULL, b"")
    if shape.cells > CELLS or shape.temps > TEMPS or len(bare) < n * _height(shape):  # before any room is taken for it
        return None
    if bare != _skeleton(shape) or (n == 1 and b"[]" in text):  # which looks like one number without its digits
        return None
    return Numbers(shape, text, len(said))


def _width(columns: msgspec.Raw | None) -> int:
    return 0 if columns is None else bytes(columns).count(b"[") - 1


def _height(shape: Shape) -> int:
    return sum(shape.scalars) + shape.cells + shape.temps


@lru_cache(256)  # few, since a hostile edge may make each of them 64 KiB long
def _skeleton(shape: Shape) -> bytes:
    column = b"[" + b"," * (shape.n - 1) + b"]"
    lists = [b"[" + b",".join([column] * width) + b"]" for width in (shape.cells, shape.temps) if width]
    return b",".join([column] * sum(shape.scalars) + lists)


@lru_cache(1024)
def _names(shape: Shape) -> tuple[str, ...]:
    scalars = [q.name for q, said in zip(SCALARS, shape.scalars, strict=True) if said]
    return (*scalars, *CELL_COLUMNS[: shape.cells], *TEMP_COLUMNS[: shape.temps])


@dataclass(frozen=True, slots=True)
class Block:
    """The numbers of all messages of one shape. `places` are those of the messages among all of them.

    A column has a row for each message and a place for each of its readings; so has a column of `said`, which tells
    where there is a number (None: everywhere). `doubtful` are places of messages with a number that does not fit its
    column, or that may have been larger than 64 bits.
    """

    n: int
    places: list[int]
    columns: dict[str, _Ints]
    said: dict[str, _Truths] | None
    doubtful: list[int]


def blocks(messages: Sequence[Numbers]) -> list[Block]:
    """The numbers of all messages; the shapes in the order in which they came first."""
    places: dict[Shape, list[int]] = defaultdict(list)
    for place, message in enumerate(messages):
        places[message.shape].append(place)
    return [_block(shape, found, [messages[place].text for place in found]) for shape, found in places.items()]


def _block(shape: Shape, places: list[int], texts: list[bytes]) -> Block:
    names = _names(shape)
    most = np.array([min(2 ** (_BITS[name] - 1), _LARGEST) - 1 for name in names], np.int64)[:, None]
    columns = {name: np.empty((len(texts), shape.n), f"i{_BITS[name] // 8}") for name in names}
    said: dict[str, _Truths] | None = None
    doubtful: list[int] = []
    for at in range(0, len(texts), _AT_ONCE):  # from text to column while it is in the processor's cache
        form = (len(texts[at : at + _AT_ONCE]), len(names), shape.n)
        values, known = _parsed(texts[at : at + _AT_ONCE], form)
        _fill(columns.values(), at, values)
        doubtful += [places[at + message] for message in _beyond(values, most)]
        if known is not None:
            said = said or {name: np.ones((len(texts), shape.n), bool) for name in names}
            _fill(said.values(), at, known)
    return Block(shape.n, places, columns, said, doubtful)


def _parsed(texts: list[bytes], form: tuple[int, int, int]) -> tuple[_Ints, _Truths | None]:
    """The integers of texts by message, column and reading; null is where what stands for it makes a difference."""
    text = b",".join(texts).translate(None, _BRACKETS)
    if b"n" not in text:
        return np.fromstring(text, np.int64, prod(form), sep=",").reshape(form), None
    one, other = (_parsed([text.replace(_NULL, digit)], form)[0] for digit in (b"0", b"1"))
    return one, one == other


def _fill(columns: Iterable[npt.NDArray[Any]], at: int, values: npt.NDArray[Any]) -> None:
    for column, some in zip(columns, values.swapaxes(0, 1), strict=True):
        column[at : at + len(some)] = some


def _beyond(values: _Ints, most: _Ints) -> Iterable[int]:
    """Messages with a number that is larger than allowed."""
    low, high = values.min(axis=0), values.max(axis=0)
    if ((low >= -most - 1) & (high <= most)).all():
        return ()
    return np.flatnonzero(((values < -most - 1) | (values > most)).any(axis=(1, 2))).tolist()


def columns(found: Sequence[Block], counts: Sequence[int]) -> list[pl.Series]:
    """Every column that any block has, over all messages with so many readings each, in their order."""
    if len(found) == 1 and found[0].said is None:
        return [pl.Series(name, values.ravel()) for name, values in found[0].columns.items()]
    begins = np.cumsum([0, *counts])
    rows = [(begins[block.places][:, None] + np.arange(block.n)).ravel() for block in found]
    names = dict.fromkeys(name for block in found for name in block.columns)
    return [_spread(name, list(zip(found, rows, strict=True)), int(begins[-1])) for name in names]


def _spread(name: str, pieces: list[tuple[Block, _Ints]], height: int) -> pl.Series:
    values, said = np.zeros(height, f"i{_BITS[name] // 8}"), np.zeros(height, bool)
    for block, rows in pieces:
        if name in block.columns:
            values[rows] = block.columns[name].ravel()
            said[rows] = True if block.said is None else block.said[name].ravel()
    series = pl.Series(name, values)
    return series if said.all() else series.set(pl.Series(~said), None)
