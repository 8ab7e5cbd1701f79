"""A Bot API on loopback: checks what Telegram checks, keeps what was sent, answers badly on request."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs

TOKEN = "12345:a-very-secret-token"  # noqa: S105 - opens nothing
LIMITS = {"text": 4096, "caption": 1024}
TAGS = {"b", "i", "a", "code", "pre"}


@dataclass
class Bot:
    """What arrived, and the answers to give before the normal ones."""

    url: str = ""
    sent: list[dict[str, Any]] = field(default_factory=list)
    answers: list[tuple[int, dict[str, Any]]] = field(default_factory=list)


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
        markup = _Markup()
        markup.feed(fields.get(name, ""))
        markup.close()
        if markup.wrong or markup.open:
            return f"can't parse entities: {markup.wrong or markup.open}"
        if len(markup.text.encode("utf-16-le")) // 2 > limit:
            return f"{name} is too long"
    return "" if fields.get("text") or fields.get("photo") else "message is empty"


@contextmanager
def bot_api() -> Iterator[Bot]:
    """The fake, from when it listens until the end of the block."""
    bot = Bot()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            fields = _fields(self.headers["Content-Type"], body)
            status, answer = bot.answers.pop(0) if bot.answers else _judge(self.path, fields)
            if status == 200:
                bot.sent.append({"method": self.path.rpartition("/")[2], **fields})
            said = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    bot.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield bot
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _judge(path: str, fields: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    if not path.startswith(f"/bot{TOKEN}/"):
        return 401, {"ok": False, "description": "Unauthorized"}
    if wrong := fault_of(fields):
        return 400, {"ok": False, "description": f"Bad Request: {wrong}"}
    return 200, {"ok": True, "result": {"message_id": 1}}


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
