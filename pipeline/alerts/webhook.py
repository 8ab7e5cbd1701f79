"""Alerts for programs: signed JSON of our own to a webhook, or the form of Alertmanager's API v2.

A listener proves that a call is ours by `CellHerd-Signature: t=<unix s>,v1=<hex>`, the HMAC-SHA256 of the bytes
`<t>.<body>` under the shared secret; an old `t` is a call that somebody recorded.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import httpx

from cellherd.clock import Clock, SystemClock
from cellherd.config import read_secret
from cellherd.settings_people import Webhook
from pipeline.alerts.channel import Message, NotSent
from pipeline.alerts.mail import NOT_OURS

TIMEOUT_S = 20.0
LONGEST_PAUSE_S = 86_400.0
TRY_AGAIN = frozenset({408, 425, 429})
"""Refusals that a later attempt may not meet; other 4xx are for ever."""
STANDS_MS = 365 * 86_400_000
"""How long Alertmanager is told that an alert stands: until we say otherwise, for it would resolve it by itself."""
SEVERITIES = {1: "critical", 2: "warning", 3: "info", 4: "none"}


class WebhookChannel:
    """Calls the webhooks of fleet.toml; an address is the id of one. Raises ConfigError for a bad secret."""

    edits = True
    """`changed` is told: every call is a new one, and none takes the place of another."""

    def __init__(self, settings: Iterable[Webhook], clock: Clock | None = None, timeout_s: float = TIMEOUT_S) -> None:
        self._known = {one.id: (one, read_secret(one.secret_file)) for one in settings}
        self._clock = clock or SystemClock()
        self._timeout_s = timeout_s
        self._client = httpx.Client()

    def send(self, address: str, message: Message) -> str:
        """One call. Raises NotSent; an answer of 4xx is final, but for those that ask for patience."""
        hook, secret = self._known[address]
        now = self._clock.wall()
        said = alertmanager(message, now) if hook.form == "alertmanager" else ours(message)
        body = json.dumps(said, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
        headers = {"Content-Type": "application/json", "CellHerd-Delivery": NOT_OURS.sub("-", message.key)}
        if secret:
            headers["CellHerd-Signature"] = signature(body, secret, now // 1000)
        try:
            answer = self._client.post(_url(hook), content=body, headers=headers, timeout=self._timeout_s)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            sure = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.InvalidURL)
            raise NotSent(f"webhook {address} cannot be reached: {type(error).__name__}", unsure=not sure) from None
        if not answer.is_success:
            raise _refusal(address, answer)
        return ""

    def edit(self, address: str, _reference: str, message: Message) -> str:
        """Another call. Raises NotSent."""
        return self.send(address, message)


def ours(message: Message) -> dict[str, Any]:
    """The call's body: the message's facts, and its words for a program that only shows them."""
    words = {"subject": message.subject, "text": message.text, "language": message.language}
    return {"version": 1, "key": message.key, "kind": message.kind, "repeat": message.repeat, **message.facts, **words}


def alertmanager(message: Message, now: int) -> list[dict[str, Any]]:
    """Bodies of POST /api/v2/alerts: one alert for each member; `endsAt` in the past resolves it."""
    members: list[dict[str, Any]] = list(message.facts.get("members", []))
    over = message.kind == "resolved"
    if members:
        return [_alert(member, now, standing=member["standing"] and not over) for member in members]
    labels = {"alertname": f"cellherd_{message.kind}", "severity": SEVERITIES[3]}
    return [{"labels": labels, "annotations": {"summary": message.subject}, "endsAt": _time(now + 300_000)}]


def _alert(member: Mapping[str, Any], now: int, *, standing: bool) -> dict[str, Any]:
    cell = "" if member.get("cell") is None else str(member["cell"] + 1)
    labels = {
        "alertname": member["fault"] or member["pattern"], "severity": SEVERITIES[member["priority"]],
        "fingerprint": member["fingerprint"], "site": member["site"], "stack": member["stack"],
        "module": member["module"],
    }  # fmt: skip
    notes = {
        "summary": f"{member['what']}: {member['where']}", "description": member["numbers"], "cell": cell,
        "action": "; ".join(member["actions"]), "safety": member["safety"], "runbook_url": member["runbook"],
    }  # fmt: skip
    ends = now + STANDS_MS if standing else max(member["left"], member["since"] + 1) if member["left"] else now
    found = {"labels": _filled(labels), "annotations": _filled(notes)}
    times = {"startsAt": _time(member["since"] or now), "endsAt": _time(ends)}
    return {**found, **times, **({"generatorURL": member["link"]} if member["link"] else {})}


def signature(body: bytes, secret: str, at: int) -> str:
    """The header that proves a call: its time (unix s) and the HMAC of time and body."""
    digest = hmac.new(secret.encode(), b"%d." % at + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


def _url(hook: Webhook) -> str:
    return hook.url.rstrip("/") + "/api/v2/alerts" if hook.form == "alertmanager" else hook.url


def _refusal(address: str, answer: httpx.Response) -> NotSent:
    status = answer.status_code
    final = status < httpx.codes.INTERNAL_SERVER_ERROR and status not in TRY_AGAIN
    asked = answer.headers.get("Retry-After", "")
    pause = min(float(asked), LONGEST_PAUSE_S) if asked.isdecimal() and asked.isascii() else None
    gone = status == httpx.codes.GONE
    return NotSent(f"webhook {address} answered {status}", final=final, retry_s=None if final else pause, gone=gone)


def _filled(named: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in named.items() if text}


def _time(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds")
