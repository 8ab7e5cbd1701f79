"""The fleet in a browser: the last of everything, honest about silence, for those who may look, safe against names."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest

from cellherd.errors import CellherdError
from pipeline.commands_serve import serve
from pipeline.schema import TABLES
from pipeline.serve.keeper import Keeper
from pipeline.serve.now import Now
from pipeline.serve.pages import Server, as_json
from pipeline.stores.archive import Archive
from tests.fakes.fleet_by_hand import SITE, START, Frames, fleet, readings
from tests.services import find

LOGIN = ("cellherd", "a long password")
NOW = START + 48 * 3_600_000
HOSTILE = "<img src=x onerror=\"document.title='owned'\">"


def said(module: str, ts: int, **values: Any) -> dict[str, Any]:
    place = {"site": "farm", "stack": "s1", "module": module, "kind": "module", "ts": ts, "arrival_ts": ts}
    return {**place, **values}


def module(state: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [one for site in state["sites"] for one in site["modules"] if one["module"] == name]
    return dict(found)


def test_the_last_of_everything_is_shown_and_old_data_that_comes_late_is_not_now() -> None:
    now = Now(fleet(2))
    first = [said("m1", NOW - 9000, soc_pm=500, c00=3300, c01=3310, faults=""), said("m1", NOW - 4000, current_ma=-900)]
    assert now.refresh(Frames({"reading": first}), NOW) == 1
    m1 = module(now.state(NOW), "m1")
    assert (m1["soc_pm"], m1["current_ma"], m1["low_cell"], m1["high_mv"]) == (500, -900, 1, 3310)
    assert (m1["age_ms"], m1["level"], m1["silent"]) == (4000, 4, False)
    late = said("m1", NOW - 3_600_000, soc_pm=100) | {"arrival_ts": NOW}
    now.refresh(Frames({"reading": [*first, late]}), NOW)
    assert module(now.state(NOW), "m1")["soc_pm"] == 500
    assert module(now.state(NOW), "m2")["age_ms"] is None, "registered, never heard"


def test_only_what_arrived_since_is_read_again() -> None:
    now, rows = Now(fleet(1)), [said("m1", NOW - 9000, soc_pm=500)]
    assert now.refresh(Frames({"reading": rows}), NOW) == 1
    assert now.refresh(Frames({"reading": rows}), NOW) == 0
    assert module(now.state(NOW), "m1")["soc_pm"] == 500


def test_faults_decide_the_order_and_silence_is_told() -> None:
    now = Now(fleet(3))
    rows = [
        said("m1", NOW - 1000, faults="short_circuit_protection no_such_fault"),
        said("m2", NOW - 1_000_000, faults="short_circuit_protection", soc_pm=300),
    ]
    now.refresh(Frames({"reading": rows}), NOW)
    state = now.state(NOW)
    m1, m2 = module(state, "m1"), module(state, "m2")
    assert m1["level"] == m1["faults"][0]["priority"] == 1
    assert [fault["id"] for fault in m1["faults"]] == ["short_circuit_protection", "no_such_fault"]
    assert (m2["silent"], m2["faults"], m2["level"], m2["soc_pm"]) == (True, [], 2, 300), "what it had is no news"
    assert state["sums"] == {"modules": 3, "act": 1, "look": 1, "silent": 2}


@pytest.fixture
def keeper(tmp_path: Path) -> Keeper:
    archive = Archive(str(tmp_path / "archive"))
    rows = readings("m1", weak=6)
    frame = pl.DataFrame(rows, schema=TABLES["reading"], infer_schema_length=None)
    when = pl.col("ts").cast(pl.Datetime("ms", "UTC")).dt.date()
    archive.append("reading", frame.with_columns(date=when, arrival_ts=pl.col("ts")), app_id="test", version=1)
    hostile = fleet(2, site=[{**SITE, "name": HOSTILE}])
    (tmp_path / "serve").mkdir()
    return Keeper(archive, hostile, tmp_path / "serve", lambda: NOW)


@pytest.fixture
def served(keeper: Keeper) -> Iterator[str]:
    keeper.refresh()
    server = Server(("127.0.0.1", 0), keeper.pages(), None)
    yield f"http://127.0.0.1:{server.port}"
    server.stop()


def test_every_page_answers_and_nothing_else_does(keeper: Keeper, served: str) -> None:
    for path in ("/", "/live.js", "/live.css", "/state.json", "/healthz", "/metrics"):
        answer = httpx.get(served + path)
        assert answer.status_code == 200, path
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in httpx.get(served).headers["content-security-policy"]
    assert httpx.get(served + "/report").status_code == 503
    keeper.write_report()
    assert "<svg" in httpx.get(served + "/report").text or "Worklist" in httpx.get(served + "/report").text
    assert httpx.get(served + "/../fleet.toml").status_code == 404
    assert httpx.post(served + "/state.json").status_code == 501
    assert 'cellherd_serve_modules{state="modules"} 2.0' in httpx.get(served + "/metrics").text


def test_without_a_password_only_this_machines_names_are_answered(served: str) -> None:
    for host in ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80", ""):
        assert httpx.get(served + "/state.json", headers={"Host": host}).status_code == 421, host
    for host in ("localhost", "127.0.0.1:9838", "[::1]:80"):
        assert httpx.get(served + "/state.json", headers={"Host": host}).status_code == 200, host


def test_with_a_password_nothing_but_the_health_is_told_without_it() -> None:
    server = Server(("127.0.0.1", 0), {"/healthz": lambda: as_json({}), "/state.json": lambda: as_json([1])}, LOGIN)
    url = f"http://127.0.0.1:{server.port}"
    try:
        for path in ("/", "/state.json", "/live.js", "/nowhere"):
            assert httpx.get(url + path).status_code == 401
        assert httpx.get(url + "/state.json", auth=("cellherd", "guess")).status_code == 401
        nonsense = base64.b64encode(b"\xff\xfe").decode()
        for header in ("Basic", "Basic !!!", f"Basic {nonsense}", "Bearer abc"):
            assert httpx.get(url + "/state.json", headers={"Authorization": header}).status_code == 401
        assert httpx.get(url + "/state.json", auth=LOGIN, headers={"Host": "fleet.example"}).json() == [1]
        assert httpx.get(url + "/healthz").status_code == 200
    finally:
        server.stop()


def test_it_does_not_listen_to_everybody_without_a_password(tmp_path: Path) -> None:
    with pytest.raises(CellherdError, match="--password-file"):
        serve(tmp_path / "fleet.toml", tmp_path, "0.0.0.0:9838", "cellherd", None)


def test_an_archive_that_is_away_leaves_the_last_state_and_says_so(
    keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper.refresh()
    pages = keeper.pages()
    assert json.loads(pages["/healthz"]().body)["healthy"]

    def away(*_: object) -> None:
        raise OSError("no such disk")

    monkeypatch.setattr(Now, "refresh", away)
    keeper.start()
    keeper.stop()
    answer = pages["/healthz"]()
    assert answer.status == 503
    assert "no such disk" in answer.body.decode()
    assert module(json.loads(pages["/state.json"]().body), "m1")["soc_pm"] is not None


@pytest.mark.service
def test_a_browser_shows_the_modules_and_takes_no_markup_from_a_name(served: str, tmp_path: Path) -> None:
    chromium = find("chromium", "chromium")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
    flags += ["--disable-background-networking", "--disable-component-update", "--virtual-time-budget=4000"]
    command = [chromium, *flags, f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr", "--dump-dom"]
    done = subprocess.run([*command, served], capture_output=True, text=True, timeout=120, check=True)
    assert "CONSOLE" not in done.stderr
    assert "s1 / m1" in done.stdout
    assert "&lt;img src=x" in done.stdout
    assert "<title>owned" not in done.stdout
