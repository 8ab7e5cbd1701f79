"""The little web server: answers GET for six pages and nothing else. Whoever may reach it may read it all.

Without a password it answers only to the names of this machine, so that no page of the web can read it through a
visitor's browser (DNS rebinding).
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from threading import Thread

from cellherd.errors import CellherdError

OWN_NAMES = ("localhost", "127.0.0.1", "[::1]")
HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
}
POLICY = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; base-uri 'none'"
FILES = {
    "/": ("live.html", "text/html; charset=utf-8"),
    "/live.css": ("live.css", "text/css; charset=utf-8"),
    "/live.js": ("live.js", "text/javascript; charset=utf-8"),
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a page says."""

    status: int
    kind: str
    body: bytes
    more: Mapping[str, str] = field(default_factory=dict)


Page = Callable[[], Answer]


def as_json(value: object, status: int = 200) -> Answer:
    """A value as a JSON answer."""
    return Answer(status, "application/json", json.dumps(value, separators=(",", ":")).encode())


@cache
def _file(name: str, kind: str) -> Answer:
    text = resources.files("pipeline.serve").joinpath(name).read_bytes()
    return Answer(200, kind, text, {"Content-Security-Policy": POLICY})


class Server:
    """Listens until `stop`. `pages` are asked by their path; the live page's own files are always there."""

    def __init__(self, listen: tuple[str, int], pages: Mapping[str, Page], login: tuple[str, str] | None) -> None:
        try:
            self._server = ThreadingHTTPServer(listen, _handler(pages, login))
        except OSError as error:
            raise CellherdError(f"cannot listen on {listen[0]}:{listen[1]}: {error.strerror or error}") from None
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self._thread = Thread(target=self._server.serve_forever, name="pages", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Answer nobody any more."""
        self._server.shutdown()
        self._thread.join(timeout=5)
        self._server.server_close()


def _handler(pages: Mapping[str, Page], login: tuple[str, str] | None) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 10  # of one caller, so that nobody holds a thread for ever
        server_version, sys_version = "cellherd", ""

        def do_GET(self) -> None:
            self._say(self._answer())

        def do_HEAD(self) -> None:
            self._say(self._answer(), body=False)

        def _answer(self) -> Answer:
            host, said = self.headers.get("Host", ""), self.headers.get("Authorization", "")
            path = self.path.partition("?")[0]
            return _refusal(path, host, said, login) or _found(path, pages)

        def _say(self, answer: Answer, *, body: bool = True) -> None:
            self.send_response(answer.status)
            told = {"Content-Type": answer.kind, "Content-Length": str(len(answer.body)), **HEADERS, **answer.more}
            for name, value in told.items():
                self.send_header(name, value)
            self.end_headers()
            if body:
                self.wfile.write(answer.body)

        def log_message(self, *_: object) -> None:
            """A page asked for every few seconds is no news."""

    return Handler


def _refusal(path: str, host: str, said: str, login: tuple[str, str] | None) -> Answer | None:
    if login is None:
        known = b"without a password only this machine's own names are answered\n"
        return None if _is_own(host) else Answer(421, "text/plain", known)
    if path == "/healthz" or _may(said, login):
        return None
    return Answer(401, "text/plain", b"a login, please\n", {"WWW-Authenticate": 'Basic realm="CellHerd"'})


def _found(path: str, pages: Mapping[str, Page]) -> Answer:
    if path in FILES:
        return _file(*FILES[path])
    if path in pages:
        return pages[path]()
    return Answer(404, "text/plain", f"there are / {' '.join(sorted(pages))}\n".encode())


def _is_own(host: str) -> bool:
    name, port = host, ""
    if not host.endswith("]"):
        name, _, port = host.rpartition(":") if ":" in host else (host, "", "")
    return name.lower() in OWN_NAMES and (not port or port.isdigit())


def _may(said: str, login: tuple[str, str]) -> bool:
    kind, _, coded = said.partition(" ")
    if kind.lower() != "basic":
        return False
    try:
        told = base64.b64decode(coded, validate=True)
    except (binascii.Error, ValueError):
        return False
    return hmac.compare_digest(told, ":".join(login).encode())
