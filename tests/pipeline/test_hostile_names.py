"""Names that would be something else in another language: shown as they are, or refused where they come in."""

from __future__ import annotations

import json
from email import message_from_bytes, policy
from html import unescape
from pathlib import Path

import httpx
import polars as pl
import pytest

from cellherd import topics
from cellherd.config import load_edge, load_fleet
from cellherd.errors import ConfigError
from cellherd.settings import FleetConfig
from pipeline.alerts.mail import mail_of
from pipeline.alerts.messages import message
from pipeline.alerts.story import News
from pipeline.ingest.identity import usable
from pipeline.report import build
from pipeline.schema import TABLES
from pipeline.stores.archive import Archive, ArchiveSink
from pipeline.stores.lines import fault_lines, finding_lines
from pipeline.words import tell
from tests.fakes.fleet_by_hand import DAY, SITE, START, Frames, finding, fleet, readings
from tests.fakes.telegram import fault_of
from tests.pipeline.test_hostile_logins import NAMES
from tests.pipeline.test_ingest import edge, intake, record, until
from tests.pipeline.test_ingest import fleet as small_fleet
from tests.services import Service, free_port

_MORE = ["a\rb", "a\tb", "a\x00b", "a\x1b[2Jb", "x\\n# y", "[a](http://x.example)", "<b>bold</b>", "$site", "[[site]]",
         "';DROP TABLE reading;--", "%s %n {0}", "cmd|' /C calc'!A0", "@SUM(1)"]  # fmt: skip
WORSE = [name.encode("utf-16", "surrogatepass").decode("utf-16") for name in (*NAMES, *_MORE)]
NO_ID = [name for name in WORSE if not topics.is_id(name)]
EDGE_TOML = """edge = {edge}
[[device]]
stack = {stack}
driver = "jbd"
link = "serial:/dev/null"
modules = [{module}]
"""


def toml(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # JSON's escapes are those of a TOML basic string


@pytest.mark.parametrize("name", NO_ID, ids=ascii)
@pytest.mark.parametrize("key", ["edge", "stack", "module"])
def test_an_id_that_is_none_is_refused_in_one_printable_line(name: str, key: str, tmp_path: Path) -> None:
    file = tmp_path / "edge.toml"
    told = {"edge": "pi", "stack": "s1", "module": "m1"} | {key: name}
    file.write_text(EDGE_TOML.format(**{k: toml(v) for k, v in told.items()}))
    with pytest.raises(ConfigError) as caught:
        load_edge(file, {})
    assert all(line.isprintable() for line in caught.value.complaints), caught.value.complaints


def test_every_place_of_the_registry_refuses_what_is_no_id(tmp_path: Path) -> None:
    file = tmp_path / "fleet.toml"
    for name in NO_ID:
        for key in ("installer", "site", "edge"):
            told = {"installer": "acme", "site": "s", "edge": "e"} | {key: name}
            who, where, pi = (toml(told[k]) for k in ("installer", "site", "edge"))
            file.write_text(f"[[installer]]\nid = {who}\n[[site]]\nid = {where}\ninstaller = {who}\nedge = {pi}\n")
            with pytest.raises(ConfigError, match="an id has"):
                load_fleet(file, {})


def test_a_batterys_words_reach_the_archive_as_they_are_and_no_other_row_moves(tmp_path: Path) -> None:
    config = small_fleet(free_port())
    archive = Archive(str(tmp_path / "archive"))
    words = WORSE
    with intake(config, tmp_path, ArchiveSink(archive)) as running, edge(config, tmp_path) as pi:  # type: ignore[arg-type]
        for n, name in enumerate(words):
            body = {"serial": name, "model": name, "firmware": name}
            pi.publish(topics.records("pi1", "s1", "m1"), record(pi, 2 * n + 1, body))
            assert pi.wait([2 * n + 1], 60)
            pi.send([2 * n + 2])
        assert pi.wait(range(1, 2 * len(words) + 1), 60)
        until(lambda: not running.journal.sealed() and not running.journal.unsealed_s(), 60)
        dead = running.letters.newest(100)
    assert dead == [], "a word is no reason to refuse a record"
    info = archive.scan("device_info").sort("seq").collect()
    assert info["model"].to_list() == words
    rows = archive.scan("reading").sort("seq").collect()
    assert rows["seq"].to_list() == [2 * n + 2 for n in range(len(words))]
    assert rows["voltage_mv"].to_list() == rows["seq"].to_list()
    assert rows["unit"].to_list() == [usable(name) or "site1.s1.m1.1" for name in words]


@pytest.mark.service
def test_influxdb_gives_each_name_back_in_a_row_of_its_own(influxdb: Service) -> None:
    words = WORSE
    rows = [{"site": "farm", "stack": "s1", "module": f"m{n}", "ts": START + n, "phase": "enter", "fault": name,
             "code": name, "priority": 1} for n, name in enumerate(words)]  # fmt: skip
    events = pl.DataFrame(rows, schema=TABLES["event"])
    found = [finding(module=f"m{n}", pattern=name, fault=name) for n, name in enumerate(words)]
    findings = pl.DataFrame(found, schema=TABLES["finding"], infer_schema_length=None)
    sites = {site.id: site for site in fleet().site}
    httpx.post(f"{influxdb.url}/query", params={"q": "CREATE DATABASE names"}).raise_for_status()
    for text in (fault_lines(events, sites), finding_lines(findings, sites)):
        answer = httpx.post(f"{influxdb.url}/write", params={"db": "names", "precision": "ms"}, content=text)
        assert (answer.status_code, answer.text) == (204, "")
    assert _column(influxdb, "code", "fault") == [_shown(name) for name in words]
    assert _column(influxdb, "text", "finding") == [_shown(name) for name in words]


def _shown(name: str) -> str:
    """Line protocol has no line breaks; a field's become one space."""
    return " ".join(part for part in name.replace("\r", "\n").split("\n"))


def _column(influxdb: Service, field: str, measurement: str) -> list[str]:
    asked = {"db": "names", "q": f'SELECT "{field}", "module" FROM "{measurement}"'}  # noqa: S608 - our own words
    answer = httpx.get(f"{influxdb.url}/query", params=asked).json()["results"][0]["series"][0]["values"]
    return [row[1] for row in sorted(answer, key=lambda row: int(row[2][1:]))]


@pytest.mark.parametrize("name", WORSE, ids=ascii)
def test_a_report_shows_a_name_and_runs_none(name: str, tmp_path: Path) -> None:
    shown = Frames({"reading": readings("m1", period_s=3600), "finding": [finding()]})
    registry = fleet(1, site=[{**SITE, "name": name}], installer=[{"id": "sunny", "name": name}])
    plain = fleet(1, site=[{**SITE, "name": "plain"}], installer=[{"id": "sunny", "name": "plain"}])
    pages = [build(shown, one, DAY, tmp_path / "r.html").read_text("utf-8") for one in (registry, plain)]
    tags = [
        [page.count(tag) for tag in ("<script", "</script", "<img", "<b>", "<a ", "onerror", "<")] for page in pages
    ]
    assert tags[0][:4] == tags[1][:4]
    assert tags[0][-1] == tags[1][-1], "a name became markup"
    assert " ".join(name.split()) in " ".join(unescape(pages[0]).split())


@pytest.mark.parametrize("name", WORSE, ids=ascii)
def test_an_alert_shows_a_name_and_stays_one_message(name: str) -> None:
    config: FleetConfig = fleet(1, site=[{**SITE, "name": name}])
    made = message(News("k.1", "raised", (tell(finding(), config),)))
    assert fault_of({"text": made.brief, "parse_mode": "HTML"}) == ""
    sent = mail_of(made, "herd@x.example", "ops@x.example").as_bytes()
    back = message_from_bytes(sent, policy=policy.default)
    assert set(back.keys()) <= {"From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version",
                                "Content-Type"}  # fmt: skip
    assert (back["To"], back["From"]) == ("ops@x.example", "herd@x.example")
    begin = " ".join(name.split())[:40]
    for text in (unescape(made.brief), made.text, unescape(made.html)):
        assert begin in " ".join(text.split()) or not name.isprintable()
