"""Secrets with a mark, every command at debug level, everything that can go wrong: no output may hold one of them."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote
from zipfile import ZipFile

import httpx
import psutil
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

from tests.enrolled import EDGE, SITE, Place, place
from tests.fakes.listening import listening
from tests.services import free_port

MARKED = {
    "influx-token": "marked-influx-Qk3xW9==",
    "telegram-token": "424242:marked-telegram-Zt7_pL",
    "smtp-password": "marked smtp/Yv5&nR",
    "wrong-password": "marked-wrong-Hb8sK2",
}
MORE = """name = "Acme"
[influx]
url = "http://127.0.0.1:{web}"
token_file = "influx-token"
[telegram]
base_url = "http://127.0.0.1:{web}"
token_file = "telegram-token"
[mail]
host = "127.0.0.1"
port = {smtp}
security = "none"
username = "ops"
password_file = "smtp-password"
sender = "herd@x.example"
[[route]]
priority = 3
telegram = ["77"]
mail = ["ops@x.example"]
"""
OWN_FILES = {"mqtt-password", "edge.key", "ca.key", "server.key", "nats.conf", "ingest.key", "tls-secrets", *MARKED}
"""The files that are there to hold a secret; `secrets/` of the broker as well."""


class Echo(BaseHTTPRequestHandler):
    """A server that refuses everything and says aloud what it was told, as some proxies do."""

    status = 401

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        said = f"no: {self.path} with {self.headers.get('Authorization')}"
        body = b'{"ok":false,"code":"x","message":"%b","description":"%b"}' % (said.encode(), said.encode())
        self.send_response(self.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST  # noqa: N815 - http.server's name

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def echo(status: int) -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Echo", (Echo,), {"status": status}))
    with listening(server):
        yield server.server_port


@pytest.fixture
def mail_server() -> Iterator[int]:
    """It lets nobody in, and says the password aloud."""

    def refuse(_server: SMTP, _session: Session, _envelope: Envelope, _how: str, login: object) -> AuthResult:
        told = getattr(login, "password", b"").decode()
        return AuthResult(success=False, handled=False, message=f"535 5.7.8 not with {told}")

    class Box:
        async def handle_DATA(self, *_: object) -> str:  # noqa: N802 - aiosmtpd's name
            return "250 OK"

    server = Controller(Box(), hostname="127.0.0.1", port=free_port(), authenticator=refuse,
                        auth_require_tls=False, auth_required=True)  # fmt: skip
    server.start()
    yield server.port
    server.stop()


def secrets(here: Path) -> dict[str, list[str]]:
    """Everything that must not be said, in the forms in which it could be."""
    found = dict(MARKED)
    found |= {str(path): path.read_text().strip() for path in here.glob("pi*/mqtt-password")}
    found |= {str(path): path.read_text().strip() for path in (here / "server/broker/secrets").iterdir()}
    forms = {name: [text, quote(text), b64encode(text.encode()).decode().rstrip("=")] for name, text in found.items()}
    keys = [path for path in here.rglob("*.key") if path.is_file()]
    # of a key in PEM form the third line is public
    return forms | {str(key): key.read_text().splitlines()[1:3] for key in keys}


def hits(here: Path, said: dict[str, bytes]) -> list[str]:
    """What was said that must not be; a line break in the middle hides nothing."""
    texts = {name: re.sub(rb"\s+", b"", text) for name, text in said.items()}
    wanted = [(name, re.sub(r"\s+", "", form).encode()) for name, forms in secrets(here).items() for form in forms]
    return [f"{name} in {where}" for where, text in texts.items() for name, form in wanted if form and form in text]


def outputs(here: Path) -> dict[str, bytes]:
    """Everything under the folder but the files that are made to hold a secret, and the insides of the bundles."""
    files = [path for path in here.rglob("*") if path.is_file() and not path.is_symlink()]
    kept = [path for path in files if path.name not in OWN_FILES and path.parent.name != "secrets"]
    found = {str(path.relative_to(here)): path.read_bytes() for path in kept}
    for path in here.glob("*.zip"):
        with ZipFile(path) as bundle:
            found |= {f"{path.name}: {name}": bundle.read(name) for name in bundle.namelist()}
    return found


def processes(here: Place) -> dict[str, bytes]:
    """Command lines and environments of what runs."""
    found = {}
    for name, process in here.running.items():
        root = psutil.Process(process.pid)
        for one in [root, *root.children(recursive=True)]:
            found[f"process {name} {one.pid}"] = "\n".join([*one.cmdline(), *one.environ().values()]).encode()
    return found


def pages(here: Place) -> dict[str, bytes]:
    return {page: httpx.get(f"http://127.0.0.1:{here.health}/{page}").content for page in ("healthz", "metrics")}


def doings(here: Place, *, away: bool) -> None:
    """What a person does, most of it in vain, for nobody lets us in."""
    both = ("--config", "fleet.toml", "--state", "server")
    here.run("nightly", "--due", *both)
    here.run("alerts", "test", "--config", "fleet.toml", fails=True)
    here.run("--debug", "doctor", *both, fails=True)
    here.run("doctor", "--config", "pi/edge.toml", "--state", "edge", "--json", fails=away)
    here.run("support-bundle", "--out", f"help{here.commands}.zip", *both, "--config", "pi/edge.toml")


def write(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)
    (folder / name).chmod(0o600)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Requiring AUTH")
def test_no_output_holds_a_secret(tmp_path: Path, mail_server: int) -> None:
    with echo(401) as web:
        more = MORE.format(web=web, smtp=mail_server)
        with place(tmp_path, more=more, CELLHERD_LOG="debug", NO_COLOR="1") as here:
            for name, text in MARKED.items():
                write(tmp_path, name, text + "\n")
            here.run("enroll", EDGE, "--site", SITE, "--installer", "acme", "--certificate", "--config", "fleet.toml",
                     "--state", "server", "--out", "pi")  # fmt: skip
            here.server()
            here.batteries()
            here.edge()
            here.until(lambda: len(here.stored()) >= 3, "readings")
            here.until(lambda: "401" in here.log("server"), "InfluxDB's refusal")
            said = processes(here) | pages(here)
            doings(here, away=False)
            here.run("report", "--config", "fleet.toml", "--state", "server")
            here.run("dashboards", "build", "--out", "boards")
            here.run("faults", "add", "E-01", "--site", SITE, "--config", "fleet.toml", "--state", "server", fails=True)
            mistaken(here)
            refused(here)
            here.stop("server")
            doings(here, away=True)
    found = outputs(tmp_path)
    assert hits(tmp_path, found | said) == []
    assert sum(text.count(b"DEBUG") for text in found.values()) > 20, "debug level said nothing"


def mistaken(here: Place) -> None:
    """What tired people write into configs."""
    good = (here.folder / "pi" / "edge.toml").read_text()
    inside = MARKED["smtp-password"]
    for number, (old, new) in enumerate([
        ("mqtts://", f"mqtts://me:{MARKED['wrong-password']}@"),
        ("password_file = ", f"password = '{inside}'\npassword_file = "),
    ]):  # fmt: skip
        write(here.folder, f"mistake{number}.conf", good.replace(old, new))
        for debug in ((), ("--debug",)):
            here.run(*debug, "config", "check", f"mistake{number}.conf", fails=True)
        (here.folder / f"mistake{number}.conf").unlink()


def refused(here: Place) -> None:
    """An edge with a password that is none, and one that trusts nobody's key."""
    here.stop("edge")
    place, good = here.folder / "pi" / "mqtt-password", (here.folder / "pi" / "mqtt-password").read_text()
    place.write_text(MARKED["wrong-password"])
    here.edge("wrong")
    here.until(lambda: "refuses user" in here.log("wrong"), "the refusal")
    here.stop("wrong")
    place.write_text(good)


def test_the_search_finds_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "server/broker/secrets").mkdir(parents=True)
    text = MARKED["influx-token"]
    for said in (f"Token {text}!", f"{text[:9]}\n   {text[9:]}", quote(text), b64encode(text.encode()).decode()):
        assert hits(tmp_path, {"log": said.encode()}) == ["influx-token in log"]
    assert hits(tmp_path, {"log": b"marked"}) == []
