"""Spans of time as people type them: 30m, 4h, 7d."""

from __future__ import annotations

import re

from cellherd.errors import CellherdError

_UNITS = {"": 0, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def span_ms(text: str) -> int:
    """Milliseconds of `90s`, `30m`, `4h`, `7d` or `0`. Raises CellherdError."""
    found = re.fullmatch(r"(\d{1,4})([smhd])|0()", text.strip())
    if found is None:
        raise CellherdError(f"{text!r} is no span of time; write 30m, 4h or 7d")
    return int(found[1] or 0) * _UNITS[found[2] or ""]
