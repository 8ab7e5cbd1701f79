"""From the tables of a JK device to a reading: faults of its alarm words, cells that are there, no passcodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cellherd import faults
from cellherd.reading import Measured
from collectors.drivers.jk.maps import TEXTS, WIRES
from collectors.fields import Table, read

ALARMS = ("alarm", "user_alarm_2")
"""Words whose bits are faults; the others travel as raw only."""


def runtime(data: bytes, table: Table, masks: Table, *, shift: int = 0, module: int | None = None) -> Measured:
    """What the part of the runtime table says whose first byte has offset `shift`."""
    values = read(table, data, shift=shift)
    words: dict[str, int] = read(masks, data, shift=shift).get("raw", {})
    _only_present(values, words.get("cells_present"))
    values |= {name: bool(values[name]) for name in ("charge_on", "discharge_on") if name in values}
    known = [name for name in ALARMS if name in words]
    found = [fault for name in known for fault in faults.brand("jk")[name].of_mask(words[name])]
    if known:
        values["faults"] = tuple(dict.fromkeys(found))
    widths = {field.name[4:]: 2 * (field.end - field.offset) for field in masks}
    return Measured(module=module, raw={name: f"{word:0{widths[name]}x}" for name, word in words.items()}, **values)


def _only_present(values: dict[str, Any], mask: int | None) -> None:
    """Drop the empty slots behind the last cell, and say where the extremes are: 0x1248 is not to be trusted."""
    cells = values.get("cell_mv", ())
    count = max((i + 1 for i, mv in enumerate(cells) if mv), default=0) if mask is None else mask.bit_length()
    present = (1 << count) - 1 if mask is None else mask
    if cells:
        cells = tuple(mv if present >> i & 1 else None for i, mv in enumerate(cells[:count]))
        values["cell_mv"] = cells
    if mask is not None:
        for name in (field.name[6:] for i, field in enumerate(WIRES) if not mask >> i & 1):
            values.get("extra", {}).pop(name, None)
    said = [(mv, -i) for i, mv in enumerate(cells) if mv is not None]
    if mask and len(said) == mask.bit_count():
        values["cell_min_mv"], values["cell_min_at"] = min((mv, -i) for mv, i in said)
        values["cell_max_mv"], at = max(said)
        values["cell_max_at"] = -at


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
