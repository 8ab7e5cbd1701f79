"""What a maker promises, as it is written in fleet.toml: "10 years, 6000 cycles, 70 %"."""

from __future__ import annotations

import re
from dataclasses import dataclass

UNITS = {"year": "years", "years": "years", "cycle": "cycles", "cycles": "cycles", "mwh": "mwh", "%": "percent"}
PART = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z%]+)\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Warranty:
    """It ends with the first of `years` since the installation, `cycles` (full equivalents) and `mwh` (taken out of
    one module); until then the module is to hold `percent` of its nominal charge.
    """

    percent: float
    years: float | None = None
    cycles: float | None = None
    mwh: float | None = None


def warranty(text: str) -> Warranty | None:
    """Read a warranty; None of an empty text. Raises ValueError that names what it does not understand."""
    if not text.strip():
        return None
    said: dict[str, float] = {}
    for part in text.split(","):
        found = PART.fullmatch(part)
        name = UNITS.get(found[2].lower()) if found else None
        if not found or not name or name in said:
            raise ValueError(f"{part.strip()!r} is no part of a warranty; write it as '10 years, 6000 cycles, 70 %'")
        said[name] = float(found[1])
    if not 0 < said.get("percent", 0) <= 100 or len(said) == 1:
        raise ValueError(f"{text!r} needs an end (years, cycles, MWh) and a % that is left then, as '10 years, 70 %'")
    return Warranty(**said)
