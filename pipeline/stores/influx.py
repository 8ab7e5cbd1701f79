"""InfluxDB 2, and whatever else takes /api/v2/write: points for the dashboards.

Nothing is queued here: what cannot be written stays in the journal and is tried again from there.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import polars as pl
from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.rest import ApiException
from urllib3.exceptions import HTTPError

from cellherd.config import read_secret
from cellherd.secrecy import redacted
from cellherd.settings import Influx
from pipeline.decoding.decode import Decoded
from pipeline.stores.errors import StoreAway
from pipeline.stores.lines import Sites, module_lines

Rejected: TypeAlias = Callable[[bytes, str], None]
"""Is given each line that InfluxDB refuses, and its reason."""

ROWS_AT_ONCE = 8000
"""Readings that are made into lines together: each takes some 4 kB meanwhile, and a few take longer each."""
_LINES_AT_ONCE = 5000
_TOO_LARGE = 413
_BAD_LINES = frozenset({400, _TOO_LARGE, 422})
"""Answers that are about lines. Any other refusal (token, bucket, address) is for a person to put right."""

_TOO_OLD = "beyond retention policy"
"""In a partial write: the bucket keeps no such old points. Nothing is wrong with them, and the archive has them."""
_DROPPED = re.compile(r"partial write.*dropped=(\d+)")
log = logging.getLogger(__name__)


@dataclass(slots=True)
class InfluxWriter:
    """Writes line protocol synchronously. The token comes from a file and is never shown.

    `too_old` counts points that are older than their bucket keeps, where the server says how many.
    """

    settings: Influx
    rejected: Rejected
    gzip: bool = False
    timeout_s: float = 10.0
    too_old: int = field(default=0, init=False)
    _client: Any = field(init=False, repr=False)
    _api: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Prepare; connects at the first write. Raises ConfigError if the token cannot be read."""
        token = read_secret(self.settings.token_file) or ""
        milliseconds = round(self.timeout_s * 1000)
        self._client = InfluxDBClient(
            self.settings.url, token, timeout=milliseconds, enable_gzip=self.gzip, org=self.settings.org
        )
        self._api = self._client.write_api(write_options=SYNCHRONOUS)

    def write(self, bucket: str, lines: bytes) -> None:
        """Store lines (precision ms); a line that is refused goes to `rejected` and harms no other.

        Raises StoreAway while the server is down, busy or does not let us in.
        """
        for some in _batches(lines):
            self._write(bucket, some)

    def close(self) -> None:
        """Let the connections go."""
        self._client.close()

    def _write(self, bucket: str, lines: list[bytes]) -> None:
        refused = self._refused(bucket, lines)
        if refused is None:
            return
        if refused.status == _TOO_LARGE and len(lines) > 1:
            middle = len(lines) // 2
            self._write(bucket, lines[:middle])
            self._write(bucket, lines[middle:])
            return
        self._sift(bucket, lines, _said(refused))

    def _sift(self, bucket: str, lines: list[bytes], why: str) -> None:
        """Of lines that were refused together, store the good ones and find the bad one: log2(n) writes for the first.

        Where the first half is stored, the bad line is in the second, which need not be asked for as a whole again.
        """
        if len(lines) == 1 or _dropped(why) == len(lines):
            for line in lines:
                self.rejected(line, why)
            return
        middle = len(lines) // 2
        refused = self._refused(bucket, lines[:middle])
        if refused is None:
            self._sift(bucket, lines[middle:], why)
            return
        self._sift(bucket, lines[:middle], _said(refused))
        self._write(bucket, lines[middle:])

    def _refused(self, bucket: str, lines: list[bytes]) -> ApiException | None:
        """Write; what the server has against these lines, None if it took all it will ever take.

        Raises StoreAway for any other refusal.
        """
        try:
            self._api.write(bucket, record=b"\n".join(lines), write_precision="ms")
        except ApiException as error:
            if error.status not in _BAD_LINES:
                raise StoreAway(f"InfluxDB at {self.settings.url}: {_said(error)}") from None
            if _TOO_OLD in _said(error):
                if not self.too_old:
                    log.info("InfluxDB leaves out what is older than its bucket keeps: %s", _said(error))
                self.too_old += _dropped(_said(error)) or 0
                return None
            return error
        except (HTTPError, OSError) as error:
            raise StoreAway(f"InfluxDB at {self.settings.url} does not answer: {error}") from None
        return None


def _dropped(reason: str) -> int | None:
    """How many points a partial write left out, where the server says so; it stored the others."""
    found = _DROPPED.search(reason)
    return int(found[1]) if found else None


def _batches(lines: bytes) -> Iterator[list[bytes]]:
    whole = lines.splitlines()
    return (whole[start : start + _LINES_AT_ONCE] for start in range(0, len(whole), _LINES_AT_ONCE))


def _said(error: ApiException) -> str:
    body = error.body or b""
    text = body.decode(errors="replace") if isinstance(body, bytes) else str(body)
    return f"{error.status} {error.reason} {redacted(text)[:300]}".strip()  # some proxies repeat what they were told


@dataclass(slots=True)
class InfluxSink:
    """Journal segments into the measurement `module`; points replace themselves, so again changes nothing."""

    writer: InfluxWriter
    sites: Sites
    progress: Path
    """A small file that holds the last segment done."""
    name: str = "influx"
    installer: str | None = None
    """Whose `sites` these are, and nobody else's readings; None: all readings, of sites unknown too."""

    def position(self) -> int:
        """The last segment stored. Without the file all that the journal still holds is written again."""
        text = self.progress.read_text(encoding="ascii").strip() if self.progress.exists() else ""
        return int(text) if text.isdecimal() else 0

    def write(self, number: int, decoded: Decoded) -> None:
        """Store a segment's readings. Raises StoreAway if it has to be tried again."""
        readings = decoded.frames["reading"]
        if self.installer is not None:
            readings = readings.filter(pl.col("site").is_in(list(self.sites)))
        for some in readings.iter_slices(ROWS_AT_ONCE):
            self.writer.write(self.writer.settings.bucket, module_lines(some, self.sites))
        fresh = self.progress.with_suffix(".new")
        fresh.write_text(f"{number}\n", encoding="ascii")
        fresh.replace(self.progress)


def refused(line: bytes, why: str) -> None:
    """Say which line InfluxDB did not take."""
    log.warning("InfluxDB refuses %r: %s", line[:200], why)
