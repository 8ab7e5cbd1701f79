"""What Grafana takes and what it does not: three schemas, the SDK, our rules, links; and sending to a Grafana."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cellherd.cli import app_for
from cellherd.errors import CellherdError
from dashboards.build import DASHBOARDS, built, dashboard
from dashboards.check_form import against_schema, dead_links, lint, lost, versions
from dashboards.commands_check import check
from dashboards.push import Grafana, push
from tests.fakes.listening import listening

BOARDS = [dashboard(make()) for make in DASHBOARDS]


def test_three_versions_of_grafana_are_known() -> None:
    assert versions() == ["11.6.7", "12.3.3", "13.2.3"]


@pytest.mark.parametrize("version", versions())
@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board["uid"])
def test_a_dashboard_is_what_this_grafana_takes(board: dict[str, Any], version: str) -> None:
    assert list(against_schema(board, version)) == []


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board["uid"])
def test_the_official_sdk_gives_everything_back(board: dict[str, Any]) -> None:
    pytest.importorskip("grafana_foundation_sdk")
    assert list(lost(board)) == []


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board["uid"])
def test_a_dashboard_keeps_our_rules(board: dict[str, Any]) -> None:
    assert list(lint(board)) == []


def test_every_link_leads_somewhere_and_every_question_finds_its_variables() -> None:
    assert list(dead_links(BOARDS)) == []


def _broken(change: str) -> list[dict[str, Any]]:
    boards = copy.deepcopy(BOARDS)
    panel = next(panel for panel in boards[0]["panels"] if panel["title"] == "Worklist")
    match change:
        case "option":
            panel["options"]["showHeadr"] = True
        case "panel":
            panel["type"] = "worldmap"
        case "description":
            panel["description"] = "A list."
        case "query":
            panel["targets"][0]["query"] = "SELECT 1"
        case "link":
            panel["fieldConfig"]["overrides"][1]["properties"][0]["value"][0]["url"] = "/d/nowhere"
        case "variable":
            panel["fieldConfig"]["overrides"][1]["properties"][0]["value"][0]["url"] = "/d/fleet-site?var-sight=a"
    return boards


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("option", "showHeadr"),
        ("panel", "no core panel"),
        ("description", "names no data set"),
        ("query", "no data set's"),
        ("link", "leads nowhere"),
        ("variable", "sets sight"),
    ],
)
def test_what_is_wrong_is_found(change: str, says: str) -> None:
    boards = _broken(change)
    found = [*against_schema(boards[0], "13.2.3"), *lint(boards[0]), *dead_links(boards)]
    assert found
    assert says in "; ".join(found)


def test_the_check_command_says_what_it_looked_at() -> None:
    pytest.importorskip("grafana_foundation_sdk")
    done = CliRunner().invoke(app_for(["dashboards", "check"]), ["dashboards", "check"])
    assert done.exit_code == 0, done.output
    assert "7 dashboards against Grafana 11.6.7, 12.3.3, 13.2.3, SDK, rules, links: 0 errors" in done.output
    with pytest.raises(CellherdError, match="NAME=VALUE"):
        check(influx="http://127.0.0.1:1", choose=["barn"])


class FakeGrafana:
    """Takes what a Grafana takes from an editor: the folder once, dashboards over and over."""

    def __init__(self) -> None:
        self.folders: list[str] = []
        self.boards: dict[str, dict[str, Any]] = {}
        self.url = ""

    def answer(self, path: str, token: str | None, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if token != "Bearer editor":  # noqa: S105 - the word that this fake takes
            return 401, {"message": "Invalid API key"}
        if path == "/api/folders":
            if body["uid"] in self.folders:
                return 412, {"message": "the folder has been changed by someone else"}
            self.folders.append(body["uid"])
            return 200, body
        if path != "/api/dashboards/db" or body["folderUid"] not in self.folders:
            return 404, {"message": "not found"}
        if body["dashboard"]["uid"] in self.boards and not body["overwrite"]:
            return 412, {"message": "a dashboard with the same uid exists"}
        self.boards[body["dashboard"]["uid"]] = body["dashboard"]
        return 200, {"status": "success"}


@pytest.fixture
def grafana() -> Iterator[FakeGrafana]:
    fake = FakeGrafana()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, told = fake.answer(self.path, self.headers["Authorization"], body)
            data = json.dumps(told).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    fake.url = f"http://127.0.0.1:{server.server_port}"
    with listening(server):
        yield fake


def test_push_puts_every_dashboard_into_its_folder_and_may_be_repeated(grafana: FakeGrafana, tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("editor\n")
    words = ["dashboards", "push", "--url", grafana.url, "--token-file", str(secret)]
    for _ in range(2):
        done = CliRunner().invoke(app_for(words), words)
        assert done.exit_code == 0, done.output
    assert set(grafana.boards) == {board["uid"] for board in BOARDS}
    assert f"{grafana.url}/d/fleet-home" in done.output
    assert "editor" not in done.output


def test_a_grafana_that_does_not_let_us_in_or_is_away_is_named_with_the_way_out(grafana: FakeGrafana) -> None:
    with pytest.raises(CellherdError, match=r"401 .*service account"):
        list(push(Grafana(grafana.url, "viewer"), built()))
    with pytest.raises(CellherdError, match="does not answer"):
        list(push(Grafana("http://127.0.0.1:9", "editor"), built()))
    with pytest.raises(CellherdError, match="no address"):
        list(push(Grafana("file:///etc/passwd", "editor"), built()))
