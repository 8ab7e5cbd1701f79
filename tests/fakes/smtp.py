"""A mail server on loopback that says what a test wants, at any point of the conversation."""

from __future__ import annotations

import socketserver
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from threading import Event
from typing import Any

from tests.fakes.listening import listening

HANG = b""
"""An answer that never comes."""


@dataclass
class MailServer:
    """What arrived, and what is said instead of the usual: by the word of the command ("" is the greeting).

    `starttls`: the TLS that is offered. `seen` are all commands, without what a login says.
    """

    port: int = 0
    answers: dict[str, bytes] = field(default_factory=dict)
    mails: list[Any] = field(default_factory=list)
    envelopes: list[tuple[str, str]] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    starttls: ssl.SSLContext | None = None
    closing: Event = field(default_factory=Event)


class _Talk(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        server: MailServer = self.server.told  # type: ignore[attr-defined]
        self.sender = self.recipient = ""
        self._pipe()
        if not self._say("", b"220 fake ESMTP"):
            return
        while line := self.lines.readline():
            word = line.split()[0].decode("latin-1").upper() if line.strip() else "?"
            server.seen.append(word)
            if not self._answer(word, line.decode("latin-1").strip()):
                return

    def _pipe(self) -> None:
        self.lines = self.request.makefile("rb")

    def _answer(self, word: str, line: str) -> bool:
        server: MailServer = self.server.told  # type: ignore[attr-defined]
        if word == "EHLO":
            offers = b"250-fake\r\n" + (b"250-STARTTLS\r\n" if server.starttls else b"")
            return self._say(word, offers + b"250-AUTH PLAIN\r\n250 8BITMIME")
        if word == "STARTTLS" and server.starttls:
            self._say(word, b"220 go on")
            self.request = server.starttls.wrap_socket(self.request, server_side=True)
            self._pipe()
            return True
        if word == "MAIL":
            self.sender = line
        if word == "RCPT":
            self.recipient = line
        if word == "DATA":
            return self._say(word, b"354 go on") and (word in server.answers or self._read())
        usual = {"QUIT": b"221 bye", "AUTH": b"235 welcome"}.get(word, b"250 OK")
        return self._say(word, usual) and word != "QUIT"

    def _read(self) -> bool:
        server: MailServer = self.server.told  # type: ignore[attr-defined]
        body = b"".join(iter(self.lines.readline, b".\r\n")).replace(b"\r\n..", b"\r\n.")
        server.mails.append(message_from_bytes(body, policy=policy.default))
        server.envelopes.append((self.sender, self.recipient))
        return self._say(".", b"250 taken")

    def _say(self, word: str, usual: bytes) -> bool:
        server: MailServer = self.server.told  # type: ignore[attr-defined]
        said = server.answers.get(word, usual)
        if said == HANG:
            server.closing.wait()
            return False
        self.request.sendall(said + b"\r\n")
        return True

    def finish(self) -> None:
        """Close what TLS was put around, too."""
        self.lines.close()
        self.request.close()


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    told: MailServer
    tls: ssl.SSLContext | None = None

    def get_request(self) -> Any:
        request, address = super().get_request()
        return (self.tls.wrap_socket(request, server_side=True) if self.tls else request), address

    def handle_error(self, *_: Any) -> None:
        """A client that goes away is no news."""


@contextmanager
def mail_server(tls: ssl.SSLContext | None = None) -> Iterator[MailServer]:
    """The fake, from when it listens until the end of the block. `tls`: from the first byte."""
    told = MailServer()
    server = _Server(("127.0.0.1", 0), _Talk)
    server.told, server.tls = told, tls
    told.port = server.server_address[1]
    with listening(server, told.closing.set):
        yield told
