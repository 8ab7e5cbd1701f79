"""`init`, `doctor` and `support-bundle`: the first minutes, and the minute in which one needs help."""

from __future__ import annotations

import json
import os
import pty
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from zipfile import ZipFile

import pytest
from typer.testing import CliRunner

from cellherd.cli import app_for
from cellherd.commands_support import without_secrets
from cellherd.config import load_edge, load_fleet
from cellherd.doctor import Found, examine
from cellherd.errors import CellherdError
from pipeline.ingest.running import only_one
from pipeline.nightly.diary import Diary
from tests import services
from tests.collectors import brokers
from tests.fakes.listening import listening


def call(*words: str, said: str = "") -> Any:
    return CliRunner().invoke(app_for(list(words)), list(words), input=said, env={"COLUMNS": "200"})


def found(config: Path, state: Path) -> dict[str, str]:
    return {one.what: one.state for one in examine(config, state)}


def only(what: str, told: dict[str, str]) -> str:
    (state,) = [state for line, state in told.items() if what in line]
    return state


@pytest.mark.parametrize(("kind", "load"), [("--server", load_fleet), ("--edge", load_edge)])
def test_a_few_answers_make_a_config_that_is_fine(kind: str, load: Any, tmp_path: Path) -> None:
    file = tmp_path / "new" / "it.toml"
    run = call("init", kind, str(file), said="broker.example\nMY Firm!\nmine\nbarn\nEurope/Brelin\nEurope/Berlin\n")
    assert run.exit_code == 0, run.output
    config = load(file, {})
    assert "cellherd" in run.output.split("Next:")[1]
    again = call("init", kind, str(file))
    assert isinstance(again.exception, CellherdError)
    if kind == "--server":
        assert (config.broker.public_url, config.site[0].tz) == ("mqtts://broker.example:8883", "Europe/Berlin")
        assert "1 to 63" in run.output
        assert "is no such time zone" in run.output


def test_a_config_that_is_wrong_is_a_finding_and_fails(tmp_path: Path) -> None:
    file = tmp_path / "edge.toml"
    file.write_text('edge = "barn"\n[mqtt]\nurl = "mqtt://far.example"\n')
    run = call("doctor", "--config", str(file), "--state", str(tmp_path), "--json")
    assert run.exit_code == 1
    assert any("mqtts://" in json.loads(line)["what"] for line in run.output.splitlines())


def test_an_edges_ports_are_looked_at_without_opening_them(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    name = os.ttyname(theirs)
    file = tmp_path / "edge.toml"
    file.write_text(
        f'edge = "barn"\n[mqtt]\nurl = "mqtt://127.0.0.1:{services.free_port()}"\n'
        f'[[device]]\nstack = "a"\ndriver = "jbd"\nlink = "serial:{name}"\n'
        '[[device]]\nstack = "b"\ndriver = "jbd"\nlink = "serial:/dev/gone0?baud=9600"\n'
        '[[device]]\nstack = "c"\ndriver = "pylontech_can"\nlink = "can:cannot0"\n'
    )
    told = found(file, tmp_path)
    os.close(ours)
    os.close(theirs)
    assert only(name, told) == "ok"
    assert only("/dev/gone0", told) == "fail"
    assert only("cannot0", told) == "fail"
    assert only("is not reached", told) == "fail"
    assert only("no outbox yet", told) == "ok"


@pytest.mark.parametrize("open_to_all", [False, True])
def test_an_edges_login_is_tried_and_what_it_must_not_hear(tmp_path: Path, open_to_all: bool) -> None:
    with (brokers.mosquitto if open_to_all else brokers.embedded)(tmp_path) as broker:
        file = tmp_path / "edge.toml"
        login = f'password_file = "{broker.password_file}"\n' if broker.password_file else ""
        file.write_text(f'edge = "{brokers.EDGE}"\n[mqtt]\nurl = "mqtt://127.0.0.1:{broker.port}"\n{login}')
        told = found(file, tmp_path / "edge-state")
        if open_to_all:
            assert only("hear what is for others", told) == "fail"
            return
        assert only("and to nothing of others", told) == "ok"
        (tmp_path / "wrong").write_text("guessed")
        (tmp_path / "wrong").chmod(0o600)
        file.write_text(file.read_text().replace(str(broker.password_file), str(tmp_path / "wrong")))
        assert only("refuses user", found(file, tmp_path / "edge-state")) == "fail"


class _Answers(BaseHTTPRequestHandler):
    status, body = 204, b""
    paths: ClassVar[list[str]] = []

    def _answer(self) -> None:
        type(self).paths.append(self.path)
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    do_GET = do_POST = _answer  # noqa: N815 - the names that http.server calls

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def web() -> Iterator[tuple[str, type[_Answers]]]:
    told = type("Told", (_Answers,), {"paths": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), told)
    with listening(server):
        yield f"http://127.0.0.1:{server.server_port}", told


def registry(folder: Path, more: str) -> Path:
    (folder / "token").write_text("a-token-of-somebody")
    (folder / "token").chmod(0o600)
    file = folder / "fleet.toml"
    file.write_text(
        '[broker]\nlisten = "127.0.0.1:1"\n[[installer]]\nid = "sunny"\n'
        '[[site]]\nid = "farm"\ninstaller = "sunny"\nedge = "farm-pi"\n' + more
    )
    return file


def test_a_servers_stores_and_channels_are_tried(tmp_path: Path, web: tuple[str, type[_Answers]]) -> None:
    url, told = web
    file = registry(
        tmp_path,
        f'[influx]\nurl = "{url}"\ntoken_file = "token"\n[telegram]\nbase_url = "{url}"\ntoken_file = "token"\n'
        f'[mail]\nhost = "127.0.0.1"\nport = {services.free_port()}\nsender = "a@b.example"\n',
    )
    lines = found(file, tmp_path)
    assert only("bucket 'cellherd'", lines) == "ok"
    assert only("none of its answers", lines) == "fail"
    assert only("mail by", lines) == "fail"
    assert only("whom to write to", lines) == "warn"
    told.status, told.body = 401, b'{"message": "unauthorized access", "description": "Unauthorized"}'
    lines = found(file, tmp_path)
    assert only("bucket 'cellherd_derived' answers 401: unauthorized access", lines) == "fail"
    told.status, told.body = 200, b'{"ok": true, "result": {"username": "herd_bot"}}'
    assert only("knows the bot @herd_bot", found(file, tmp_path)) == "ok"
    assert not any("a-token-of-somebody" in line for line in lines)
    assert any(path.endswith("/getMe") for path in told.paths)


def test_nights_that_are_behind_and_an_ingester_that_does_not_answer_are_told(tmp_path: Path) -> None:
    file = registry(tmp_path, f'[health]\nlisten = "127.0.0.1:{services.free_port()}"\n')
    assert only("no night was worked out", found(file, tmp_path)) == "warn"
    today = datetime.now(UTC).date()
    diary = Diary(tmp_path / "nightly.db")
    diary.finish("farm", today - timedelta(days=9), 0)
    assert only("nights that are behind: farm", found(file, tmp_path)) == "warn"
    diary.finish("farm", today - timedelta(days=1), 0)
    diary.close()
    with only_one(tmp_path):
        lines = found(file, tmp_path)
    assert only("nights of all 1 sites", lines) == "ok"
    assert only("does not answer", lines) == "fail"


def test_a_bundle_holds_what_helps_and_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mqtt-password").write_text("hunter2-but-long\n")
    (tmp_path / "mqtt-password").chmod(0o600)
    file = tmp_path / "edge.toml"
    file.write_text(
        f'edge = "barn"\n[mqtt]\nurl = "mqtt://127.0.0.1:{services.free_port()}"\npassword_file = "mqtt-password"\n'
        "# it was hunter2-but-long before\n"
    )
    capture = tmp_path / "morning.jsonl"
    capture.write_text('{"capture": 1, "driver": "jbd"}\n')
    out = tmp_path / "help.zip"
    run = call(
        "support-bundle", "-o", str(out), "--config", str(file), "--state", str(tmp_path), "--capture", str(capture)
    )
    assert run.exit_code == 0, run.output
    with ZipFile(out) as bundle:
        texts = {name: bundle.read(name).decode() for name in bundle.namelist()}
    assert {"versions.txt", "doctor-edge.json", "config/edge.toml", "state.txt", "capture/morning.jsonl"} <= set(texts)
    assert "cellherd" in texts["versions.txt"]
    assert any("is not reached" in one["what"] for one in json.loads(texts["doctor-edge.json"]))
    assert not any("hunter2" in text for text in texts.values())
    assert 'password_file = "mqtt-password"' in texts["config/edge.toml"]


def test_what_a_config_calls_a_secret_is_struck_out() -> None:
    text = '[mqtt]\npassword = "hunter2"\npassword_file = "pw"\ntoken="abc" # mine\n'
    assert without_secrets(text) == '[mqtt]\npassword = "[secret]"\npassword_file = "pw"\ntoken="[secret]" # mine\n'


def test_a_room_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cellherd.doctor.ROOMS", {"edge": "cellherd.not_there", "fleet": "cellherd.not_there"})
    file = tmp_path / "edge.toml"
    file.write_text('edge = "barn"\n')
    last = list(examine(file, tmp_path))[-1]
    assert isinstance(last, Found)
    assert (last.state, last.mend) == ("warn", "pip install 'cellherd[edge]'")
