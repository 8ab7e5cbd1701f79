"""What time it is, and how far to trust it. A Pi has no clock of its own and may wake up in 1970."""

from __future__ import annotations

import ctypes
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Protocol
from uuid import uuid4

Quality = Literal["ntp", "srv", "rtc", "est", "bad"]
"""ntp: disciplined; srv: anchored by the server; rtc: unsynchronised; est: bounded by neighbours; bad: useless."""

EARLIEST = 1_577_836_800_000
"""2020-01-01 in ms: nothing that we watch is older, so a clock before it is wrong."""
LATEST_AHEAD = 300_000
"""ms that a reading may lie in the future."""


class Clock(Protocol):
    """Wall time for people, boot time for durations. Tests bring their own."""

    def wall(self) -> int:
        """Milliseconds since 1970, UTC."""

    def boot(self) -> int:
        """Milliseconds since this boot, going on during sleep (CLOCK_BOOTTIME)."""

    def boot_id(self) -> str:
        """Eight hex digits that change with every boot."""

    def quality(self) -> Quality:
        """How far wall() can be trusted."""


@dataclass(frozen=True, slots=True)
class SystemClock:
    """The machine's own clocks."""

    def wall(self) -> int:
        """See Clock."""
        return time.time_ns() // 1_000_000

    def boot(self) -> int:
        """See Clock."""
        clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
        return time.clock_gettime_ns(clock) // 1_000_000

    def boot_id(self) -> str:
        """See Clock."""
        return _BOOT_ID

    def quality(self) -> Quality:
        """See Clock; asks the kernel whether a time service disciplines the clock."""
        if self.wall() < EARLIEST:
            return "bad"
        return "ntp" if _disciplined() else "rtc"


def _read_boot_id() -> str:
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip().replace("-", "")[:8] if path.exists() else uuid4().hex[:8]


_BOOT_ID = _read_boot_id()
_STA_UNSYNC = 0x40
_STATUS_OFFSET = 40  # struct timex on 64-bit Linux: modes, offset, freq, maxerror, esterror, status


def _disciplined() -> bool:
    try:
        libc = ctypes.CDLL(None)
        timex = ctypes.create_string_buffer(256)
        if libc.adjtimex(timex) < 0:
            return False
    except (OSError, AttributeError):
        return False
    status = int.from_bytes(timex.raw[_STATUS_OFFSET : _STATUS_OFFSET + 4], "little")
    return not status & _STA_UNSYNC


def as_text(ts: int) -> str:
    """A time for people and logs: UTC to the second."""
    return datetime.fromtimestamp(ts / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
