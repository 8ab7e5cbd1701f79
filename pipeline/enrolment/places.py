"""Where the broker listens and which files its TLS uses: those of fleet.toml, else those of our own authority."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cellherd.errors import CellherdError
from cellherd.settings import Broker

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM files of a broker: its chain, its key, and the authority of the clients' certificates if it wants any."""

    cert: Path
    key: Path
    clients: Path | None = None


def host_and_port(listen: str, key: str = "broker.listen") -> tuple[str, int]:
    """Take `host:port` apart. Raises CellherdError, which names the key."""
    host, _, port = listen.rpartition(":")
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise CellherdError(f"{key} {listen!r} must look like 127.0.0.1:1883")
    return host.strip("[]"), int(port)


def on_loopback(listen: str) -> bool:
    """Whether only this machine reaches it."""
    return host_and_port(listen)[0] in LOOPBACK


def tls_folder(state: Path) -> Path:
    """Where our own authority keeps its files."""
    return state / "tls"


def tls_of(config: Broker, state: Path) -> Tls | None:
    """The TLS files of the embedded broker, None where it speaks plain MQTT. Raises CellherdError where it must not."""
    if bool(config.cert_file) != bool(config.key_file):
        raise CellherdError("broker.cert_file and broker.key_file belong together: set both, or neither")
    own = tls_folder(state)
    clients = own / "ca.pem" if config.require_certificate else None
    if config.cert_file and config.key_file:
        return Tls(Path(config.cert_file), Path(config.key_file), clients)
    wanted = config.require_certificate or (config.public_url or "").startswith("mqtts:")
    if (own / "server.pem").exists() and (wanted or not on_loopback(config.listen)) and not config.plain_text:
        return Tls(own / "server.pem", own / "server.key", clients)
    if config.require_certificate:
        raise CellherdError("broker.require_certificate needs TLS; run: cellherd broker certificate --host NAME")
    if not on_loopback(config.listen) and not config.plain_text:
        raise CellherdError(
            f"broker.listen {config.listen!r} would show passwords to the network; run `cellherd broker certificate "
            "--host NAME` once, or set broker.cert_file and broker.key_file, or listen on 127.0.0.1"
        )
    return None
