"""The embedded broker's config, written from the registry and the accounts: who may say and hear what."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from cellherd.errors import CellherdError
from cellherd.settings import Broker
from pipeline.enrolment import accounts
from pipeline.enrolment.accounts import INGEST
from pipeline.enrolment.places import Tls, on_loopback

LOG = "broker.log"
"""In the broker's folder, by nats-server itself."""
ACK_PENDING = 4_000
"""Messages under way to the ingester. 20,000 would be let through, but nats-server throws a client off that has 64 MB
waiting, and a message of a backlog has some 12 kB."""

_CONFIG = """# Written by cellherd at every start; change fleet.toml instead.
listen: "127.0.0.1:-1"
server_name: cellherd
max_payload: 262144
log_file: {log}
logfile_size_limit: 10MB
logfile_max_num: 2
jetstream {{ store_dir: {store}, sync_interval: "1s", max_file_store: 20GB }}
mqtt {{ listen: {listen}, max_ack_pending: {pending}{tls} }}
authorization {{ users: [
{users}
] }}
"""


def write_config(config: Broker, folder: Path, edges: Sequence[str], tls: Tls | None = None) -> None:
    """Write nats.conf. Raises CellherdError for a name or path that it cannot hold."""
    if INGEST in edges:
        raise CellherdError(f"an edge cannot be called {INGEST!r}: the ingester's own user has that name")
    text = _CONFIG.format(
        log=_quoted(str(folder / LOG)),
        store=_quoted(str(folder / "jetstream")),
        listen=_quoted(config.listen),
        pending=ACK_PENDING,
        tls=_tls(tls) if tls else "",
        users="\n".join(_users(config, folder, edges)),
    )
    accounts.write_private(folder / "nats.conf", text)


def _tls(tls: Tls) -> str:
    files = f"cert_file: {_quoted(str(tls.cert))}, key_file: {_quoted(str(tls.key))}"
    asked = f", ca_file: {_quoted(str(tls.clients))}, verify: true" if tls.clients else ""
    return f", tls {{ {files}{asked} }}"


def _users(config: Broker, folder: Path, edges: Sequence[str]) -> Iterator[str]:
    hash_of_ours = accounts.bcrypt_of(accounts.secret(folder, INGEST))
    yield _user(INGEST, hash_of_ours, publish=["cmd.>"], subscribe=["fleet", "fleet.>", "$MQTT.>"])
    known = accounts.read(folder)
    for edge in edges:
        account = known.get(edge)
        if account is None and on_loopback(config.listen):  # the demo, and whoever has everything on one machine
            password = accounts.bcrypt_of(accounts.secret(folder, edge))
        else:
            password = account.bcrypt if account else ""
        if password:
            hears = [f"cmd.{edge}", f"cmd.{edge}.>", "$MQTT.>"]
            yield _user(edge, password, publish=[f"fleet.{edge}.>"], subscribe=hears)


def _user(name: str, password: str, publish: list[str], subscribe: list[str]) -> str:
    rights = f"publish: [{', '.join(map(_quoted, publish))}], subscribe: [{', '.join(map(_quoted, subscribe))}]"
    return (
        f'  {{ user: {_quoted(name)}, password: {_quoted(password)}, allowed_connection_types: ["MQTT"], '
        f"permissions: {{ {rights} }} }}"
    )


def _quoted(text: str) -> str:
    if any(c in text for c in '"\\\n'):
        raise CellherdError(f"the broker's config cannot hold {text!r}")
    return f'"{text}"'
