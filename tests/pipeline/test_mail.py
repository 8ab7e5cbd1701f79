"""E-mail, against a server that takes mails as it should and misbehaves at every point of the conversation."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from cellherd.settings_people import Mail
from pipeline.alerts.channel import Message, NotSent
from pipeline.alerts.letter import PLOT
from pipeline.alerts.mail import MailChannel, mail_of
from pipeline.enrolment.authority import authority
from tests.fakes.smtp import HANG, MailServer, mail_server

PNG = b"\x89PNG\r\n\x1a\n"
HTML = f"<html><body><p>text</p>{PLOT}</body></html>"
SAID = Message("a.1", "[Today] Cell: Müller", "text\n", HTML, "brief", thread="a")
SENDER = "CellHerd <herd@x.example>"


@pytest.fixture
def server() -> Iterator[MailServer]:
    with mail_server() as server:
        yield server


def channel(server: MailServer, timeout_s: float = 20.0, **more: Any) -> MailChannel:
    known = {"host": "127.0.0.1", "port": server.port, "security": "none", "sender": SENDER}
    return MailChannel(Mail.model_validate({**known, **more}), timeout_s)


def test_a_mail_has_text_html_and_the_picture_inside_the_html(server: MailServer) -> None:
    channel(server).send("ops@x.example", replace(SAID, picture=PNG))
    (mail,) = server.mails
    leaves = [part.get_content_type() for part in mail.walk() if not part.is_multipart()]
    assert leaves == ["text/plain", "text/html", "image/png"]
    html = mail.get_body(("html",)).get_content()
    assert ('src="cid:plot"' in html, PLOT in html) == (True, False)
    assert mail.get_body(("related",)).get_content_type() == "multipart/related"
    assert [to.lower() for _, to in server.envelopes] == ["rcpt to:<ops@x.example>"]


def test_mails_of_one_alert_share_a_thread_even_for_those_who_came_to_it_later() -> None:
    first = mail_of(SAID, SENDER, "a@x.example")
    second = mail_of(replace(SAID, key="a.2", answers="a.1"), SENDER, "a@x.example")
    fourth = mail_of(replace(SAID, key="a.4", answers="a.3", kind="resolved"), SENDER, "later@x.example")
    assert (first["Message-ID"], first["References"]) == ("<a.1@x.example>", None)
    assert (second["In-Reply-To"], second["References"]) == ("<a.1@x.example>", "<a.1@x.example>")
    assert fourth["References"] == "<a.1@x.example> <a.3@x.example>"
    assert mail_of(SAID, SENDER, "a@x.example")["Message-ID"] == first["Message-ID"]


SUBJECTS = ["a\r\nBcc: evil@x.example", "a\n\n<html>", "\u202etxt", "x" * 5000, "\ud800", "ö" * 300]


@pytest.mark.parametrize("subject", SUBJECTS)
def test_no_subject_adds_a_header(server: MailServer, subject: str) -> None:
    channel(server).send("ops@x.example", replace(SAID, subject=subject))
    (mail,) = server.mails
    assert mail["Bcc"] is None
    assert len(mail["Subject"]) <= 200
    assert set(mail.keys()) <= {
        "From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type"
    }  # fmt: skip


@pytest.mark.parametrize("key", ["summary.mail.ops@x.example.1", "a\r\nBcc: x@y", "<>", "ключ"])
def test_no_key_breaks_an_id(key: str) -> None:
    named = mail_of(replace(SAID, key=key), SENDER, "a@x.example")["Message-ID"]
    assert (named[0], named[-1], named.count("@"), named.count(">")) == ("<", ">", 1, 1)


ADDRESSES = ["a@x.example\r\nBcc: b@y.example", "a@x.example, b@y.example", "nobody", "a@", "", "a@b@c"]


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_that_is_none_is_refused_and_never_handed_over(server: MailServer, address: str) -> None:
    with pytest.raises(ValidationError):
        Mail.model_validate({"host": "h", "sender": address})
    if "\n" in address:
        with pytest.raises(NotSent) as caught:
            channel(server).send(address, SAID)
        assert (caught.value.final, server.mails) == (True, [])


TROUBLES = {
    "recipient refused": ("RCPT", b"550 no such user", {"final": True, "unsure": False}),
    "recipient later": ("RCPT", b"451 greylisted", {"final": False, "unsure": False}),
    "sender refused": ("MAIL", b"553 not you", {"final": True}),
    "sender later": ("MAIL", b"452 full", {"final": False}),
    "data refused": ("DATA", b"554 no", {"final": True}),
    "content refused": (".", b"552 too big", {"final": True, "unsure": False}),
    "content later": (".", b"451 try again", {"final": False, "unsure": False}),
    "busy": ("", b"421 too many connections", {"final": False, "unsure": False}),
    "greeting is rubbish": ("", b"\xff\x00 HTTP/1.1 400 Bad Request", {"final": False, "unsure": False}),
    "greeting never comes": ("", HANG, {"final": False, "unsure": False}),
    "rubbish after the mail": (".", b"\xfe\xed" * 10, {"final": False, "unsure": True}),
    "a line without end after the mail": (".", b"250" + b"x" * 20_000, {"final": False}),
    "nothing after the mail": (".", HANG, {"final": False, "unsure": True}),
    "nothing at RCPT": ("RCPT", HANG, {"final": False}),
}


@pytest.mark.parametrize("name", TROUBLES)
def test_every_refusal_is_understood(server: MailServer, name: str) -> None:
    word, said, expected = TROUBLES[name]
    server.answers = {word: said}
    with pytest.raises(NotSent) as caught:
        channel(server, 0.5 if said == HANG else 20.0).send("ops@x.example", SAID)
    assert {key: getattr(caught.value, key) for key in expected} == expected
    assert len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("said", [HANG, b"500 what?", b"\xff"])
def test_a_mail_that_was_taken_is_sent_whatever_the_good_bye_is(server: MailServer, said: bytes) -> None:
    server.answers = {"QUIT": said}
    channel(server, 0.5).send("ops@x.example", SAID)
    assert len(server.mails) == 1


def test_a_server_that_is_not_there_took_nothing(server: MailServer) -> None:
    gone = channel(replace(server, port=1))
    with pytest.raises(NotSent) as caught:
        gone.send("ops@x.example", SAID)
    assert (caught.value.final, caught.value.unsure) == (False, False)


@pytest.fixture
def ca(tmp_path: Path) -> tuple[Path, ssl.SSLContext]:
    """Our own authority's certificate, and a server's side of TLS for 127.0.0.1."""
    authority(tmp_path, datetime.now(UTC)).issue_server(["127.0.0.1"], datetime.now(UTC))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    return tmp_path / "ca.pem", context


def login(tmp_path: Path) -> dict[str, str]:
    secret = tmp_path / "password"
    secret.write_text("a-very-secret-password")
    secret.chmod(0o600)
    return {"username": "herd", "password_file": str(secret)}


def test_starttls_comes_before_the_password(
    server: MailServer, ca: tuple[Path, ssl.SSLContext], tmp_path: Path
) -> None:
    server.starttls = ca[1]
    channel(server, security="starttls", ca_file=str(ca[0]), **login(tmp_path)).send("ops@x.example", SAID)
    assert server.seen[:4] == ["EHLO", "STARTTLS", "EHLO", "AUTH"]
    assert len(server.mails) == 1


def test_tls_from_the_first_byte(ca: tuple[Path, ssl.SSLContext], tmp_path: Path) -> None:
    with mail_server(ca[1]) as server:
        channel(server, security="tls", ca_file=str(ca[0]), **login(tmp_path)).send("ops@x.example", SAID)
    assert len(server.mails) == 1


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_certificate_that_nobody_vouches_for_gets_no_password(
    ca: tuple[Path, ssl.SSLContext], tmp_path: Path, security: str
) -> None:
    with mail_server(ca[1] if security == "tls" else None) as server:
        server.starttls = ca[1]
        with pytest.raises(NotSent) as caught:
            channel(server, security=security, **login(tmp_path)).send("ops@x.example", SAID)
    assert ("AUTH" in server.seen, server.mails, caught.value.final) == (False, [], False)


def test_a_login_that_is_refused_says_where_to_look_and_keeps_the_password(server: MailServer, tmp_path: Path) -> None:
    server.answers = {"AUTH": b"535 wrong a-very-secret-password"}
    with pytest.raises(NotSent) as caught:
        channel(server, **login(tmp_path)).send("ops@x.example", SAID)
    assert "[mail]" in str(caught.value)
    assert "secret" not in str(caught.value)
