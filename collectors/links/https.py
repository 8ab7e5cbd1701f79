"""A vendor's cloud asked over HTTPS: GET only, of what the driver lists, with keys from files, patient with limits."""

from __future__ import annotations

import http.client
import secrets
import ssl
import time
from threading import Event
from urllib.parse import quote

from cellherd.clock import SystemClock
from cellherd.config import read_public, read_secret
from cellherd.errors import ConfigError, LinkError, Silent
from collectors.kernel import Answer, Driver, Keys, Login, Request, Send, refuse_unless_permitted
from collectors.links import Place

MOST = 512 * 1024
CHUNK = 16 * 1024
CONNECT_S = 10.0
HOLD_S = (30.0, 3600.0)
"""How long nothing is asked after the cloud said "too often": what it wants, within these bounds."""
NONCES = 900_000
BUSY = (429, 503)


def context(login: Login | None) -> ssl.SSLContext:
    """TLS 1.2 or newer; the system's authorities, or the one of `ca_file`. Raises ConfigError."""
    try:
        made = ssl.create_default_context(cadata=read_public(login.ca_file) if login and login.ca_file else None)
    except (ssl.SSLError, ValueError):
        raise ConfigError(str(login and login.ca_file), ["no certificate in PEM form stands in it"]) from None
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    return made


def keys(login: Login | None) -> Keys | None:
    """The keys of an account, None where none are set. Raises ConfigError."""
    if login is None:
        return None
    name, secret = read_secret(login.username_file) or login.username, read_secret(login.password_file)
    return Keys(name or "", secret or "") if name or secret else None


class HttpsLink:
    """A Link to a cloud: one request at a time, each on a connection of its own. See collectors.links.Link."""

    def __init__(self, place: Place, driver: Driver, halt: Event) -> None:
        self._host, self._port, self._unit = place.web(443)
        self._driver, self._halt = driver, halt
        self._context, self._keys = context(driver.login), keys(driver.login)
        if driver.sign and self._keys is None:
            raise LinkError(f"{self._host}: {driver.name} wants keys; name `username_file` and `password_file`")
        self._name = f"{self._host}:{self._port}"
        self._hold_until = 0.0
        self._why = ""

    def ask(self, request: Request, *, address: int) -> Answer:
        """See Link. Redirects are not followed, so that keys go nowhere else."""
        refuse_unless_permitted(self._driver, request)
        if not isinstance(request, Send):
            raise LinkError(f"{self._name}: {request} cannot be asked over HTTPS")
        if time.monotonic() < self._hold_until:
            raise Silent(f"{self._name}: {self._why}")
        path = request.data.decode().removeprefix("GET ").replace("{unit}", quote(self._unit, safe=""))
        status, wait, body = self._get(path)
        if status in BUSY:
            self._hold(wait)
        if status in (401, 403):
            raise LinkError(f"{self._name}: refuses our keys ({status}); are they those of this account and region?")
        if status != http.HTTPStatus.OK:
            raise Silent(f"{self._name}: answers {status} to {path.partition('?')[0]}")
        return body

    def _hold(self, wait: str | None) -> None:
        seconds = min(max(float(wait) if wait and wait.isdecimal() else 0.0, HOLD_S[0]), HOLD_S[1])
        self._hold_until, self._why = (
            time.monotonic() + seconds,
            f"asks us to wait {seconds:g} s; a longer period_s helps",
        )
        raise Silent(f"{self._name}: {self._why}")

    def _get(self, path: str) -> tuple[int, str | None, bytes]:
        headers = {"Accept": "application/json", "Connection": "close"}
        if self._driver.sign and self._keys:
            nonce = str(100_000 + secrets.randbelow(NONCES))
            headers |= self._driver.sign(path.partition("?")[2], self._keys, nonce, SystemClock().wall())
        line = http.client.HTTPSConnection(self._host, self._port, timeout=CONNECT_S, context=self._context)
        try:
            line.request("GET", path, headers=headers)
            answer = line.getresponse()
            return answer.status, answer.getheader("Retry-After"), self._body(answer)
        except TimeoutError:
            raise Silent(f"{self._name}: no answer in {CONNECT_S:g} s") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise LinkError(f"{self._name}: cannot be asked, {type(error).__name__} {error}") from None
        finally:
            line.close()

    def _body(self, answer: http.client.HTTPResponse) -> bytes:
        """At most MOST bytes, and no longer than the driver waits: a cloud may drip."""
        until, body = time.monotonic() + self._driver.timeout_s, b""
        while chunk := answer.read1(CHUNK):
            body += chunk
            if self._halt.is_set() or time.monotonic() > until or len(body) > MOST:
                raise Silent(f"{self._name}: its answer does not end after {len(body)} bytes")
        return body

    def hear(self, timeout: float) -> None:
        """A cloud's API says nothing unasked."""
        self._halt.wait(timeout)

    def close(self) -> None:
        """Nothing stays open between two requests."""


def open_https(place: Place, driver: Driver, halt: Event) -> HttpsLink:
    """A cloud's API; nothing is sent yet. Raises ConfigError, LinkError."""
    return HttpsLink(place, driver, halt)
