"""Users, rights and TLS for a Mosquitto of one's own, written from the registry and the accounts."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from cellherd.settings import Broker
from pipeline.enrolment import accounts
from pipeline.enrolment.accounts import INGEST, Account
from pipeline.enrolment.places import Tls, host_and_port

_CONF = """# Written by cellherd. In mosquitto.conf: include_dir {folder}
per_listener_settings false
listener {port} {host}
{tls}allow_anonymous false
password_file {folder}/passwords
acl_file {folder}/acl
# The client id is the user's name, whatever a client says: nobody takes over another's session.
use_username_as_clientid true
max_packet_size 262144
max_inflight_messages 1000
max_queued_messages 10000
persistence false
set_tcp_nodelay true
"""


def write_files(config: Broker, folder: Path, state: Path, edges: Sequence[str]) -> Path:
    """Write `passwords` and `acl`. Returns the folder: `broker.mosquitto_dir`, else one in the state folder.

    Both are replaced whole; Mosquitto reads them again at SIGHUP, and then closes the connection of whoever's password
    is gone. Only hashes stand in them; the group of the folder may read them.
    """
    place = Path(config.mosquitto_dir) if config.mosquitto_dir else state / "broker" / "mosquitto"
    place.mkdir(parents=True, exist_ok=True, mode=0o750)
    known = accounts.read(folder)
    let_in = [(edge, account) for edge in edges if (account := known.get(edge)) and not account.revoked]
    ours = accounts.pbkdf2_of(accounts.secret(folder, INGEST))
    _write(place / "passwords", _passwords(ours, let_in))
    _write(place / "acl", _acl(edge for edge, _ in let_in))
    return place


def write_conf(config: Broker, place: Path, tls: Tls | None) -> Path:
    """Write `cellherd.conf`, the listener, once; it is the operator's from then on."""
    path = place / "cellherd.conf"
    if not path.exists():
        host, port = host_and_port(config.listen)
        lines = _tls(tls) if tls else ""
        _write(path, _CONF.format(folder=place.resolve(), host=host, port=port, tls=lines))
    return path


def _tls(tls: Tls) -> str:
    asked = f"cafile {tls.clients.resolve()}\nrequire_certificate true\n" if tls.clients else ""
    return f"certfile {tls.cert.resolve()}\nkeyfile {tls.key.resolve()}\ntls_version tlsv1.2\n{asked}"


def _passwords(ours: str, let_in: Sequence[tuple[str, Account]]) -> str:
    return "".join(f"{name}:{known}\n" for name, known in [(INGEST, ours), *((e, a.pbkdf2) for e, a in let_in)])


def _acl(edges: Iterator[str]) -> str:
    parts = [f"user {INGEST}\ntopic read fleet/#\ntopic write cmd/#\n"]
    parts += [f"user {edge}\ntopic write fleet/{edge}/#\ntopic read cmd/{edge}/#\n" for edge in edges]
    return "\n".join(parts)


def _write(path: Path, text: str) -> None:
    accounts.write_private(path, text, mode=0o640)
    with suppress(PermissionError):  # whoever owns the folder has chosen its group
        os.chown(path, -1, path.parent.stat().st_gid)
