"""Two pages for those who watch the ingester: /healthz and /metrics. They are read only and hold no secret."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from time import time_ns

from pipeline.enrolment.places import host_and_port
from pipeline.ingest.health import Status, metrics, reasons

log = logging.getLogger(__name__)


class Pages:
    """A thread that answers one caller at a time. A port that is taken is said, and stops nobody from taking readings.

    `port` is where it listens, 0 if it does not. Raises CellherdError if `listen` is no host:port.
    """

    def __init__(self, listen: str, status: Callable[[], Status]) -> None:
        host, port = host_and_port(listen)
        self.port, self._server = 0, None
        try:
            server = HTTPServer((host, port), _handler(status))
        except OSError as error:
            log.warning(
                "no /healthz and no /metrics: cannot listen on %s (%s); change health.listen", listen, error.strerror
            )
            return
        self.port, self._server = port, server
        self._thread = Thread(target=server.serve_forever, name="pages", args=[0.2], daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End."""
        if self._server is not None:
            self._server.shutdown()
            self._thread.join(timeout=6)
            self._server.server_close()


def _handler(status: Callable[[], Status]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 5  # of one caller, so that the next gets its turn
        server_version, sys_version = "cellherd", ""

        def do_GET(self) -> None:
            now = time_ns() // 1_000_000
            page = self.path.partition("?")[0]
            if page == "/metrics":
                self._say(200, "text/plain; version=0.0.4; charset=utf-8", metrics(status(), now))
            elif page == "/healthz":
                why = reasons(status(), now)
                body = json.dumps({"healthy": not why, "reasons": why}, indent=1).encode() + b"\n"
                self._say(503 if why else 200, "application/json", body)
            else:
                self._say(404, "text/plain", b"there are /healthz and /metrics\n")

        def _say(self, code: int, kind: str, body: bytes) -> None:
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """A page asked for every few seconds is no news."""

    return Handler
