"""How the machine below the edge is: room, heat, power. Whatever it does not tell is None."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from pathlib import Path

from collectors.ballast import disk_free

HEAT = Path("/sys/class/thermal/thermal_zone0/temp")
THROTTLED = Path("/sys/devices/platform/soc/soc:firmware/get_throttled")
"""A Raspberry Pi's bits: 0 under-voltage now, 2 throttled now, 16 and 18 the same since the start."""


def vitals(folder: Path) -> dict[str, int | None]:
    """Free bytes below `folder`, the processor's 0.1 degC, and the bits of a Pi's power supply."""
    free = None
    with suppress(OSError):
        free = disk_free(folder)
    heat = _number(HEAT, 10)
    return {"disk_free": free, "cpu_dc": None if heat is None else heat // 100, "throttled": _number(THROTTLED, 16)}


def _number(path: Path, digits: int) -> int | None:
    try:
        return int(path.read_text().strip(), digits)
    except (OSError, ValueError):
        return None


class Durations:
    """How long the last commits took."""

    def __init__(self) -> None:
        self._ms: deque[int] = deque(maxlen=1000)

    def add(self, seconds: float) -> None:
        """One more."""
        self._ms.append(round(seconds * 1000))

    def p99(self) -> int | None:
        """Milliseconds that one in a hundred exceeds."""
        return sorted(self._ms)[len(self._ms) * 99 // 100] if self._ms else None
