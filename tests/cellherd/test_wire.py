"""The payloads of appendix A: what is packed comes back, and nothing hostile gets through."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellherd import wire
from cellherd.errors import BadPayload
from cellherd.reading import LENGTHS, LISTS, SCALARS, Row

SOURCE = wire.Source("0" * 32, "a" * 16, "m1", "module", "jbd", "12345678", "ntp")


def numbers(bits: int) -> st.SearchStrategy[int]:
    return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


@st.composite
def rows(draw: st.DrawFn) -> Row:
    row: Row = {q.name: value for q in SCALARS if (value := draw(st.none() | numbers(q.bits))) is not None}
    for quantity in LISTS:
        values = draw(st.lists(st.none() | numbers(quantity.bits), max_size=LENGTHS[quantity.name]))
        if any(value is not None for value in values):
            row[quantity.name] = values
    if (faults := draw(st.none() | st.lists(st.sampled_from(["deep_sleep", "comm_lost"]), unique=True))) is not None:
        row["faults"] = sorted(faults)
    if extra := draw(st.dictionaries(st.text(max_size=8), numbers(64), max_size=3)):
        row["extra"] = extra
    return row


def without_padding(row: Row) -> Row:
    """Lists of one message are as long as its longest; the tail of the others comes back as None."""
    out = dict(row)
    for quantity in LISTS:
        values = out.get(quantity.name)
        if isinstance(values, list):
            while values and values[-1] is None:
                values = values[:-1]
            out[quantity.name] = values
    return out


@given(st.lists(rows(), min_size=1, max_size=8))
def test_what_is_packed_comes_back(sent: list[Row]) -> None:
    lines = [wire.Line(i + 1, 1_700_000_000_000 + 5000 * i, 5000 * i, row) for i, row in enumerate(sent)]
    payload = wire.pack(SOURCE, lines, sent_ts=1, sent_bt=2)
    source, got = wire.unpack(wire.inflate(wire.deflate(payload)) if len(payload) < 20 * 60 else payload)
    assert source == SOURCE
    assert [(g.seq, g.ts, g.bt) for g in got] == [(s.seq, s.ts, s.bt) for s in lines]
    assert [without_padding(g.row) for g in got] == [without_padding(row) for row in sent]


def good() -> dict[str, object]:
    payload = wire.pack(
        SOURCE, [wire.Line(1, 1000, 10, {"voltage_mv": 52000, "cell_mv": [3300]})], sent_ts=1, sent_bt=2
    )
    body: dict[str, object] = json.loads(payload)
    return body


HOSTILE = {
    "another version": {"v": 2},
    "a stream that is not hex": {"stream": "Z" * 32},
    "a module with a slash": {"module": "a/b"},
    "seq zero": {"seq": [0]},
    "seq beyond 64 bits": {"seq": [2**63]},
    "seq as truth": {"seq": [True]},
    "two times for one reading": {"dt": [0, 1]},
    "a float for millivolts": {"voltage_mv": [1.5]},
    "text for millivolts": {"voltage_mv": ["52000"]},
    "a voltage beyond its width": {"voltage_mv": [2**31]},
    "a cell beyond its width": {"cell_mv": [[70000]]},
    "cells of another length": {"cell_mv": [[1, 2]]},
    "forty-nine cells": {"cell_mv": [[1]] * 49},
    "faults that are no ids": {"faults": [["<script>"]]},
    "raw that is no text": {"raw": [{"a": 1}]},
    "extra with a list": {"extra": {"a": [[1]]}},
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_payload_is_refused_with_its_reason(change: dict[str, object]) -> None:
    wire.unpack(json.dumps(good()).encode())
    with pytest.raises(BadPayload) as caught:
        wire.unpack(json.dumps({**good(), **change}).encode())
    assert caught.value.code in {"schema", "range"}


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[]",
        b"{",
        b"\xff\xfe",
        b'{"v":NaN}',
        b'{"v":1,"v":1}',
        b'{"v":1e999}',
        b"[" * 100_000,
        "\ufeff{}".encode(),
    ],
)
def test_what_is_not_one_clean_json_object_is_refused(payload: bytes) -> None:
    with pytest.raises(BadPayload):
        wire.unpack(payload)


def test_a_deflate_bomb_is_refused_before_it_grows() -> None:
    with pytest.raises(BadPayload) as caught:
        wire.inflate(wire.deflate(b"0" * 10_000_000))
    assert caught.value.code == "too_big"


def test_a_cut_or_followed_deflate_stream_is_refused() -> None:
    squeezed = wire.deflate(json.dumps(good()).encode())
    for broken in (squeezed[:-3], squeezed + b"x"):
        with pytest.raises(BadPayload):
            wire.inflate(broken)


@given(st.binary(max_size=200))
def test_random_bytes_never_raise_anything_else(payload: bytes) -> None:
    for read in (wire.unpack, wire.unpack_record, wire.inflate):
        try:
            read(payload)  # type: ignore[operator]
        except BadPayload:
            continue
