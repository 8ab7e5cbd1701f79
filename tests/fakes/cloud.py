"""A vendor's cloud on loopback: an API over TLS that checks signatures, and brokers that speak for devices."""

from __future__ import annotations

import hmac
import json
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from getpass import getuser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event
from typing import Any
from urllib.parse import urlsplit

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from collectors.telegrams import parts
from pipeline.enrolment.authority import authority
from tests import services
from tests.fakes.listening import listening

ACCESS, SECRET = "access-key-0123456789", "secret-key-9876543210"
ACCOUNT, PASSWORD = "open-4711", "broker-password-5555"
SERIAL = "R331ZEB4ZEA0012345"
Reply = tuple[int, dict[str, str], bytes]


@dataclass
class Cloud:
    """What the API says: `data` for the quota; `next` are answers to give before, `broker` where its broker is."""

    port: int = 0
    data: Callable[[], dict[str, Any]] = dict
    next: list[Reply] = field(default_factory=list)
    broker: int = 0
    asked: list[str] = field(default_factory=list)
    stall: Event | None = None

    def answer(self, path: str, headers: Any) -> Reply:
        self.asked.append(f"GET {path}")
        if self.stall is not None:
            self.stall.wait(20)
        if self.next:
            return self.next.pop(0)
        query = urlsplit(path).query
        known = {name: headers[name] for name in ("accessKey", "nonce", "timestamp")}
        text = "&".join(filter(None, [query, *(f"{name}={value}" for name, value in known.items())]))
        if headers["sign"] != hmac.digest(SECRET.encode(), text.encode(), "sha256").hex():
            return 200, {}, b'{"code":"8521","message":"signature is wrong"}'
        body: dict[str, Any] = self.data()
        if "certification" in path:
            body = {"certificateAccount": ACCOUNT, "certificatePassword": PASSWORD, "url": "localhost"}
            body |= {"port": str(self.broker), "protocol": "mqtts"}
        return 200, {}, json.dumps({"code": "0", "message": "Success", "data": body}).encode()


@contextmanager
def cloud(certificates: Path) -> Iterator[Cloud]:
    """A running API."""
    told = Cloud()

    class Pages(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = told.answer(self.path, self.headers)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base class
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.daemon_threads = True
    told.port = server.server_address[1]
    with listening(server):
        yield told


def certificates(folder: Path) -> Path:
    """An authority and a server's certificate for localhost: `ca.pem`, `server.pem`, `server.key`."""
    folder.mkdir()
    authority(folder, datetime.now(UTC)).issue_server(["localhost", "127.0.0.1"], datetime.now(UTC))
    return folder


@dataclass
class House:
    """A broker in the house, plain and with TLS; `heard` is all that others publish there."""

    port: int
    tls_port: int
    process: subprocess.Popen[bytes]
    client: mqtt.Client
    heard: list[str]

    def say(self, frames: list[bytes]) -> None:
        """Publish messages as drivers take them."""
        for frame in frames:
            topic, payload = parts(frame)
            self.client.publish(topic, payload, 0)


@contextmanager
def house(folder: Path, certificates: Path) -> Iterator[House]:
    """A running Mosquitto with both listeners, and a client on it."""
    folder.mkdir()
    plain, tls = services.free_port(), services.free_port()
    config = folder / "mosquitto.conf"
    config.write_text(
        f"user {getuser()}\nallow_anonymous true\npersistence false\n"
        f"listener {plain} 127.0.0.1\nlistener {tls} 127.0.0.1\n"
        f"certfile {certificates}/server.pem\nkeyfile {certificates}/server.key\n"
    )
    command = [services.find("mosquitto", "mosquitto"), "-c", str(config)]
    with services.running(command, folder, plain, lambda: services._listens(plain)) as service:
        heard: list[str] = []
        client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="the-house")
        client.on_message = lambda _client, _data, came: heard.append(came.topic)
        client.on_connect = lambda client, *_: client.subscribe("#")
        client.connect("127.0.0.1", plain)
        client.loop_start()
        try:
            yield House(plain, tls, service.process, client, heard)
        finally:
            client.disconnect()
            client.loop_stop()
