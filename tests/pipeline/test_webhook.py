"""Programs that are told: signed calls, and Alertmanager's API v2."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from pydantic import ValidationError

from cellherd.settings_people import Webhook
from pipeline.alerts.channel import Message, NotSent, Recipient
from pipeline.alerts.messages import message
from pipeline.alerts.news import news_of
from pipeline.alerts.people import Person, told_of
from pipeline.alerts.webhook import WebhookChannel, alertmanager
from tests.fakes.fleet_by_hand import fleet
from tests.fakes.listening import listening
from tests.pipeline.herd import HOUR, START, TRIP, Herd

SECRET = "a-shared-secret-of-the-webhook"  # noqa: S105 - opens nothing
HANG = 0


@dataclass
class Listener:
    url: str = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    calls: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    closing: Event = field(default_factory=Event)


@contextmanager
def listener() -> Iterator[Listener]:
    told = Listener()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            told.calls.append((self.path, dict(self.headers), body))
            if told.status == HANG:
                told.closing.wait()
                return
            self.send_response(told.status)
            for name, value in {**told.headers, "Content-Length": "0"}.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told.url = f"http://127.0.0.1:{server.server_port}/alerts"
    with listening(server, told.closing.set):
        yield told


@pytest.fixture
def sink() -> Iterator[Listener]:
    with listener() as sink:
        yield sink


def channel(tmp_path: Path, sink: Listener, form: Any = "cellherd", timeout_s: float = 20.0) -> WebhookChannel:
    secret = tmp_path / "secret"
    secret.write_text(SECRET + "\n")
    secret.chmod(0o600)
    return WebhookChannel([Webhook(id="ops", url=sink.url, secret_file=str(secret), form=form)], timeout_s=timeout_s)


def turns(language: str = "en") -> list[Message]:
    """Raised for two modules, and resolved."""
    herd = Herd()
    for module in ("m1", "m2"):
        herd.enter(where=f"farm/s1/{module}", cell=6, value=3702.0, threshold=3650.0, value_unit="mV")
    herd.wait(HOUR)
    for module in ("m1", "m2"):
        herd.leave(where=f"farm/s1/{module}")
    herd.wait(HOUR)
    person = Person("webhook:ops", (Recipient("webhook", "ops"),), language=language)
    config = fleet(dashboard_url="https://g.example")
    return [message(news_of(turn, config, person, herd.now)) for turn in herd.turns]


def test_a_call_is_signed_so_that_a_listener_can_prove_it(tmp_path: Path, sink: Listener) -> None:
    channel(tmp_path, sink).send("ops", turns()[0])
    ((path, headers, body),) = sink.calls
    parts = dict(part.split("=") for part in headers["CellHerd-Signature"].split(","))
    expected = hmac.new(SECRET.encode(), parts["t"].encode() + b"." + body, hashlib.sha256).hexdigest()
    assert (path, parts["v1"]) == ("/alerts", expected)
    assert headers["CellHerd-Delivery"] == turns()[0].key
    assert SECRET.encode() not in body


def test_a_call_says_all_that_a_program_needs(tmp_path: Path, sink: Listener) -> None:
    for said in turns():
        channel(tmp_path, sink).send("ops", said)
    raised, resolved = (json.loads(body) for _, _, body in sink.calls)
    assert (raised["kind"], resolved["kind"], raised["alert"]) == ("raised", "resolved", resolved["alert"])
    first, second = raised["members"]
    assert (first["fault"], first["module"], second["module"], first["cell"]) == (TRIP, "m1", "m2", 6)
    assert (first["value"], first["threshold"], first["value_unit"], first["standing"]) == (3702.0, 3650.0, "mV", True)
    assert not any(member["standing"] for member in resolved["members"])


TROUBLES: dict[str, tuple[int, dict[str, str], dict[str, Any]]] = {
    "400": (400, {}, {"final": True}),
    "404": (404, {}, {"final": True, "gone": False}),
    "410": (410, {}, {"final": True, "gone": True}),
    "a redirect is not followed": (302, {"Location": "http://127.0.0.1:1/"}, {"final": True}),
    "429": (429, {"Retry-After": "7"}, {"final": False, "retry_s": 7.0}),
    "429 with rubbish": (429, {"Retry-After": "soon"}, {"final": False, "retry_s": None}),
    "503": (503, {"Retry-After": "9999999999"}, {"final": False, "retry_s": 86_400.0}),
    "500": (500, {}, {"final": False, "retry_s": None, "unsure": False}),
    "hang": (HANG, {}, {"final": False, "unsure": True}),
}


@pytest.mark.parametrize("name", TROUBLES)
def test_every_refusal_is_understood(tmp_path: Path, sink: Listener, name: str) -> None:
    sink.status, sink.headers, expected = TROUBLES[name]
    with pytest.raises(NotSent) as caught:
        channel(tmp_path, sink, timeout_s=20.0 if sink.status else 0.5).send("ops", turns()[0])
    assert {key: getattr(caught.value, key) for key in expected} == expected
    assert sink.url not in str(caught.value)


def test_alertmanager_hears_of_each_module_and_when_it_is_over(tmp_path: Path, sink: Listener) -> None:
    sink.url = sink.url.removesuffix("/alerts")
    for said in turns():
        channel(tmp_path, sink, "alertmanager").send("ops", said)
    (path, _, body), (_, _, over) = sink.calls
    assert path == "/api/v2/alerts"
    raised, resolved = json.loads(body), json.loads(over)
    assert [one["labels"] for one in raised] == [one["labels"] for one in resolved]
    assert raised[0]["labels"]["alertname"] == TRIP
    assert raised[0]["labels"]["module"] == "m1"
    assert raised[0]["generatorURL"].startswith("https://g.example/")
    for one in (*raised, *resolved):
        assert all(isinstance(text, str) and text for text in (*one["labels"].values(), *one["annotations"].values()))
    now = datetime.fromtimestamp(turns()[1].facts["at"] / 1000).astimezone()
    assert all(datetime.fromisoformat(one["endsAt"]) > now for one in raised)
    assert all(datetime.fromisoformat(one["endsAt"]) <= now for one in resolved)
    assert all(one["startsAt"] < one["endsAt"] for one in (*raised, *resolved))


def test_a_test_message_is_an_alert_that_ends_by_itself() -> None:
    (one,) = alertmanager(Message("t.1", "This is a test", "", "", "", kind="test"), START)
    assert one["labels"]["alertname"] == "cellherd_test"
    assert datetime.fromisoformat(one["endsAt"]).timestamp() * 1000 == START + 300_000


def test_a_route_names_a_webhook_by_its_id_and_only_one_that_exists() -> None:
    hook = {"id": "am", "url": "http://127.0.0.1:9093", "form": "alertmanager"}
    config = fleet(webhook=[hook], route=[{"priority": 2, "webhook": ["am"]}])
    assert [person.ways for person in told_of("farm", 1, config, 0)] == [(Recipient("webhook", "am"),)]
    with pytest.raises(ValidationError, match="webhook 'pm' of a route"):
        fleet(webhook=[hook], route=[{"webhook": ["pm"]}])


@pytest.mark.parametrize("url", ["ftp://x.example", "x.example", "https://", "https://me:pw@x.example/"])
def test_an_url_that_is_none_or_carries_a_login_is_refused(url: str) -> None:
    with pytest.raises(ValidationError):
        Webhook.model_validate({"id": "ops", "url": url, "secret_file": "s"})


def test_a_webhook_without_a_secret_is_refused() -> None:
    with pytest.raises(ValidationError, match="secret_file"):
        Webhook(id="ops", url="https://x.example/")
