"""A door before InfluxDB 1.x that speaks the write call of version 2, and shuts when it is told to."""

from __future__ import annotations

from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from urllib.parse import parse_qs, urlsplit

import httpx

BUCKET = "cellherd"


@dataclass
class Gate:
    """`mood` is the status that it answers instead of passing on, -1 to close in the midst, 0 to pass on."""

    url: str
    mood: int = 0
    slow_s: float = 0.0

    def start(self) -> None:
        """Listen on a free port and make the database."""
        httpx.post(f"{self.url}/query", params={"q": f"CREATE DATABASE {BUCKET}"}).raise_for_status()
        gate = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                gate.serve(self)

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:
                """The other side was killed."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        Thread(target=self._server.serve_forever, name="gate", daemon=True).start()

    def stop(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()

    def serve(self, request: BaseHTTPRequestHandler) -> None:
        """Pass a write on, or do what the mood says."""
        content = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        Event().wait(self.slow_s)
        if self.mood < 0:
            request.close_connection = True
            return
        status, body = (self.mood, b'{"message":"told to"}') if self.mood else self._written(request.path, content)
        request.send_response(status)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    def _written(self, path: str, content: bytes) -> tuple[int, bytes]:
        bucket = parse_qs(urlsplit(path).query)["bucket"][0]
        try:
            answer = httpx.post(f"{self.url}/write", params={"db": bucket, "precision": "ms"}, content=content)
        except httpx.HTTPError:
            return 503, b"{}"
        return answer.status_code, answer.content

    def points(self) -> int:
        """Points of the measurement `module`: every one has a voltage."""
        query = {"db": BUCKET, "q": "SELECT count(voltage_mv) FROM module"}
        answer = httpx.get(f"{self.url}/query", params=query, timeout=120).json()["results"][0]
        return int(answer["series"][0]["values"][0][1]) if "series" in answer else 0
