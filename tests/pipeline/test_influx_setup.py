"""InfluxDB 2 prepared by one command, one bucket an installer, and every refusal answered as it deserves."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from secrets import token_hex

import httpx
import polars as pl
import pytest
from influxdb_client.rest import ApiException
from typer import Typer
from typer.testing import CliRunner, Result

from cellherd.errors import CellherdError
from cellherd.settings import FleetConfig, Influx, Site
from pipeline.alerts.ledger import opened
from pipeline.commands_influx import setup
from pipeline.decoding.decode import decode
from pipeline.edges import Edges
from pipeline.journal.deadletters import DeadLetters
from pipeline.nightly.diary import Diary
from pipeline.nightly.morning import to_influx
from pipeline.schema import TABLES
from pipeline.stores.errors import StoreAway
from pipeline.stores.influx import InfluxSink, InfluxWriter
from pipeline.stores.influx_setup import Server, Wanted
from pipeline.stores.lines import edge_lines
from pipeline.storing import server_points
from pipeline.storing.edge_points import again, frame
from pipeline.storing.process import influx_sinks
from pipeline.storing.storeroom import Task
from tests.fakes.influxdb2 import ADMIN, Fake, influxdb2
from tests.pipeline.messages import entries
from tests.pipeline.test_influx import Rejects, writer
from tests.services import Service

FLEET = """
[influx]
url = "{url}"
bucket = "cellherd{each}"
derived_bucket = "cellherd_derived{each}"
token_file = "{folder}/influx-token{each}"
keep_days = 90
[[installer]]
id = "acme"
[[installer]]
id = "sun"
[[site]]
id = "home"
installer = "sun"
edge = "pi0"
[[site]]
id = "barn"
installer = "acme"
edge = "pi1"
"""


@pytest.fixture
def fake() -> Iterator[Fake]:
    with influxdb2() as server:
        yield server


def prepare(fake: Fake, folder: Path, *more: str, each: str = "") -> Result:
    (folder / "fleet.toml").write_text(FLEET.format(url=fake.url, folder=folder, each=each))
    (folder / "admin").write_text(ADMIN)
    app = Typer()
    app.command()(setup)
    words = ["--admin-token-file", str(folder / "admin"), "--config", str(folder / "fleet.toml"), "--out", str(folder)]
    return CliRunner().invoke(app, [*words, *more])


def fleet_of(folder: Path) -> FleetConfig:
    from cellherd.config import load_fleet  # noqa: PLC0415 - used here only

    return load_fleet(folder / "fleet.toml")


def test_buckets_names_and_two_tokens_are_made_and_again_changes_nothing(fake: Fake, tmp_path: Path) -> None:
    result = prepare(fake, tmp_path)
    assert result.exit_code == 0, result.exception
    ages = {name: bucket["retentionRules"][0]["everySeconds"] for name, bucket in fake.buckets.items()}
    assert ages == {"cellherd": 90 * 86_400, "cellherd_derived": 0}
    mapped = {(one["database"], one["bucketID"], one["default"]) for one in fake.dbrps}
    assert mapped == {(name, bucket["id"], True) for name, bucket in fake.buckets.items()}
    rights = {
        (tmp_path / name).read_text().strip(): {action} for name, action in
        (("influx-token", "write"), ("influx-grafana-token", "read"))
    }  # fmt: skip
    assert {token: {right["action"] for right in one["permissions"]} for token, one in fake.tokens.items()} == rights
    assert {path.stat().st_mode & 0o777 for path in tmp_path.glob("influx-*")} == {0o600}
    assert not any(token in result.output for token in fake.tokens)
    again_ = prepare(fake, tmp_path)
    assert "everything was there already" in again_.output
    assert (len(fake.buckets), len(fake.dbrps), len(fake.tokens)) == (2, 2, 2)


def test_an_age_that_changed_is_changed_and_tokens_are_renewed_when_asked(fake: Fake, tmp_path: Path) -> None:
    prepare(fake, tmp_path)
    fake.buckets["cellherd"]["retentionRules"] = [{"type": "expire", "everySeconds": 86_400}]
    before = {*fake.tokens}
    result = prepare(fake, tmp_path, "--renew")
    assert "bucket cellherd: now kept 90 days" in result.output
    assert len(fake.tokens) == 2
    assert not before & {*fake.tokens}
    assert {(tmp_path / name).read_text().strip() for name in ("influx-token", "influx-grafana-token")} == {
        *fake.tokens
    }


def test_each_installer_gets_its_own_and_its_readings_go_nowhere_else(fake: Fake, tmp_path: Path) -> None:
    prepare(fake, tmp_path, each="{installer}")
    assert {*fake.buckets} == {f"{name}{who}" for name in ("cellherd", "cellherd_derived") for who in ("acme", "sun")}
    fleet = fleet_of(tmp_path)
    task = Task(config=fleet, state=tmp_path, series="s", upto=0, parent=1, control=0)
    letters = DeadLetters(tmp_path / "letters.sqlite")
    sinks = influx_sinks(task, letters)
    assert [sink.name for sink in sinks] == ["influx-acme", "influx-sun"]
    decoded = decode(list(entries(2, 5)))
    for sink in sinks:
        sink.write(3, decoded)
        assert sink.position() == 3
        sink.writer.close()
    letters.close()
    assert {*fake.written} == {"cellherdsun"}, "all of these readings are of a site of sun"
    assert b"installer=sun" in fake.written["cellherdsun"][0]
    publish = to_influx(fleet)
    assert publish is not None
    days = pl.DataFrame({"site": ["home", "barn"], "n": [1, 2], "day": [None, None]}).cast({"day": pl.Date})
    rows = pl.concat([pl.DataFrame(schema=TABLES["module_day"]), days], how="diagonal_relaxed")
    publish("module_day", rows.with_columns(day=pl.date(2026, 6, 1)))
    assert {name: b"".join(bodies).count(b"module_day,") for name, bodies in fake.written.items()} == {
        "cellherdsun": 0, "cellherd_derivedsun": 1, "cellherd_derivedacme": 1,
    }  # fmt: skip


def test_the_dashboards_token_cannot_write_and_the_ingesters_cannot_do_more(fake: Fake, tmp_path: Path) -> None:
    prepare(fake, tmp_path)
    reader = InfluxWriter(Influx(url=fake.url, token_file=str(tmp_path / "influx-grafana-token")), Rejects())
    with pytest.raises(StoreAway, match="403"):
        reader.write("cellherd", b"m x=1i 1\n")
    reader.close()
    server = Server(Influx(url=fake.url), (tmp_path / "influx-token").read_text().strip())
    with pytest.raises(CellherdError, match="401"):
        list(server.prepare(Wanted(Influx(url=fake.url), tmp_path / "a", tmp_path / "b")))
    server.close()


def test_what_is_wrong_is_told_in_one_line(fake: Fake, tmp_path: Path) -> None:
    settings = Influx(url=fake.url, org="nobody")
    server = Server(settings, ADMIN)
    with pytest.raises(CellherdError, match="nobody"):
        list(server.prepare(Wanted(settings, tmp_path / "a", tmp_path / "b")))
    server.close()
    with pytest.raises(ValueError, match="alike"):
        Influx(url="http://x", bucket="cellherd-{installer}")


class Scripted(InfluxWriter):
    """A writer whose server is a function of the lines: None, or status and message."""

    def __init__(self, rejects: Rejects, server: Callable[[list[bytes]], tuple[int, str] | None]) -> None:
        super().__init__(Influx(url="http://127.0.0.1:1"), rejects)
        self.writes, self.stored = 0, list[bytes]()
        self.found_after = 0

        class Api:
            @staticmethod
            def write(_bucket: str, record: bytes, **_: object) -> None:
                self.writes += 1
                lines = record.split(b"\n")
                refusal = server(lines)
                if refusal is None:
                    self.stored += lines
                    return
                error = ApiException(status=refusal[0], reason="Refused")
                error.body = refusal[1]
                raise error

        self._api = Api()


def test_poison_is_found_in_log2_n_plus_one_writes_wherever_it_stands() -> None:
    n = 1024
    lines = [b"m x=%di %d" % (i, i) for i in range(n)]
    for bad in (0, 1, 511, 512, 700, 1022, 1023):
        found: list[int] = []

        class Watched(Rejects):
            def __call__(self, line: bytes, reason: str) -> None:
                super().__call__(line, reason)
                found.append(server.writes)  # noqa: B023 - called within this turn

        rejects = Watched()
        server = Scripted(rejects, lambda some, bad=bad: (400, "bad") if lines[bad] in some else None)
        server.write("b", b"\n".join(lines))
        assert [line for line, _ in rejects] == [lines[bad]]
        assert found[0] <= math.log2(n) + 1
        assert sorted(server.stored) == sorted(line for line in lines if line != lines[bad])
        server.close()


def test_lines_that_are_all_refused_by_a_partial_write_cost_one_write_each_batch() -> None:
    rejects = Rejects()
    server = Scripted(rejects, lambda some: (422, f"partial write: field type conflict dropped={len(some)}"))
    server.write("b", b"\n".join(b"m x=%di %d" % (i, i) for i in range(100)))
    assert (server.writes, len(rejects)) == (1, 100)
    server.close()


def test_points_older_than_the_bucket_keeps_are_no_dead_letters() -> None:
    rejects = Rejects()
    server = Scripted(rejects, lambda some: (422, f"partial write: points beyond retention policy dropped={len(some)}"))
    server.write("b", b"m x=1i 1\nm x=2i 2\n")
    assert (server.writes, server.too_old, rejects) == (1, 2, [])
    server.close()


def test_a_body_that_is_too_large_is_cut_and_only_a_single_line_is_refused_for_it() -> None:
    rejects = Rejects()
    huge = b'm x="' + b"y" * 200 + b'" 1'
    server = Scripted(rejects, lambda some: (413, "too large") if sum(map(len, some)) > 100 else None)
    server.write("b", b"\n".join([b"m x=1i 1"] * 40 + [huge]))
    assert ([line for line, _ in rejects], len(server.stored)) == ([huge], 40)
    server.close()


def test_a_refused_line_can_be_written_again_when_the_server_takes_it(tmp_path: Path) -> None:
    letters = DeadLetters(tmp_path / "letters.sqlite")
    fleet = FleetConfig(influx=Influx(url="http://127.0.0.1:1"))
    task = Task(config=fleet, state=tmp_path, series="s", upto=0, parent=1, control=0)
    (sink,) = influx_sinks(task, letters)
    picky, good = [True], list[bytes]()
    server = Scripted(Rejects(), lambda some: (400, "conflict") if picky[0] else good.extend(some))  # type: ignore[func-returns-value]
    sink.writer._api = server._api
    sink.writer.write("cellherd", b"m x=1i 1\n")
    assert (letters.counts()["kept"], letters.want()) == (1, 1)
    assert letters.wanted() == [], "the intake leaves it alone: it is no message"
    again(letters, "influx", sink.writer)
    assert (letters.counts()["kept"], letters.newest()[0].times) == (1, 2)
    assert letters.wanted(store="influx") == [], "it was asked for once"
    picky[0] = False
    letters.want()
    again(letters, "influx", sink.writer)
    assert (letters.counts()["kept"], good) == (0, [b"m x=1i 1"])
    sink.writer.close()
    letters.close()


def edges_of(name: str) -> Edges:
    edges = Edges()
    edge = edges.came(name, 1_763_700_000_000)
    edge.status = {"online": 1, "version": "0.1.0"}
    edge.health = {"depth": 7, "oldest_ts": 1_763_699_999_000, "drops": {"cap": 2}, "ports": {"a": {"polls_ok": 5}}}
    return edges


SITES = {"home": Site(id="home", installer="sun", edge="pi0")}


@pytest.mark.service
def test_edge_points_reach_a_real_server_with_whole_numbers(influxdb: Service) -> None:
    httpx.post(f"{influxdb.url}/query", params={"q": "CREATE DATABASE edges"}).raise_for_status()
    text = edge_lines(frame(edges_of("pi0"), SITES, {}), SITES)
    target = {"db": "edges", "precision": "ms"}
    assert httpx.post(f"{influxdb.url}/write", params=target, content=text).status_code == 204
    query = {"db": "edges", "epoch": "ms", "q": "SELECT * FROM edge; SHOW FIELD KEYS FROM edge"}
    points, kinds = (one["series"][0] for one in httpx.get(f"{influxdb.url}/query", params=query).json()["results"])
    row = dict(zip(points["columns"], points["values"][0], strict=True))
    assert row == {
        "time": 1_763_700_000_000, "installer": "sun", "site": "home", "edge": "pi0", "version": "0.1.0",
        "online": 1, "depth": 7, "oldest_ms": 1_000, "drops": 2, "polls_ok": 5, "polls_bad": 0, "crc_bad": 0,
    }  # fmt: skip
    assert {kind for name, kind in kinds["values"] if name != "version"} == {"integer"}


def test_the_server_tells_its_messages_and_its_last_night_and_nothing_where_neither_was(tmp_path: Path) -> None:
    assert server_points.told(tmp_path) == {}
    diary = Diary(tmp_path / "nightly.db")
    diary.took(date(2026, 6, 1), 9_000, 1)
    diary.took(date(2026, 6, 2), 4_200, 1_780_000_000_000)
    diary.close()
    columns = "key, kind, thread, priority, person, channel, address, message, state, queued, first, not_before"
    into = f"INSERT INTO delivery ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - our own words
    with opened(tmp_path) as database:
        for n, state in enumerate(("sent", "sent", "failed", "due")):
            row = (n, "raised", "t", 2, "ann", "mail", "a", "{}", state, 0, 0, 0)
            database.execute(into, row)
    messages = {"messages_sent": 2, "messages_failed": 1, "messages_waiting": 1}
    assert server_points.told(tmp_path) == messages | {"night_ms": 4_200, "night_ended": 1_780_000_000_000}


@pytest.mark.service
def test_edge_points_go_through_the_writer_to_a_server_of_its_kind(victoria: Service) -> None:
    connection = writer(victoria.url, Rejects())
    connection.write("cellherd", edge_lines(frame(edges_of("pi0"), SITES, {}), SITES))
    connection.close()
    httpx.get(f"{victoria.url}/internal/force_flush")
    query = {"match[]": 'edge_depth{edge="pi0"}', "reduce_mem_usage": "0"}
    assert '"values":[7]' in httpx.get(f"{victoria.url}/api/v1/export", params=query).text


@pytest.mark.service
def test_a_real_influxdb_says_partial_write_where_a_type_changes_and_we_find_the_line(influxdb: Service) -> None:
    httpx.post(f"{influxdb.url}/query", params={"q": "CREATE DATABASE conflict"}).raise_for_status()
    target = {"db": "conflict", "precision": "ms"}

    def server(some: list[bytes]) -> tuple[int, str] | None:
        found = httpx.post(f"{influxdb.url}/write", params=target, content=b"\n".join(some))
        return None if found.status_code == 204 else (found.status_code, found.text)

    rejects = Rejects()
    scripted = Scripted(rejects, server)
    good = [b"m x=%di %d" % (i, i) for i in range(1, 64)]
    scripted.write("b", b"\n".join([good[0], *good[1:40], b"m x=0.5 9999", *good[40:]]))
    assert [line for line, _ in rejects] == [b"m x=0.5 9999"]
    assert "field type conflict" in rejects[0][1]
    count = httpx.get(f"{influxdb.url}/query", params={"db": "conflict", "q": "SELECT count(x) FROM m"}).json()
    assert count["results"][0]["series"][0]["values"][0][1] == 63
    scripted.close()


@pytest.mark.service
def test_a_real_influxdb_2_is_prepared_and_takes_readings(tmp_path: Path) -> None:
    url, token = (os.environ.get(name) for name in ("CELLHERD_INFLUX_URL", "CELLHERD_INFLUX_TOKEN"))
    if not url or not token:
        pytest.skip(
            "set CELLHERD_INFLUX_URL and CELLHERD_INFLUX_TOKEN (organisation cellherd) to try a real InfluxDB 2"
        )
    name = f"trial_{token_hex(4)}"
    settings = Influx(url=url, bucket=name, derived_bucket=f"{name}_derived", token_file=str(tmp_path / "write"))
    server = Server(settings, token)
    one = Wanted(settings, tmp_path / "write", tmp_path / "read", name)
    assert len(list(server.prepare(one))) == 6
    assert list(server.prepare(one)) == []
    server.close()
    sink = InfluxSink(InfluxWriter(settings, Rejects()), SITES, tmp_path / "position")
    sink.write(1, decode(list(entries(2, 5))))
    sink.writer.close()
    asked = {"db": name, "q": "SELECT count(voltage_mv) FROM module"}
    reader = {"Authorization": f"Token {(tmp_path / 'read').read_text().strip()}"}
    found = httpx.get(f"{url}/query", params=asked, headers=reader).json()["results"][0]["series"][0]
    assert found["values"][0][1] == 10
