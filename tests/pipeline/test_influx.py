from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from operator import itemgetter
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellherd.settings import Influx, Site
from pipeline.decoding.decode import decode
from pipeline.schema import TABLES
from pipeline.stores.errors import StoreAway
from pipeline.stores.influx import InfluxSink, InfluxWriter
from pipeline.stores.lines import edge_lines, fault_lines, finding_lines, lines, module_day_lines, module_lines
from tests.fakes.listening import listening
from tests.pipeline.messages import T0, entries
from tests.services import Service, free_port

SITES = {"home": Site(id="home", installer="sun_and_sons", edge="pi0", tz="Europe/Berlin")}
DAY = date(2025, 11, 21)
NOON = 1_763_726_400_000  # 2025-11-21 12:00 UTC


@dataclass(frozen=True)
class Point:
    measurement: str
    tags: dict[str, str]
    fields: dict[str, Any]
    ts: int


def parse(text: bytes) -> list[Point]:
    """A reader of line protocol by its description, character by character; it shares nothing with the writer."""
    return [_point(line) for line in text.decode().split("\n") if line and not line.startswith("#")]


def _point(line: str) -> Point:
    head, rest = _until(line, " ")
    body, time = _until(rest, " ", quotes=True)
    name, *tags = _split(head)
    fields = map(_pair, _split(body, quotes=True))
    return Point(name, {k: _plain(v) for k, v in map(_pair, tags)}, {k: _value(v) for k, v in fields}, int(time))


def _until(text: str, stop: str, *, quotes: bool = False) -> tuple[str, str]:
    """Up to a separator that is not escaped and, where quotes mean something (in fields), not quoted."""
    quoted = escaped = False
    for i, letter in enumerate(text):
        if escaped:
            escaped = False
        elif letter == "\\":
            escaped = True
        elif letter == '"' and quotes:
            quoted = not quoted
        elif letter == stop and not quoted:
            return text[:i], text[i + 1 :]
    return text, ""


def _split(text: str, *, quotes: bool = False) -> list[str]:
    parts = []
    while text:
        part, text = _until(text, ",", quotes=quotes)
        parts.append(part)
    return parts


def _pair(text: str) -> tuple[str, str]:
    return _until(text, "=")


def _plain(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)


def _value(text: str) -> Any:
    if text.startswith('"'):
        return _plain(text[1:-1])
    return int(text[:-1]) if text.endswith("i") else float(text)


def frame_of(table: str, **columns: list[Any]) -> pl.DataFrame:
    empty = pl.DataFrame(schema=TABLES[table])
    told = pl.DataFrame(columns, schema_overrides={k: v for k, v in TABLES[table].items() if k in columns})
    return pl.concat([empty, told], how="diagonal")


def test_a_reading_becomes_a_point_with_all_it_said_and_what_its_cells_show() -> None:
    frame = decode(list(entries(2, 3))).frames["reading"]
    points = parse(module_lines(frame, SITES))
    assert len(points) == len(frame)
    for point, row in zip(points, frame.to_dicts(), strict=True):
        assert (point.measurement, point.ts) == ("module", row["ts"])
        place = {name: row[name] for name in ("site", "stack", "module", "kind")}
        assert point.tags == {"installer": "sun_and_sons", **place}
        cells = [row[f"c{i:02}"] for i in range(16)]
        derived = {"cell_min_mv": min(cells), "cell_max_mv": max(cells)}
        derived |= {"cell_mean_mv": sum(cells) / 16, "cell_spread_mv": float(max(cells) - min(cells))}
        derived["temp_hot_dc"] = max(row[f"t{i:02}"] for i in range(16) if row[f"t{i:02}"] is not None)
        hidden = {
            *place,
            "stream",
            "epoch",
            "seq",
            "edge",
            "unit",
            "date",
            "ts",
            "arrival_ts",
            "driver",
            "raw",
            "extra",
        }
        assert point.fields == {k: v for k, v in row.items() if v is not None and k not in hidden} | derived


def test_without_cells_the_devices_own_extremes_count() -> None:
    frame = frame_of("reading", site=["home"], ts=[T0], cell_min_mv=[3301], cell_max_mv=[3320], faults=[None])
    assert parse(module_lines(frame, SITES))[0].fields == {"cell_min_mv": 3301, "cell_max_mv": 3320}


def test_a_reading_that_says_nothing_is_no_line() -> None:
    frame = frame_of("reading", site=["home"] * 2, ts=[T0, T0 + 1], soc_pm=[None, 700])
    assert [point.ts for point in parse(module_lines(frame, SITES))] == [T0 + 1]
    assert module_lines(frame.clear(), SITES) == b""


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    ["#", "a\\", "\\", 'x"', "a=b,c d"]
)
numbers = st.none() | st.floats() | st.sampled_from([float("nan"), float("inf"), 1e300, -0.0])


@settings(max_examples=80)
@given(st.lists(st.tuples(st.none() | texts, st.none() | texts, numbers, st.none() | st.integers(-(2**63), 2**63 - 1))))
def test_any_text_and_number_is_read_back_or_left_out(rows: list[tuple[Any, ...]]) -> None:
    kinds = {"place": pl.String, "text": pl.String, "x": pl.Float64, "n": pl.Int64}
    frame = pl.DataFrame(rows, schema=kinds, orient="row").with_columns(ts=pl.int_range(pl.len()))
    found = {point.ts: point for point in parse(lines("thing", ["place"], frame))}
    for ts, (place, text, x, n) in enumerate(rows):
        told = {"text": text if text is None else re.sub(r"[\r\n]+", " ", text), "x": x, "n": n}
        told = {k: v for k, v in told.items() if v is not None and (k != "x" or abs(v) < float("inf"))}
        assert (ts in found) == bool(told)
        if told:
            assert found[ts].fields == told
            assert found[ts].tags == {"place": re.sub(r"[\\\r\n\t]", "/", place or "-")}


@pytest.mark.parametrize("name", ["#comment", "m\\", "a b", "a,b", "a=b", "", "é", "1st"])
def test_odd_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be a name"):
        lines(name, [], pl.DataFrame({"ts": [1], "x": [1]}))
    with pytest.raises(ValueError, match="cannot be a name"):
        lines("m", [], pl.DataFrame({"ts": [1], name: [1]}))


def test_a_fault_enters_and_leaves_and_notes_stay_out() -> None:
    events = frame_of("event", site=["home"] * 3, ts=[T0] * 3, phase=["enter", "leave", "note"],
                      fault=["cell_over_voltage"] * 3, cell=[3, None, None], priority=[2] * 3)  # fmt: skip
    enter, leave = parse(fault_lines(events, SITES))
    assert (enter.fields["active"], enter.fields["cell"], leave.fields["active"]) == (1, 3, 0)
    assert enter.tags["fault"] == "cell_over_voltage"
    assert enter.fields["text"]


def test_what_cannot_be_told_yet_has_no_number_on_a_dashboard() -> None:
    findings = frame_of("finding", site=["home"] * 2, day=[DAY] * 2, analysis=["resistance"] * 2, pattern=["a", "b"],
                        status=["not_observable", "ok"], value=[133.7] * 2, lo=[126.0] * 2, hi=[141.4] * 2)  # fmt: skip
    unseen, seen = parse(finding_lines(findings, SITES))
    assert {"value", "lo", "hi"} & {*unseen.fields} == set()
    assert (seen.fields["value"], seen.fields["lo"], seen.fields["hi"]) == (133.7, 126.0, 141.4)


def test_findings_and_days_stand_at_noon_utc_of_the_local_day_and_the_whole_module_is_a_dash() -> None:
    findings = frame_of("finding", site=["home", None], day=[DAY] * 2, cell=[None, 3], analysis=["mismatch"] * 2,
                        pattern=["weak"] * 2, status=["finding"] * 2, value=[float("nan"), 2.5])  # fmt: skip
    home, fleet = parse(finding_lines(findings, SITES))
    assert (home.ts, home.tags["cell"], home.fields) == (NOON, "-", {"status": "finding", "unit": ""})
    assert (fleet.ts, fleet.tags["cell"], fleet.tags["site"], fleet.fields["value"]) == (
        NOON,
        "3",
        "-",
        2.5,
    )
    day = frame_of("module_day", site=["home"], day=[DAY], n=[8640], charge_mah=[1.5], code_version=[1])
    assert parse(module_day_lines(day, SITES))[0].fields == {"n": 8640, "charge_mah": 1.5}


def test_an_edges_health_is_a_point() -> None:
    health = pl.DataFrame({"site": ["home"], "edge": ["pi0"], "ts": [T0], "online": [1], "depth": [0]})
    point = parse(edge_lines(health, SITES))[0]
    assert point.tags == {"installer": "sun_and_sons", "site": "home", "edge": "pi0"}
    assert point.fields == {"online": 1, "depth": 0}


class Rejects(list[tuple[bytes, str]]):
    def __call__(self, line: bytes, reason: str) -> None:
        self.append((line, reason))


def writer(url: str, rejects: Rejects, **more: Any) -> InfluxWriter:
    return InfluxWriter(Influx(url=url), rejects, **more)


@dataclass
class Stub:
    """A server that answers as told: refuses lines with a word in them, or everything with one status."""

    url: str
    bodies: list[bytes]
    poison: bytes = b"\0"
    status: int = 204
    token: str = ""


@pytest.fixture
def stub() -> Iterator[Stub]:
    seen = Stub("", [])

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            seen.token = self.headers["Authorization"] or ""
            seen.bodies.append(body)
            self.send_response(400 if seen.poison in body else seen.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    seen.url = f"http://127.0.0.1:{server.server_port}"
    with listening(server):
        yield seen


def test_a_poison_line_is_found_and_harms_no_other(stub: Stub) -> None:
    rejects = Rejects()
    stub.poison = b"bad"
    text = b"".join(b"%s x=%di %d\n" % (b"bad" if i in (7, 300) else b"m", i, i) for i in range(500))
    connection = writer(stub.url, rejects)
    connection.write("cellherd", text)
    connection.close()
    stored = [line for body in stub.bodies if b"bad" not in body for line in body.split(b"\n")]
    assert sorted(stored) == sorted(line for line in text.splitlines() if b"bad" not in line)
    assert [line for line, _ in rejects] == [b"bad x=7i 7", b"bad x=300i 300"]
    assert all(reason.startswith("400") for _, reason in rejects)


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 503])
def test_a_server_that_is_busy_or_does_not_let_us_in_costs_no_line(stub: Stub, status: int, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret\n")
    stub.status = status
    rejects = Rejects()
    connection = InfluxWriter(Influx(url=stub.url, token_file=str(tmp_path / "token")), rejects)
    with pytest.raises(StoreAway, match=str(status)) as caught:
        connection.write("cellherd", b"m x=1i 1\n")
    connection.close()
    assert stub.token.endswith(" s3cret")
    assert "s3cret" not in f"{caught.value} {connection!r}"
    assert rejects == []


def test_a_server_that_is_not_there_is_away() -> None:
    connection = writer(f"http://127.0.0.1:{free_port()}", Rejects(), timeout_s=1)
    with pytest.raises(StoreAway, match="does not answer"):
        connection.write("cellherd", b"m x=1i 1\n")
    connection.close()


def test_the_sink_remembers_its_place_only_when_the_segment_is_stored(stub: Stub, tmp_path: Path) -> None:
    connection = writer(stub.url, Rejects())
    sink = InfluxSink(connection, SITES, tmp_path / "influx.position")
    decoded = decode(list(entries(2, 3)))
    assert sink.position() == 0
    sink.write(4, decoded)
    stub.status = 503
    with pytest.raises(StoreAway):
        sink.write(5, decoded)
    connection.close()
    assert InfluxSink(connection, SITES, tmp_path / "influx.position").position() == 4
    assert len(parse(stub.bodies[0])) == 6


@pytest.mark.service
@pytest.mark.parametrize("gzip", [False, True])
def test_victoria_metrics_takes_our_points_once_however_often_they_are_sent(victoria: Service, gzip: bool) -> None:
    frame = decode(list(entries(2, 20))).frames["reading"].with_columns(stack=pl.lit(f"gzip{int(gzip)}"))
    rejects = Rejects()
    connection = writer(victoria.url, rejects, gzip=gzip)
    for _ in range(2):
        connection.write("cellherd", module_lines(frame, SITES))
    connection.close()
    httpx.get(f"{victoria.url}/internal/force_flush")
    query = {"match[]": f'module_voltage_mv{{stack="gzip{int(gzip)}"}}', "reduce_mem_usage": "0"}
    series = [json.loads(line) for line in httpx.get(f"{victoria.url}/api/v1/export", params=query).text.splitlines()]
    found = {(s["metric"]["module"], ts, v) for s in series for ts, v in zip(s["timestamps"], s["values"], strict=True)}
    assert found == set(frame.select("module", "ts", "voltage_mv").iter_rows())
    assert sum(len(one["values"]) for one in series) == len(frame)
    assert rejects == []


@pytest.mark.service
def test_influxdb_gives_back_every_field_through_influxql(influxdb: Service) -> None:
    frame = decode(list(entries(2, 20))).frames["reading"]
    nasty = frame[:1].with_columns(kind=pl.lit('a\\, =b"'), faults=pl.lit('say "a\\b"\nc'), ts=pl.col("ts") + 1)
    httpx.post(f"{influxdb.url}/query", params={"q": "CREATE DATABASE cellherd"}).raise_for_status()
    text = module_lines(pl.concat([frame, nasty]), SITES)
    for _ in range(2):
        answer = httpx.post(f"{influxdb.url}/write", params={"db": "cellherd", "precision": "ms"}, content=text)
        assert (answer.status_code, answer.text) == (204, "")
    query = {"db": "cellherd", "epoch": "ms", "q": "SELECT * FROM module"}
    found = httpx.get(f"{influxdb.url}/query", params=query).json()["results"][0]["series"][0]
    rows = [dict(zip(found["columns"], row, strict=True)) for row in found["values"]]
    theirs = [{name: value for name, value in row.items() if value is not None} for row in rows]
    ours = [{"time": point.ts, **point.tags, **point.fields} for point in parse(text)]
    in_order = itemgetter("module", "kind", "time")
    assert sorted(theirs, key=in_order) == sorted(ours, key=in_order)
    assert {row["faults"] for row in rows} == {"", 'say "a\\b" c'}


@pytest.mark.service
def test_influxdb_takes_extreme_numbers(influxdb: Service) -> None:
    frame = pl.DataFrame({"ts": [1, 2], "x": [1e300, -1e-300], "n": [2**63 - 1, -(2**63)]})
    httpx.post(f"{influxdb.url}/query", params={"q": "CREATE DATABASE extremes"}).raise_for_status()
    target = {"db": "extremes", "precision": "ms"}
    assert httpx.post(f"{influxdb.url}/write", params=target, content=lines("m", [], frame)).status_code == 204
