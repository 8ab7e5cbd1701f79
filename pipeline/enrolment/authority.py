"""The fleet's own certificate authority: one key on the server that vouches for the broker, and for edges if asked.

Certificates begin to hold a year ago: a Pi without a battery-backed clock starts at the time of its last shutdown.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cellherd.errors import CellherdError
from pipeline.enrolment.accounts import write_private

BACK = timedelta(days=366)
AUTHORITY_HOLDS, SERVER_HOLDS, EDGE_HOLDS = timedelta(days=7300), timedelta(days=397), timedelta(days=1825)
RENEW_BEFORE = timedelta(days=30)
_SERVER, _CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
Key = ec.EllipticCurvePrivateKey
Span = tuple[datetime, datetime]


@dataclass(frozen=True, slots=True)
class Authority:
    """The authority that lies in a folder: `ca.pem` and `ca.key`."""

    folder: Path
    certificate: x509.Certificate
    key: Key

    def issue_server(self, hosts: Sequence[str], now: datetime) -> None:
        """Make `server.pem` (with the authority behind it) and `server.key`, valid for these names and addresses."""
        names = x509.SubjectAlternativeName([_named(host) for host in hosts])
        certificate, key = self._issue(hosts[0], (now - BACK, now + SERVER_HOLDS), names, _SERVER)
        write_private(self.folder / "server.key", _pem(key))  # a broker that looks in between keeps the old pair
        write_private(self.folder / "server.pem", _text(certificate) + _text(self.certificate))

    def issue_client(self, name: str, now: datetime) -> tuple[str, str, str]:
        """Certificate, key and serial number (hex) of a user of the broker."""
        names = x509.SubjectAlternativeName([x509.DNSName(name.replace("_", "-"))])
        certificate, key = self._issue(name, (now - BACK, now + EDGE_HOLDS), names, _CLIENT)
        return _text(certificate), _pem(key), f"{certificate.serial_number:x}"

    def _issue(
        self, name: str, holds: Span, names: x509.SubjectAlternativeName, use: x509.ObjectIdentifier
    ) -> tuple[x509.Certificate, Key]:
        key = ec.generate_private_key(ec.SECP256R1())
        blank = _blank(name, self.certificate.subject, key, holds)
        blank = blank.add_extension(names, critical=False).add_extension(x509.ExtendedKeyUsage([use]), critical=False)
        blank = blank.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        ours = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        return blank.add_extension(ours, critical=False).sign(self.key, hashes.SHA256()), key


def authority(folder: Path, now: datetime) -> Authority:
    """The authority of a folder, made the first time. Raises CellherdError where its files are damaged."""
    if not (folder / "ca.pem").exists():
        _make(folder, now)
    try:
        key = load_pem_private_key((folder / "ca.key").read_bytes(), None)
        certificate = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
    except (OSError, ValueError) as error:
        raise CellherdError(f"the authority in {folder} cannot be read ({error}); put its backup back") from None
    if not isinstance(key, Key):
        raise CellherdError(f"{folder / 'ca.key'} is not the key that cellherd made; put its backup back")
    return Authority(folder, certificate, key)


def client_files(folder: Path, name: str, now: datetime) -> tuple[Path, Path]:
    """Certificate and key of a user of this machine, made the first time and anew before they end."""
    cert, key = folder / f"{name}.pem", folder / f"{name}.key"
    if not cert.exists() or holds_until(cert) - now < RENEW_BEFORE:
        certificate, private, _ = authority(folder, now).issue_client(name, now)
        write_private(key, private)
        write_private(cert, certificate)
    return cert, key


def holds_until(certificate: Path) -> datetime:
    """When the first certificate of a PEM file ends, UTC. Raises CellherdError."""
    return _read(certificate).not_valid_after_utc


def hosts_of(certificate: Path) -> list[str]:
    """The names and addresses that a server's certificate is for."""
    with suppress(x509.ExtensionNotFound):
        found = _read(certificate).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return [*found.get_values_for_type(x509.DNSName), *map(str, found.get_values_for_type(x509.IPAddress))]
    return []


def renew_if_due(folder: Path, now: datetime) -> bool:
    """Make the server's certificate anew, for the same names, where it ends within 30 days. Returns whether it did."""
    server = folder / "server.pem"
    if not server.exists() or holds_until(server) - now > RENEW_BEFORE:
        return False
    authority(folder, now).issue_server(hosts_of(server), now)
    return True


def _make(folder: Path, now: datetime) -> None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = ec.generate_private_key(ec.SECP256R1())
    name = "CellHerd fleet"
    blank = _blank(name, _subject(name), key, (now - BACK, now + AUTHORITY_HOLDS))
    blank = blank.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    blank = blank.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    sign_only = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only"), False
    )
    usage = x509.KeyUsage(digital_signature=True, key_cert_sign=True, crl_sign=True, decipher_only=False, **sign_only)
    blank = blank.add_extension(usage, critical=True)
    write_private(folder / "ca.key", _pem(key))
    write_private(folder / "ca.pem", _text(blank.sign(key, hashes.SHA256())), mode=0o644)


def _blank(name: str, issuer: x509.Name, key: Key, holds: Span) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(_subject(name))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(holds[0])
        .not_valid_after(holds[1])
    )


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _named(host: str) -> x509.GeneralName:
    with suppress(ValueError):
        return x509.IPAddress(ipaddress.ip_address(host))
    try:
        return x509.DNSName(host)
    except ValueError:
        raise CellherdError(
            f"{host!r} is no host name that a certificate can carry; write it as broker.example.org"
        ) from None


def _read(certificate: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(certificate.read_bytes())
    except (OSError, ValueError) as error:
        raise CellherdError(
            f"{certificate} is no certificate ({error}); make it anew: cellherd broker certificate --host NAME"
        ) from None


def _text(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()


def _pem(key: Key) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
