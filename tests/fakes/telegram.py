"""A Bot API on loopback: checks what Telegram checks, keeps what was sent, answers badly on request."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event
from typing import Any
from urllib.parse import parse_qs

from tests.fakes.listening import listening

TOKEN = "12345:a-very-secret-token"  # noqa: S105 - opens nothing
LIMITS = {"text": 4096, "caption": 1024}
TAGS = {"b", "i", "a", "code", "pre"}
HANG = (0, b"")
"""An answer that never comes."""


def size_of(text: str) -> int:
    """Length as Telegram counts it."""
    return len(text.encode("utf-16-le")) // 2


def wrong_buttons(text: str) -> bool:
    """Whether a keyboard is none, or a button sends back more than 64 bytes."""
    rows = json.loads(text)["inline_keyboard"]
    return any(not one["text"] or not 1 <= len(one["callback_data"].encode()) <= 64 for row in rows for one in row)


@dataclass
class Bot:
    """What arrived, and the answers to give before the normal ones: HANG says nothing, bytes are said as they are.

    `updates` wait for the next getUpdates; `polled` are the offsets that were asked for.
    """

    url: str = ""
    sent: list[dict[str, Any]] = field(default_factory=list)
    answers: list[tuple[int, dict[str, Any] | bytes]] = field(default_factory=list)
    updates: list[dict[str, Any]] = field(default_factory=list)
    polled: list[int] = field(default_factory=list)
    connections: set[tuple[str, int]] = field(default_factory=set)
    closing: Event = field(default_factory=Event)
    _number: int = 0

    def judge(self, path: str, fields: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """What the Bot API would answer."""
        method = path.rpartition("/")[2]
        if not path.startswith(f"/bot{TOKEN}/"):
            return 401, {"ok": False, "description": "Unauthorized"}
        if method == "getUpdates":
            self.polled.append(int(fields["offset"]))
            return 200, {"ok": True, "result": [u for u in self.updates if u["update_id"] >= self.polled[-1]]}
        if method == "answerCallbackQuery":
            long = size_of(fields.get("text", "")) > 200
            return (400, {"ok": False, "description": "too long"}) if long else (200, {"ok": True, "result": True})
        if wrong := fault_of(fields):
            return 400, {"ok": False, "description": f"Bad Request: {wrong}"}
        self._number += 1
        number = int(fields.get("message_id", self._number))
        return 200, {"ok": True, "result": {"message_id": number, "chat": {"id": fields["chat_id"]}}}


class _Markup(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""
        self.wrong: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        if tag not in TAGS:
            self.wrong.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(f"/{tag}")

    def handle_data(self, data: str) -> None:
        self.text += data


def fault_of(fields: dict[str, Any]) -> str:
    """Why Telegram would refuse these fields; empty if it would not."""
    for name, limit in LIMITS.items():
        if not fields.get("parse_mode"):
            if size_of(fields.get(name, "")) > limit:
                return f"{name} is too long"
            continue
        markup = _Markup()
        markup.feed(fields.get(name, ""))
        markup.close()
        if markup.wrong or markup.open:
            return f"can't parse entities: {markup.wrong or markup.open}"
        if size_of(markup.text) > limit:
            return f"{name} is too long"
    if wrong_buttons(fields.get("reply_markup", '{"inline_keyboard": []}')):
        return "BUTTON_DATA_INVALID"
    return "" if fields.get("text") or fields.get("photo") or fields.get("caption") else "message is empty"


@contextmanager
def bot_api(*, keeps: bool = False) -> Iterator[Bot]:
    """The fake, from when it listens until the end of the block. `keeps` connections, as the real one does."""
    bot = Bot()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1" if keeps else "HTTP/1.0"

        def do_POST(self) -> None:
            bot.connections.add(self.client_address)
            body = self.rfile.read(int(self.headers["Content-Length"]))
            fields = _fields(self.headers["Content-Type"], body)
            method = self.path.rpartition("/")[2]
            scripted = bot.answers.pop(0) if bot.answers and method != "getUpdates" else None
            if scripted == HANG:
                bot.closing.wait()
                return
            status, answer = scripted or bot.judge(self.path, fields)
            if method == "getUpdates" and not answer.get("result"):  # type: ignore[union-attr]
                bot.closing.wait(0.1)  # the real one waits for news as long as it is asked to
            if status == 200 and method != "getUpdates":
                bot.sent.append({"method": method, **fields})
            said = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    bot.url = f"http://127.0.0.1:{server.server_port}"
    with listening(server, bot.closing.set):
        yield bot


def _fields(kind: str, body: bytes) -> dict[str, Any]:
    if not kind.startswith("multipart/"):
        return {key: values[0] for key, values in parse_qs(body.decode()).items()}
    parts = message_from_bytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body).get_payload()
    found: dict[str, Any] = {}
    for part in parts:  # type: ignore[union-attr]
        name = part.get_param("name", header="content-disposition")  # type: ignore[union-attr]
        content = part.get_payload(decode=True)  # type: ignore[union-attr]
        found[str(name)] = content if part.get_filename() else content.decode()  # type: ignore[union-attr]
    return found
