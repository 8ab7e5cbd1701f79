"""What an edge says of itself: status when it comes and goes, health every minute (design A.2)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path

from cellherd import __version__, wire
from collectors.outbox import Outbox

EPOCHS = 64
"""Most epochs in a status message, the newest."""
IO = Path("/proc/self/io")


def status(outbox: Outbox) -> bytes:
    """We are here, and these are our epochs with their last numbers."""
    epochs = outbox.epochs()[-EPOCHS:]
    body = {"online": 1, "version": __version__, "stream": outbox.stream, "epoch": outbox.last()[0], "epochs": epochs}
    return json.dumps({"v": wire.VERSION, **body}, separators=(",", ":")).encode()


def health(outbox: Outbox, told: Mapping[str, object]) -> bytes:
    """What waits, since when and what was dropped, and what is `told` of machine and ports."""
    now = outbox.instant()
    body = {
        "ts": now.ts,
        "version": __version__,
        "epoch": outbox.last()[0],
        "depth": outbox.depth(),
        "oldest_ts": outbox.oldest_ts(),
        "drops": outbox.drops,
        "dropped": outbox.dropped,
        "clk": now.clk,
    }
    return json.dumps({"v": wire.VERSION, **body, **told}, separators=(",", ":")).encode()


class Written:
    """Bytes that this process has sent to the disk since midnight (UTC) or its start: what wears a card out."""

    def __init__(self) -> None:
        self._day = date.min
        self._before = 0

    def today(self, wall: int) -> int | None:
        """Bytes so far; None where the kernel does not tell."""
        total = _write_bytes()
        if total is None:
            return None
        day = datetime.fromtimestamp(wall / 1000, UTC).date()
        if day != self._day:
            self._before = total if self._day != date.min else 0
            self._day = day
        return total - self._before


def _write_bytes() -> int | None:
    try:
        lines = IO.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("write_bytes:")), None)
