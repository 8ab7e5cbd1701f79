"""From the tables of a JK device to a reading: faults of its alarm words, cells that are there, no passcodes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Any

from cellherd import faults
from cellherd.reading import Measured
from collectors.drivers.jk.maps import PRESENT, TEXTS, WIRES
from collectors.fields import Table, read

ALARMS = ("alarm", "user_alarm_2")
"""Words whose bits are faults; the others travel as raw only."""
CELL_MASK = PRESENT.name.removeprefix("raw.")


WIRE_NAMES = tuple(field.name.removeprefix("extra.") for field in WIRES)


def runtime(data: bytes, table: Table, *, shift: int = 0, module: int | None = None) -> Measured:
    """What the part of the runtime table says whose first byte has offset `shift`."""
    values = read(table, data, shift=shift)
    words: dict[str, int] = values.pop("raw", {})
    _only_present(values, words.get(CELL_MASK))
    for name in ("charge_on", "discharge_on"):
        if name in values:
            values[name] = bool(values[name])
    known = [name for name in ALARMS if name in words]
    if known:
        found = [fault for name in known if words[name] for fault in faults.brand("jk")[name].of_mask(words[name])]
        values["faults"] = tuple(dict.fromkeys(found))
    digits = _digits(table)
    return Measured(module=module, raw={name: digits[name] % word for name, word in words.items()}, **values)


@cache
def _digits(table: Table) -> Mapping[str, str]:
    """How each vendor word is written: hex, two digits a byte."""
    words = [field for field in table if field.place[0] == "raw"]
    return {str(field.place[1]): f"%0{2 * (field.end - field.offset)}x" for field in words}


@lru_cache(64)
def _unwired(mask: int) -> tuple[str, ...]:
    """Wires to places where no cell is."""
    return tuple(name for i, name in enumerate(WIRE_NAMES) if not mask >> i & 1)


def _only_present(values: dict[str, Any], mask: int | None) -> None:
    """Drop the empty slots behind the last cell, and say where the extremes are: 0x1248 is not to be trusted."""
    cells = values.get("cell_mv", ())
    count = max((i + 1 for i, mv in enumerate(cells) if mv), default=0) if mask is None else mask.bit_length()
    present = (1 << count) - 1 if mask is None else mask
    if cells:
        cells = cells[:count]
        if present != (1 << count) - 1:
            cells = tuple([mv if present >> i & 1 else None for i, mv in enumerate(cells)])
        values["cell_mv"] = cells
    if mask is None:
        return
    extra = values.get("extra", {})
    for name in _unwired(mask):
        extra.pop(name, None)
    said = [mv for mv in cells if mv is not None]
    if mask and len(said) == mask.bit_count():
        low, high = min(said), max(said)
        values |= {"cell_min_mv": low, "cell_min_at": cells.index(low)}
        values |= {"cell_max_mv": high, "cell_max_at": cells.index(high)}


def settings(data: bytes, table: Table, *, shift: int = 0, module: int | None = None) -> Measured:
    """Protection settings. Older firmware has no limit for discharging in the cold and leaves both its numbers 0."""
    values = read(table, data, shift=shift)
    limits: dict[str, int] = values.get("limits", {})
    cold = ("discharge_temp_min_dc", "discharge_temp_min_release_dc")
    if not any(limits.get(name) for name in cold):
        for name in cold:
            limits.pop(name, None)
    return Measured(module=module, **values)


def texts(data: bytes, *, shift: int = 0) -> Mapping[str, str]:
    """Model, firmware, serial, as far as they stand whole in the device table's bytes from `shift` on."""
    whole = [(name, at - shift, at - shift + n) for name, at, n in TEXTS if at >= shift and at - shift + n <= len(data)]
    said = {name: data[start:end].split(b"\0")[0].decode("ascii", "replace").strip() for name, start, end in whole}
    return {name: text for name, text in said.items() if text}
