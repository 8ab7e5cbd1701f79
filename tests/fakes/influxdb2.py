"""As much of InfluxDB 2's documented HTTP API as `influx setup` and writing need, and strict about it.

Organisations, buckets, DBRP mappings, authorizations and /api/v2/write. A key that the documentation does not know, a
token that may not do it, a name that is taken: each is refused as the documentation says.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.fakes.listening import listening

ADMIN = "admin-token"
ORG, ORG_ID = "cellherd", "0000000000000001"
KNOWN = {
    "buckets": {"orgID", "name", "description", "rp", "schemaType", "retentionRules"},
    "bucket": {"name", "description", "retentionRules"},
    "rule": {"type", "everySeconds", "shardGroupDurationSeconds"},
    "dbrps": {"orgID", "org", "bucketID", "database", "retention_policy", "default"},
    "authorizations": {"status", "description", "orgID", "userID", "permissions"},
}


class Refused(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.body = status, {"code": code, "message": message}


@dataclass
class Fake:
    """The server's memory. `written` holds bodies by bucket name."""

    url: str = ""
    buckets: dict[str, dict[str, Any]] = field(default_factory=dict)
    dbrps: list[dict[str, Any]] = field(default_factory=list)
    tokens: dict[str, dict[str, Any]] = field(default_factory=dict)
    written: dict[str, list[bytes]] = field(default_factory=dict)
    made: int = 0

    def id(self) -> str:
        self.made += 1
        return f"{0xABC000 + self.made:016x}"


@contextmanager
def influxdb2() -> Iterator[Fake]:
    """A server on a free port of the loopback."""
    fake = Fake()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(fake))
    fake.url = f"http://127.0.0.1:{server.server_port}"
    with listening(server):
        yield fake


def answer(fake: Fake, asked: tuple[str, str], query: dict[str, str], body: bytes, token: str) -> tuple[int, Any]:
    """Status and JSON (None: no content) of a method and path below /api/v2/."""
    method, path = asked
    kind, *rest = path.removeprefix("/api/v2/").split("/")
    if kind == "write":
        return _write(fake, query, body, token)
    if token != ADMIN:
        raise Refused(401, "unauthorized", "unauthorized access")
    told = json.loads(body) if body else {}
    act = {
        ("GET", "orgs"): _orgs, ("GET", "buckets"): _find_buckets, ("POST", "buckets"): _make_bucket,
        ("PATCH", "buckets"): _change_bucket, ("GET", "dbrps"): _find_dbrps, ("POST", "dbrps"): _make_dbrp,
        ("GET", "authorizations"): _find_tokens, ("POST", "authorizations"): _make_token,
        ("DELETE", "authorizations"): _drop_token,
    }.get((method, kind))  # fmt: skip
    if act is None:
        raise Refused(405, "method not allowed", f"{method} {path}")
    return act(fake, query | {"id": rest[0] if rest else ""}, told)


def _only(told: dict[str, Any], what: str) -> None:
    odd = {key for key, value in told.items() if value is not None} - KNOWN[what]
    if odd:
        raise Refused(400, "invalid", f"{what}: unknown keys {sorted(odd)}")


def _orgs(_: Fake, query: dict[str, str], __: Any) -> tuple[int, Any]:
    if query.get("org", ORG) != ORG:
        raise Refused(404, "not found", f'organization name "{query["org"]}" not found')
    return 200, {"orgs": [{"id": ORG_ID, "name": ORG}]}


def _find_buckets(fake: Fake, query: dict[str, str], _: Any) -> tuple[int, Any]:
    assert query.get("orgID") == ORG_ID, "another organisation's bucket of that name would be found"
    name = query.get("name")
    if name is not None and name not in fake.buckets:
        raise Refused(404, "not found", f'bucket "{name}" not found')
    return 200, {"buckets": [one for key, one in fake.buckets.items() if name in (None, key)]}


def _rules(rules: Any) -> list[dict[str, Any]]:
    if not isinstance(rules, list) or not rules:
        raise Refused(400, "invalid", "retentionRules is a list")
    for rule in rules:
        _only(rule, "rule")
        shard = rule.get("shardGroupDurationSeconds") or 0
        if rule["everySeconds"] and (rule["everySeconds"] < 3600 or shard > rule["everySeconds"]):
            raise Refused(422, "unprocessable entity", "a shard group cannot outlast its bucket")
    return rules


def _make_bucket(fake: Fake, _: Any, told: dict[str, Any]) -> tuple[int, Any]:
    _only(told, "buckets")
    if told["orgID"] != ORG_ID:
        raise Refused(403, "forbidden", "not your organization")
    if told["name"] in fake.buckets:
        raise Refused(422, "conflict", f"bucket with name {told['name']} already exists")
    made = {"id": fake.id(), "orgID": ORG_ID, "name": told["name"], "retentionRules": _rules(told["retentionRules"])}
    fake.buckets[told["name"]] = made
    return 201, made


def _change_bucket(fake: Fake, query: dict[str, str], told: dict[str, Any]) -> tuple[int, Any]:
    found = next(one for one in fake.buckets.values() if one["id"] == query["id"])
    found["retentionRules"] = _rules(told["retentionRules"])
    return 200, found


def _find_dbrps(fake: Fake, query: dict[str, str], _: Any) -> tuple[int, Any]:
    mine = [one for one in fake.dbrps if one["bucketID"] == query.get("bucketID")]
    names = [name for name, one in fake.buckets.items() if one["id"] == query.get("bucketID")]
    virtual = [
        {"id": fake.id(), "orgID": ORG_ID, "bucketID": query["bucketID"], "database": name, "virtual": True,
         "retention_policy": "autogen", "default": False} for name in names if not mine
    ]  # fmt: skip
    return 200, {"content": mine + virtual}


def _make_dbrp(fake: Fake, _: Any, told: dict[str, Any]) -> tuple[int, Any]:
    _only(told, "dbrps")
    if not {"bucketID", "database", "retention_policy", "orgID"} <= told.keys():
        raise Refused(400, "invalid", "a mapping needs its bucket, database and policy")
    fake.dbrps.append({"id": fake.id(), "virtual": False, **told})
    return 201, fake.dbrps[-1]


def _find_tokens(fake: Fake, query: dict[str, str], _: Any) -> tuple[int, Any]:
    assert query.get("orgID") == ORG_ID
    return 200, {"authorizations": [one | {"token": "hidden"} for one in fake.tokens.values()]}


def _make_token(fake: Fake, _: Any, told: dict[str, Any]) -> tuple[int, Any]:
    _only(told, "authorizations")
    for right in told["permissions"]:
        if right["action"] not in ("read", "write") or right["resource"]["type"] != "buckets":
            raise Refused(400, "invalid", "permission")
    made = {"id": fake.id(), "status": "active", **told}
    made["token"] = f"token-{made['id']}"
    fake.tokens[made["token"]] = made
    return 201, made


def _drop_token(fake: Fake, query: dict[str, str], _: Any) -> tuple[int, Any]:
    fake.tokens = {token: one for token, one in fake.tokens.items() if one["id"] != query["id"]}
    return 204, None


def _write(fake: Fake, query: dict[str, str], body: bytes, token: str) -> tuple[int, Any]:
    if query.get("org") != ORG or query["bucket"] not in fake.buckets:
        raise Refused(404, "not found", f'bucket "{query["bucket"]}" not found')
    bucket = fake.buckets[query["bucket"]]
    rights = fake.tokens.get(token, {}).get("permissions", [])
    if not any(right["action"] == "write" and right["resource"]["id"] == bucket["id"] for right in rights):
        raise Refused(403, "forbidden", "insufficient permissions for write")
    assert query["precision"] == "ms"
    fake.written.setdefault(query["bucket"], []).append(body)
    return 204, None


def _handler(fake: Fake) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            url = urlsplit(self.path)
            query = {key: values[0] for key, values in parse_qs(url.query).items()}
            token = (self.headers["Authorization"] or "").removeprefix("Token ")
            try:
                status, told = answer(fake, (self.command, url.path), query, body, token)
            except Refused as error:
                status, told = error.status, error.body
            text = b"" if told is None else json.dumps(told).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PATCH = do_DELETE = _serve  # noqa: N815 - names that http.server looks for

        def log_message(self, *_: object) -> None:
            pass

    return Handler
