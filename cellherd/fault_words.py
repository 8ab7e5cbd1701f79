"""The catalogue's short marks in words and units that people use; the command and the pages say the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cellherd.faults import CONFIDENCE, Code, Fault, Numbers, Word

URGENCY = {1: "act now", 2: "today", 3: "next visit", 4: "never alerts"}
STATE = {
    "info": "normal",
    "warning": "still running",
    "protection": "comes back by itself",
    "lockout": "stays until a person acts",
    "fault": "a defect, or data not to be trusted",
}
CUTS = {
    "none": "nothing is cut",
    "charge": "charging is cut",
    "discharge": "discharging is cut",
    "both": "charging and discharging are cut",
    "varies": "what is cut differs",
}
UNITS = {
    "mv": (1000, "mV", "V"),
    "ma": (1000, "mA", "A"),
    "mah": (1000, "mAh", "Ah"),
    "dc": (10, "", "°C"),
    "pm": (10, "", "%"),
    "s": (60, "s", "min"),
    "ms": (1000, "ms", "s"),
    "ohm": (1000, "Ohm", "kOhm"),
    "h": (1, "", "h"),
    "days": (1, "", "days"),
    "months": (1, "", "months"),
    "mm": (1, "", "mm"),
    "rate": (1, "", "C"),
}
"""By the last part of a number's name: factor to the large unit, the small unit ("" = always large), the large one."""


def standing(fault: Fault) -> str:
    """How urgent it is, what it does and how it ends, in a few words."""
    cut = f"{CUTS[fault.cuts]}; " if fault.cuts != "none" and fault.severity != "info" else ""
    return f"{URGENCY[fault.priority]}; {cut}{STATE[fault.severity]}"


def numbers(named: Numbers) -> Iterator[str]:
    """Each number as people say it: `trip 3.65 V`, `release 3.45 V`."""
    for name, value in named.items():
        label, _, unit = name.rpartition("_")
        known = unit in UNITS
        said = quantity(value, unit) if known else _plain(value)
        yield f"{(label if known else name).replace('_', ' ')} {said}"


def quantity(value: Any, unit: str) -> str:
    """quantity(3650, "mv") is "3.65 V"; a list of two is a range."""
    factor, small, large = UNITS[unit]
    values = value if isinstance(value, list | tuple) else [value]
    scale, shown = (1, small) if small and max(values) < factor else (factor, large)
    return f"{' to '.join(f'{one / scale:g}' for one in values)} {shown}"


def _plain(value: Any) -> str:
    return " to ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def sure(code: Code, word: Word) -> str:
    """How certain a code's meaning is, and from where."""
    return f"{CONFIDENCE[code.confidence]} ({word.source})" if word.source else CONFIDENCE[code.confidence]


def meaning(code: Code) -> str:
    """What a code stands for, in fault ids."""
    ended = "end of " if code.released else ""
    also = " or ".join(code.also)
    if code.fault:
        return f"{ended}{code.fault}" + (f", perhaps {also}" if also else "")
    return f"no fault; may point to {also}" if also else "no fault"
