"""Watches fleet.toml and the accounts, so that who was enrolled or revoked is let in or shut out within a second.

Files are watched instead of signals alone: `cellherd enroll` works from another container as well.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Protocol

from cellherd.config import FleetConfig, load_fleet
from cellherd.errors import CellherdError
from pipeline.enrolment import accounts
from pipeline.enrolment.authority import holds_until, renew_if_due
from pipeline.enrolment.places import tls_folder, tls_of
from pipeline.ingest.broker import EmbeddedBroker

APPLIED = "applied"
LOOK_AT_CERTIFICATES_S = 3600.0
LATE_DAYS = 14
log = logging.getLogger(__name__)


class Renewed(Protocol):
    """Whoever goes on with a registry that was read again."""

    def renew(self, config: FleetConfig) -> None:
        """Take it."""


class Registry:
    """The file and what was last read from it. `asked` may be set by a signal: read again even if nothing changed."""

    def __init__(self, file: Path, state: Path, config: FleetConfig) -> None:
        self._file, self._state, self._config = file, state, config
        self._folder = state / "broker"
        self._seen = self._marks()
        self._looked = -LOOK_AT_CERTIFICATES_S
        self.asked = Event()
        self._tell()

    def look(self, ingester: Renewed, broker: EmbeddedBroker | None) -> None:
        """Read again what changed. Where it cannot be used, the old registry stays, and the log says why."""
        if monotonic() - self._looked >= LOOK_AT_CERTIFICATES_S:
            self._looked = monotonic()
            self._keep_certificate()
        seen = self._marks()
        if seen == self._seen and not self.asked.is_set():
            return
        self._seen = seen
        self.asked.clear()
        try:
            config = load_fleet(self._file)
            if broker is not None:
                broker.reload([site.edge for site in config.site])
        except (CellherdError, OSError) as error:
            log.error("the registry stays as it was: %s", error)  # noqa: TRY400 - what a person must mend has no traceback
            return
        before = {site.edge for site in self._config.site}
        self._config = config
        ingester.renew(config)
        now = {site.edge for site in config.site}
        log.info("read the registry again: %d edges, new: %s", len(now), " ".join(sorted(now - before)) or "none")
        self._tell()

    def _marks(self) -> tuple[object, ...]:
        tls = tls_folder(self._state)
        own = (self._config.broker.cert_file, self._config.broker.key_file)
        files = [self._file, self._folder / accounts.FILE, tls / "server.pem", *(Path(name) for name in own if name)]
        return tuple(map(_mark, files))

    def _tell(self) -> None:
        """Say which accounts are in force, for `cellherd revoke` to wait for."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        accounts.write_private(self._folder / APPLIED, fingerprint(self._folder))

    def _keep_certificate(self) -> None:
        now = datetime.now(UTC)
        try:
            if renew_if_due(tls_folder(self._state), now):
                log.info("the broker's certificate was made anew")
            tls = tls_of(self._config.broker, self._state) if self._config.broker.embedded else None
            if tls and (left := holds_until(tls.cert) - now).days < LATE_DAYS:
                log.warning(
                    "the broker's certificate %s ends in %d days; edges will then keep out", tls.cert, left.days
                )
        except (CellherdError, OSError) as error:
            log.warning("the broker's certificate cannot be looked at: %s", error)


def fingerprint(folder: Path) -> str:
    """Stands for one state of the accounts."""
    return repr(_mark(folder / accounts.FILE))


def wait_until_applied(folder: Path, pause: Callable[[float], object], timeout_s: float = 15) -> bool:
    """Whether a running ingester took the accounts over in time."""
    deadline = monotonic() + timeout_s
    while monotonic() < deadline:
        try:
            if (folder / APPLIED).read_text(encoding="utf-8") == fingerprint(folder):
                return True
        except FileNotFoundError:
            pass
        pause(0.1)
    return False


def _mark(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
