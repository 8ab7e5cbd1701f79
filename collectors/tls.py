"""TLS on a machine that may not know the time: a Raspberry Pi that wakes up in 1970 finds every certificate too young.

Then chain and name are verified against the fleet's own authority, but not the dates; the server tells the time, and
the dates are looked at by that, or strictly as soon as the machine's own clock is right.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass

from cellherd.config import file_named, read_public, read_secret
from cellherd.errors import ConfigError
from cellherd.settings import Mqtt

NO_CHECK_TIME = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME of OpenSSL's x509_vfy.h; Python has no name for it."""
TOO_YOUNG, TOO_OLD = 9, 10
"""X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED of the same file."""


@dataclass(frozen=True, slots=True)
class Trust:
    """Whom we believe. `undated` does not look at dates; without an authority of our own there is no such thing."""

    strict: ssl.SSLContext
    undated: ssl.SSLContext | None = None


def trust(mqtt: Mqtt) -> Trust:
    """Trust in the fleet's authority, or in the system's; with a certificate of our own where there is one.

    Raises ConfigError where a file is no certificate.
    """
    if not mqtt.ca_file:
        return Trust(_context(mqtt, None))
    pem = read_public(mqtt.ca_file)
    undated = _context(mqtt, pem)
    undated.verify_flags |= NO_CHECK_TIME
    return Trust(_context(mqtt, pem), undated)


def _context(mqtt: Mqtt, authority: str | None) -> ssl.SSLContext:
    """TLS 1.2 or newer; the broker's chain, dates and name are checked."""
    try:
        context = ssl.create_default_context(cadata=authority)
    except (ssl.SSLError, ValueError):
        raise ConfigError(str(mqtt.ca_file), ["no certificate in PEM form stands in it"]) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if mqtt.cert_file and mqtt.key_file:
        read_secret(mqtt.key_file)  # its mode is checked, and it is struck out of what we say
        try:
            context.load_cert_chain(file_named(mqtt.cert_file), file_named(mqtt.key_file))
        except (ssl.SSLError, OSError) as error:
            raise ConfigError(mqtt.cert_file, [f"it cannot be used with {mqtt.key_file}: {error}"]) from None
    return context


def is_about_dates(error: Exception) -> bool:
    """Whether a certificate was refused for its dates alone."""
    return isinstance(error, ssl.SSLCertVerificationError) and error.verify_code in (TOO_YOUNG, TOO_OLD)


def in_date(line: object, wall: int) -> bool:
    """Whether the other side's certificate is valid at `wall` (ms UTC)."""
    told = line.getpeercert() if isinstance(line, ssl.SSLSocket) else None
    if not told:
        return False
    begin, end = (ssl.cert_time_to_seconds(str(told[name])) for name in ("notBefore", "notAfter"))
    return begin * 1000 <= wall <= end * 1000
