"""What the doctor looks at on a server: ingester, certificate, dead letters, stores, nights, channels."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
from cryptography import x509

from cellherd.config import read_secret
from cellherd.doctor import Found
from cellherd.secrecy import redacted
from cellherd.settings import FleetConfig, Influx
from cellherd.settings_people import Mail, Telegram
from pipeline.enrolment.places import tls_of
from pipeline.ingest.running import is_running
from pipeline.journal.deadletters import DeadLetters
from pipeline.nightly.diary import Diary

TIMEOUT_S = 10.0
SOON = timedelta(days=21)
LATE = timedelta(days=2)


def examine(config: FleetConfig, state: Path) -> Iterator[Found]:
    """Everything of fleet.toml that is there to be looked at. Writes one point, sends no message."""
    yield from _ingester(config, state)
    yield from _certificate(config, state)
    yield from _letters(state)
    if config.influx:
        for told in _by_installer(config):
            yield from _influx(told)
    yield from _nights(config, state)
    if config.telegram:
        yield _telegram(config.telegram)
    if config.mail:
        yield _mail(config.mail)
    if (config.telegram or config.mail) and not config.route:
        yield Found("warn", "channels are set up, but no [[route]] tells whom to write to", "docs/configuration.md")


def _ingester(config: FleetConfig, state: Path) -> Iterator[Found]:
    if not is_running(state):
        yield Found("warn", f"no ingester works on {state}", "systemctl start cellherd-server, or cellherd ingest run")
        return
    listen = config.health.listen
    if not listen:
        yield Found("ok", "an ingester is running; health.listen is empty, so it cannot be asked how it is")
        return
    try:
        told = httpx.get(f"http://{listen}/healthz", timeout=TIMEOUT_S).json()
    except (httpx.HTTPError, ValueError) as error:
        yield Found("fail", f"an ingester is running but does not answer at {listen}: {error}", "its log says why")
        return
    for reason in told["reasons"]:
        yield Found("fail", f"ingester: {reason}", "docs/operations.md")
    if told["healthy"]:
        yield Found("ok", "the ingester is healthy")


def _certificate(config: FleetConfig, state: Path) -> Iterator[Found]:
    if not config.broker.embedded:
        return
    tls = tls_of(config.broker, state)
    if tls is None:
        yield Found("ok", "the broker listens on this machine only, without TLS")
        return
    try:
        ends = x509.load_pem_x509_certificate(tls.cert.read_bytes()).not_valid_after_utc
    except (OSError, ValueError) as error:
        yield Found("fail", f"the broker's certificate {tls.cert} cannot be read: {error}", "broker.cert_file")
        return
    left = ends - datetime.now(UTC)
    mend = "cellherd broker certificate --host NAME" if not config.broker.cert_file else "renew broker.cert_file"
    told = f"the broker's certificate holds until {ends:%Y-%m-%d}"
    yield Found("ok", told) if left > SOON else Found("fail" if left < timedelta() else "warn", told, mend)


def _letters(state: Path) -> Iterator[Found]:
    path = state / "deadletters.sqlite"
    if not path.exists():
        return
    with closing(DeadLetters(path)) as letters:
        counts = letters.counts()
    if waiting := sum(counts.values()):
        yield Found("warn", f"{waiting} dead letters: messages that could not be taken in", "cellherd deadletter list")
    else:
        yield Found("ok", "no dead letters")


def _by_installer(config: FleetConfig) -> list[Influx]:
    influx = config.influx
    if influx is None:
        return []
    return [influx.of(one.id) for one in config.installer] if influx.by_installer() else [influx]


def _influx(settings: Influx) -> Iterator[Found]:
    """One point into each bucket, as the ingester would write it."""
    token = read_secret(settings.token_file) or ""
    line = f"cellherd_doctor ok=1i {datetime.now(UTC).timestamp() * 1000:.0f}"
    for bucket in (settings.bucket, settings.derived_bucket):
        where = f"InfluxDB {settings.url}, bucket {bucket!r}"
        try:
            answer = httpx.post(
                f"{settings.url.rstrip('/')}/api/v2/write",
                params={"org": settings.org, "bucket": bucket, "precision": "ms"},
                headers={"Authorization": f"Token {token}"},
                content=line,
                timeout=TIMEOUT_S,
            )
        except httpx.HTTPError as error:
            yield Found("fail", f"{where} is not reached: {error}", "influx.url; is the server up?")
            continue
        if answer.is_success:
            yield Found("ok", f"{where} takes points")
        else:
            yield Found("fail", f"{where} answers {answer.status_code}: {_said(answer)}", "cellherd influx setup")


def _said(answer: httpx.Response) -> str:
    try:
        told = answer.json()
    except ValueError:
        return redacted(answer.text)[:200]
    if isinstance(told, dict):
        told = told.get("message") or told.get("description") or told
    return redacted(str(told))[:200]  # some proxies repeat what they were told, the token with it


def _nights(config: FleetConfig, state: Path) -> Iterator[Found]:
    path = state / "nightly.db"
    if not path.exists():
        yield Found("warn", "no night was worked out yet", "systemctl enable --now cellherd-nightly.timer")
        return
    with closing(Diary(path)) as diary:
        done = list(diary.done())
    behind = datetime.now(UTC).date() - LATE
    last = {site.id: max((day for name, day in done if name == site.id), default=None) for site in config.site}
    late = [f"{site} ({day or 'never'})" for site, day in last.items() if day is None or day < behind]
    if late:
        yield Found("warn", f"nights that are behind: {', '.join(late[:5])}", "cellherd nightly --due")
    else:
        yield Found("ok", f"the nights of all {len(last)} sites are worked out")


def _telegram(settings: Telegram) -> Found:
    """Who the bot is; no message is sent."""
    token = read_secret(settings.token_file)
    if not token:
        return Found("fail", f"{settings.token_file} is empty", "put the token of @BotFather into it")
    try:
        answer = httpx.get(f"{settings.base_url.rstrip('/')}/bot{token}/getMe", timeout=TIMEOUT_S)
    except httpx.HTTPError as error:
        return Found("fail", f"Telegram is not reached: {type(error).__name__}", "telegram.base_url; a firewall?")
    if not answer.is_success:
        return Found("fail", f"Telegram answers {answer.status_code}: {_said(answer)}", "the token of @BotFather")
    try:
        name = answer.json()["result"]["username"]
    except (ValueError, LookupError, TypeError):
        return Found("fail", "Telegram answers what is none of its answers", "telegram.base_url")
    return Found("ok", f"Telegram knows the bot @{name}")


def _mail(settings: Mail) -> Found:
    """Sign in and out again; no mail is sent."""
    where = f"mail by {settings.host}:{settings.port}"
    try:
        with _dialled(settings) as server:
            if settings.security == "starttls":
                server.starttls(context=ssl.create_default_context())
            if settings.username:
                server.login(settings.username, read_secret(settings.password_file) or "")
            server.noop()
    except smtplib.SMTPAuthenticationError:
        return Found("fail", f"{where} refuses user or password", "mail.username, mail.password_file")
    except (smtplib.SMTPException, OSError) as error:
        return Found("fail", f"{where}: {error}", "mail.host, mail.port, mail.security")
    return Found("ok", f"{where} lets us in")


def _dialled(settings: Mail) -> smtplib.SMTP:
    if settings.security == "tls":
        context = ssl.create_default_context()
        return smtplib.SMTP_SSL(settings.host, settings.port, timeout=TIMEOUT_S, context=context)
    return smtplib.SMTP(settings.host, settings.port, timeout=TIMEOUT_S)
