from __future__ import annotations

import json
import tracemalloc
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellherd import topics, wire
from cellherd.clock import EARLIEST
from cellherd.reading import SCALARS
from cellherd.wire import Line, Source
from pipeline.decoding import columns, numbers
from pipeline.decoding.decode import Decoded, _fitting, decode
from pipeline.journal.entry import Entry
from pipeline.schema import TABLES
from tests.pipeline.messages import T0, entries, message, source

ARRIVAL = T0 + 60_000
TOPIC = topics.readings("pi7", "s1", "m0")
GOOD = message(0, 0, 2)


def entry(payload: bytes, topic: str = TOPIC, **more: Any) -> Entry:
    return Entry(topic, payload, ARRIVAL, "home", "u0")._replace(**more)


def edited(**changes: Any) -> bytes:
    body = {**json.loads(GOOD), **changes}
    return json.dumps({k: v for k, v in body.items() if v is not ...}, separators=(",", ":")).encode()


def by_hand(one: Entry) -> list[dict[str, Any]]:
    """What a message means, row by row, from `wire.unpack`: nothing of the fast way is in here."""
    head, lines = wire.unpack(one.payload)
    _, edge, _, stack, _ = one.topic.split("/")
    place = {"edge": edge, "site": one.site, "stack": stack, "module": head.module, "unit": one.unit, "kind": head.kind}
    same = {"stream": head.stream, "epoch": head.epoch, "driver": head.driver, "arrival_ts": one.arrival_ts, **place}
    return [same | stamp(one, head, line) | values(line) for line in lines if line.seq not in one.skip]


def stamp(one: Entry, head: Source, line: Line) -> dict[str, Any]:
    ts, clk = line.ts, head.clk
    if clk not in ("ntp", "srv") and one.offset_ms is not None:
        ts, clk = one.offset_ms + line.bt, "srv"
    if not EARLIEST <= ts <= one.arrival_ts + 300_000:
        ts, clk = one.arrival_ts, "bad"
    return {"seq": line.seq, "ts": ts, "clk": clk, "date": datetime.fromtimestamp(ts / 1000, UTC).date()}


def values(line: Line) -> dict[str, Any]:
    row: dict[str, Any] = dict(line.row)
    cells = {f"c{i:02}": mv for i, mv in enumerate(row.pop("cell_mv", []))}
    temps = {f"t{i:02}": dc for i, dc in enumerate(row.pop("temp_dc", []))}
    if "faults" in row:
        row["faults"] = " ".join(sorted(set(row["faults"])))
    return row | cells | temps


def said(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """Rows without what is null, JSON read."""
    rows = [{name: value for name, value in row.items() if value is not None} for row in frame.to_dicts()]
    return [row | {name: json.loads(row[name]) for name in ("raw", "extra") if name in row} for row in rows]


scalars = {q.name: st.none() | st.integers(-(2 ** (q.bits - 1)), 2 ** (q.bits - 1) - 1) for q in SCALARS}
small = st.none() | st.integers(-(2**15), 2**15 - 1)
ids = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,8}", fullmatch=True)
letters = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
rows: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        **scalars,
        "cell_mv": st.lists(small, max_size=48),
        "temp_dc": st.lists(small, max_size=16),
        "faults": st.none() | st.lists(ids, max_size=3),
        "raw": st.none() | st.dictionaries(letters, letters, max_size=2),
        "extra": st.dictionaries(
            letters, st.integers(-(2**63), 2**63 - 1) | st.floats(-1e9, 1e9, allow_subnormal=False), max_size=2
        ),
    },
)
times = st.integers(T0 - 10**9, T0 + 10**6) | st.integers(-(2**63), 2**63 - 1)


@st.composite
def packed(draw: st.DrawFn) -> Entry:
    some = draw(st.lists(rows, min_size=1, max_size=4))
    seqs = draw(st.lists(st.integers(1, 2**63 - 1), min_size=len(some), max_size=len(some), unique=True))
    first, ahead = draw(times), draw(st.integers(-(10**12), 10**12))
    steps = [0, *draw(st.lists(st.integers(-(10**6), 10**7), min_size=len(some) - 1, max_size=len(some) - 1))]
    boot = max(-(2**63), min(2**63 - 1, first + ahead))
    lines = [Line(seq, first + dt, boot + dt, row) for seq, dt, row in zip(seqs, steps, some, strict=True)]
    head = source(clk=draw(st.sampled_from(wire.CLOCKS)), kind=draw(st.sampled_from(["module", "bank"])))
    anchor = draw(st.none() | st.integers(T0 - 10**6, T0))
    skip = tuple(draw(st.lists(st.sampled_from(seqs), max_size=1)))
    return entry(wire.pack(head, lines, sent_ts=first, sent_bt=boot), offset_ms=anchor, skip=skip)


@settings(max_examples=60)
@given(st.lists(packed(), min_size=1, max_size=6))
def test_many_messages_together_mean_what_each_means_by_hand(batch: list[Entry]) -> None:
    decoded = decode(batch)
    expected = [row | tidy(row) for one in batch for row in by_hand(one)]
    assert not decoded.dead
    assert said(decoded.frames["reading"]) == [{k: v for k, v in row.items() if v is not None} for row in expected]


@pytest.mark.parametrize("n", [1, 2, 12, 64, 65])
def test_holes_among_whole_columns_mean_what_they_mean_by_hand(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.decoding.numbers._AT_ONCE", 2)
    bodies = [json.loads(message(0, turn, n)) for turn in range(8)]
    bodies[1]["current_ma"][n // 2] = bodies[1]["cell_mv"][3][0] = None
    for body in bodies[4:6]:
        del body["soc_pm"], body["faults"]
    bodies[6]["cell_mv"].pop()
    batch = [entry(json.dumps(body, separators=(",", ":")).encode()) for body in bodies]
    assert all(columns.quick(one.payload) for one in batch)
    assert said(decode(batch).frames["reading"]) == [
        {k: v for k, v in row.items() if v is not None} for one in batch for row in by_hand(one)
    ]


def test_the_largest_numbers_are_kept_and_larger_ones_found_among_many() -> None:
    largest, larger = [2**63 - 1, -(2**63)], [[2**63, 0], [0, -(2**63) - 1], [10**30, 0]]
    assert all(columns.quick(edited(balancing=column)) for column in (largest, *larger))
    good = [entry(edited(balancing=largest)), entry(edited(soc_pm=[2**15 - 1, -(2**15)]))]
    bad = [entry(edited(balancing=column)) for column in larger] + [entry(edited(soc_pm=[0, 2**15]))]
    decoded = decode([good[0], *bad, good[1]])
    assert said(decoded.frames["reading"]) == [row for one in good for row in by_hand(one)]
    assert [(one.entry, one.code) for one in decoded.dead] == [(one, "range") for one in bad]


@pytest.mark.parametrize("n", [3, 12, 65])
def test_a_column_that_is_too_short_or_doubled_is_not_read_the_fast_way(n: int) -> None:
    good = message(3, 0, n)
    body = json.loads(good)
    body["soc_pm"].pop()
    assert columns.quick(good) is not None
    assert columns.quick(json.dumps(body, separators=(",", ":")).encode()) is None
    assert columns.quick(good.replace(b'"v":1,', b'"v":1,"v":1,')) is None
    assert columns.quick(good.replace(b'"v":1,', b'"v":1,"more":1,')) is None


def tidy(row: dict[str, Any]) -> dict[str, Any]:
    return {"extra": None} if row.get("extra") == {} else {}


@settings(max_examples=60)
@given(packed())
def test_the_fast_way_and_the_strict_way_agree(one: Entry) -> None:
    fast, (strict, unknown) = columns.quick(one.payload), columns.slow(one.payload)
    if fast is None:  # a name with a quote, a space or an escape in it goes the strict way
        return
    assert unknown == 0
    ours, theirs = (columns.table([one], numbers.blocks([one.numbers])) for one in (fast, strict))
    assert said(ours.drop("dt")) == said(theirs.drop("dt"))  # `slow` counts its times from 1970, `quick` from t0


def test_a_common_message_takes_the_fast_way() -> None:
    assert columns.quick(GOOD) is not None
    assert columns.quick(message(3, 0, 12)) is not None


ONE = json.loads(message(0, 0, 1))


def of_one(**changes: Any) -> bytes:
    return json.dumps({**ONE, **changes}, separators=(",", ":")).encode()


HOSTILE: dict[str, bytes] = {
    "empty": b"",
    "not JSON": b"hello",
    "cut": GOOD[:-1],
    "a list": b"[]",
    "null": b"null",
    "byte order mark": b"\xef\xbb\xbf" + GOOD,
    "not UTF-8": GOOD.replace(b'"jbd"', b'"\xff\xfe"'),
    "not UTF-8 where anything may stand": GOOD.replace(b'"sent_bt":1000', b'"sent_bt":"\xff"'),
    "half a surrogate pair": GOOD.replace(b'"jbd"', b'"\\ud800"'),
    "half a pair in an unknown key": edited(more="\ud800"),
    "10 MB": edited(driver="x" * 10_000_000),
    "deep": b'{"v":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
    "deep where anything may stand": GOOD.replace(b'"sent_bt":1000', b'"sent_bt":' + b"[" * 30_000 + b"]" * 30_000),
    "many keys": json.dumps({f"k{i}": i for i in range(4000)}).encode(),
    "another version": edited(v=2),
    "version as text": edited(v="1"),
    "no stream": edited(stream=...),
    "stream as a number": edited(stream=1),
    "stream not hex": edited(stream="z" * 32),
    "another module": edited(module="m1"),
    "module as a number": edited(module=0),
    "unknown kind": edited(kind="oven"),
    "unknown clock": edited(clk="sundial"),
    "no seq": edited(seq=[]),
    "seq 0": edited(seq=[0, 1]),
    "seq -1": edited(seq=[-1, 1]),
    "seq 2^63": edited(seq=[2**63, 1]),
    "seq twice": edited(seq=[5, 5]),
    "seq null": edited(seq=[None, 1]),
    "seq as text": edited(seq=["1", "2"]),
    "more seqs than readings": edited(seq=[1, 2, 3]),
    "dt too short": edited(dt=[0]),
    "a column too short": edited(voltage_mv=[52_800]),
    "a column too long": edited(voltage_mv=[52_800] * 3),
    "columns whose lengths make up for each other": edited(voltage_mv=[1], current_ma=[1, 2, 3]),
    "a cell too short": edited(cell_mv=[[3300, 3300], [3300]]),
    "a column of a single reading that is empty": of_one(voltage_mv=[]),
    "a cell of a single reading that is empty": of_one(cell_mv=[[3300], []]),
    "49 cells": edited(cell_mv=[[3300, 3300]] * 49),
    "a column folded to a number": edited(voltage_mv=52_800),
    "a column that is null": edited(voltage_mv=None),
    "text in a column": edited(voltage_mv=["52800", 1]),
    "true in a column": edited(voltage_mv=[True, 1]),
    "1.5 in a column": edited(voltage_mv=[1.5, 1]),
    "1.0 in a column": edited(voltage_mv=[1.0, 1]),
    "out of range": edited(cell_mv=[[70_000, 3300]]),
    "out of 32 bits": edited(current_ma=[2**31, 0]),
    "2^70": edited(balancing=[2**70, 0]),
    "NaN": GOOD.replace(b'"heater":[0,', b'"heater":[NaN,'),
    "Infinity": GOOD.replace(b'"heater":[0,', b'"heater":[-Infinity,'),
    "1e999": GOOD.replace(b'"heater":[0,', b'"heater":[1e999,'),
    "a key twice": GOOD.replace(b'"soc_pm":', b'"soc_pm":[1,1],"soc_pm":', 1),
    "a key twice, once with a space": GOOD.replace(b'"soc_pm":', b'"soc_pm" :[1,1],"soc_pm":', 1),
    "a key twice, once escaped": GOOD.replace(b'"soc_pm":', b'"soc\\u005fpm":[1,1],"soc_pm":', 1),
    "a raw name twice": GOOD.replace(b'{"alarm":', b'{"state":', 1),
    "a fault that is no id": edited(faults=[["Over Voltage"], []]),
    "a fault that is a number": edited(faults=[[7], []]),
    "faults as text": edited(faults=["x", None]),
    "raw as numbers": edited(raw=[{"alarm": 1}, None]),
    "extra as text": edited(extra={"a": ["1", "2"]}),
    "extra too short": edited(extra={"a": [1]}),
    "two messages in one": GOOD + b"," + GOOD,
    "the first half of a pair": GOOD[:-1] + b',"x":[{"a":1',
    "the second half of a pair": b'"b":2}]}',
    "a closed array": b"]" + GOOD,
}


def test_an_empty_column_does_not_move_the_numbers_of_its_neighbours() -> None:
    good = [entry(of_one(seq=[seq])) for seq in (1, 2)]
    decoded = decode([good[0], entry(of_one(voltage_mv=[])), entry(of_one(cell_mv=[[3300], []])), good[1]])
    assert said(decoded.frames["reading"]) == [row for one in good for row in by_hand(one)]
    assert len(decoded.dead) == 2


def test_what_a_message_pretends_to_hold_takes_no_room() -> None:
    n = 4000
    many = {"seq": list(range(1, n + 1)), "dt": [0] * n, "faults": ..., "raw": ..., "extra": ...}
    silent = {q.name: ... for q in SCALARS}
    payload = edited(**silent, **many, cell_mv=[[]] * 10_000, temp_dc=...)
    assert len(payload) <= wire.MAX_OUT
    tracemalloc.start()
    assert columns.quick(payload) is None
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 20 * wire.MAX_OUT, "as if the cells had 40,000,000 numbers"


def test_hostile_messages_are_set_aside_with_a_reason_and_harm_no_neighbour() -> None:
    good = [entry(message(0, i, 2)) for i in range(len(HOSTILE) + 1)]
    batch = [good[0]]
    for one, payload in zip(good[1:], HOSTILE.values(), strict=True):
        batch += [entry(payload), one]
    decoded = decode(batch)
    assert said(decoded.frames["reading"]) == [row for one in good for row in by_hand(one)]
    refused = {name for name, payload in HOSTILE.items() if payload in {one.entry.payload for one in decoded.dead}}
    assert refused == set(HOSTILE)
    assert len(decoded.dead) == len(HOSTILE)
    assert all(one.code in ("schema", "range", "too_big") and one.reason for one in decoded.dead)


@pytest.mark.parametrize(
    "topic", ["fleet//r/s1/m0", "fleet/pi7/r/s1", "fleet/pi7/r/s1/M0", "r/s1/m0", "", "fleet/pi7/x"]
)
def test_a_topic_with_empty_or_strange_levels_is_refused(topic: str) -> None:
    assert [one.code for one in decode([entry(GOOD, topic)]).dead] == ["schema"]


def test_deflated_messages_are_inflated_within_bounds() -> None:
    topic = topics.readings("pi7", "s1", "m0", deflated=True)
    bomb = wire.deflate(b" " * 60_000)
    decoded = decode([entry(wire.deflate(GOOD), topic), entry(bomb, topic), entry(b"\xff\xff", topic)])
    assert said(decoded.frames["reading"]) == by_hand(entry(GOOD))
    assert [one.code for one in decoded.dead] == ["too_big", "schema"]


def test_unknown_keys_are_left_out_and_counted() -> None:
    decoded = decode([entry(edited(firmware_mood="good", another=[1])), entry(GOOD)])
    assert decoded.unknown == 2
    assert said(decoded.frames["reading"]) == 2 * by_hand(entry(GOOD))


def test_seqs_that_are_stored_already_are_left_out() -> None:
    assert decode([entry(GOOD, skip=(1,))]).frames["reading"]["seq"].to_list() == [2]


def test_status_and_health_are_for_others() -> None:
    decoded = decode([entry(b'{"v":1,"online":0}', "fleet/pi7/s"), entry(b"{}", "fleet/pi7/h")])
    assert decoded.dead == []
    assert all(frame.is_empty() for frame in decoded.frames.values())


def test_every_table_has_its_columns_even_when_nothing_came() -> None:
    for batch in ([], [entry(GOOD)]):
        for table, frame in decode(batch).frames.items():
            assert dict(frame.schema) == TABLES[table]


def test_a_wild_time_becomes_the_arrival_and_is_called_bad() -> None:
    wild = [edited(t0=0), edited(t0=ARRIVAL + 300_001), edited(t0=2**63 - 1), edited(t0=-(2**63), dt=[T0 - 2**63] * 2)]
    frame = decode([entry(payload) for payload in wild]).frames["reading"]
    assert frame["ts"].unique().to_list() == [ARRIVAL]
    assert frame["clk"].unique().to_list() == ["bad"]


HEAD = {"stream": "0" * 32, "epoch": "1" * 16, "module": "m0", "kind": "module", "boot": "01234567", "bt": 500,
        "ts": T0, "clk": "ntp", "sent_bt": 500, "sent_ts": T0}  # fmt: skip
RECORD = topics.records("pi7", "s1", "m0")


def record(seq: int, event: str, body: dict[str, Any], **head: Any) -> Entry:
    return entry(wire.pack_record(HEAD | {"seq": seq} | head, event, body), RECORD)


def kept(decoded: Decoded, table: str) -> list[dict[str, Any]]:
    same = {*HEAD, "edge", "site", "stack", "unit", "date", "seq"} - {"ts"}
    return [{k: v for k, v in row.items() if k not in same} for row in said(decoded.frames[table])]


def test_records_go_to_their_tables() -> None:
    gap = {"from_ts": T0 - 5000, "to_ts": T0, "reason": "timeout", "slots": 1}
    info = {"serial": 4711, "n_cells": 16, "limits": {"cell_max_mv": 3650}, "colour": "blue"}
    decoded = decode([
        record(1, "info", info),
        record(2, "counter", {"name": "trips", "value": 7}),
        record(3, "log", {"device_ts": None, "code": "12", "text": "over\ncurrent", "hex": "0c"}),
        record(4, "gap", gap),
        record(5, "edge", {"code": "disk", "text": "full", "new": 1}),
    ])  # fmt: skip
    assert (decoded.dead, decoded.unknown) == ([], 1)
    told = {"serial": "4711", "n_cells": 16, "limits": '{"cell_max_mv":3650}', "other": '{"colour":"blue"}'}
    assert kept(decoded, "device_info") == [{"ts": T0, **told}]
    assert kept(decoded, "device_counter") == [{"ts": T0, "name": "trips", "value": 7}]
    assert kept(decoded, "device_log") == [{"ts": T0, "code": "12", "text": "over\ncurrent", "hex": "0c"}]
    assert kept(decoded, "gap") == [gap]
    assert kept(decoded, "edge_event") == [{"ts": T0, "code": "disk", "text": "full"}]


@pytest.mark.parametrize(
    ("event", "body"),
    [
        ("gap", {"reason": "mood", "slots": 1}),
        ("gap", {"reason": "timeout"}),
        ("counter", {"name": "trips", "value": 2**63}),
        ("counter", {"name": "trips", "value": 1.5}),
        ("log", {"text": "no code"}),
        ("info", {"n_cells": 2**15}),
        ("edge", {"code": None}),
    ],
)
def test_a_record_with_a_wrong_body_is_set_aside(event: str, body: dict[str, Any]) -> None:
    decoded = decode([record(1, event, body), record(2, "edge", {"code": "disk"})])
    assert [one.code for one in decoded.dead] == ["schema"]
    assert len(decoded.frames["edge_event"]) == 1


def test_a_record_is_dated_like_a_reading_and_a_gap_by_its_beginning() -> None:
    one = record(1, "counter", {"name": "trips", "value": 7}, clk="rtc", ts=5)
    anchored = decode([one._replace(offset_ms=T0)]).frames["device_counter"]
    assert anchored["ts"].to_list() == [T0 + 500]
    night = decode([record(2, "gap", {"from_ts": T0 - 86_400_000, "to_ts": T0, "reason": "edge_off", "slots": 9})])
    assert night.frames["gap"]["date"].to_list() == [datetime.fromtimestamp(T0 / 1000 - 86_400, UTC).date()]


def test_a_batch_larger_than_one_helping_keeps_its_order_and_a_helping_takes_the_room_of_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pipeline.decoding.decode._ROWS", 200)
    batch = list(entries(2, 700))
    batch[100:100] = [entry(of_one(soc_pm=[2**15])), entry(edited(raw=..., extra=..., cell_mv=...))]
    batch.append(record(1, "edge", {"code": "disk"}))
    held: list[int] = []

    def counted(some: list[Any]) -> Any:
        held.append(len(some))
        return _fitting(some)

    monkeypatch.setattr("pipeline.decoding.decode._fitting", counted)
    decoded = decode(batch)
    assert said(decoded.frames["reading"]) == [row for one in batch[:100] + batch[101:-1] for row in by_hand(one)]
    assert [one.entry for one in decoded.dead] == [batch[100]]
    assert len(decoded.frames["edge_event"]) == 1
    assert max(held) <= 200
