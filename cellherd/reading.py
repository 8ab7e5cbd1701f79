"""What a battery says: names and units of every quantity, the same from the wire to the archive.

All numbers are integers in the unit of their name (mV, mA, 0.1 %, mAh, 0.1 degC); current is positive while
charging. None means "the device does not say"; 0 is a measurement. Lists count from 0 here and from 1 in every
text that a person reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, get_args

Kind = Literal["module", "bank", "shunt", "inverter", "station"]
KINDS: tuple[str, ...] = get_args(Kind)

CELLS = 48
"""Cells of a module that have a column."""

TEMPS = 16
"""Temperature sensors of a module that have a column."""


@dataclass(frozen=True, slots=True)
class Quantity:
    """One scalar: its name, its unit, its signed width in the archive and what a person calls it."""

    name: str
    unit: str
    bits: Literal[8, 16, 32, 64]
    title: str


SCALARS = (
    Quantity("voltage_mv", "mV", 32, "voltage"),
    Quantity("current_ma", "mA", 32, "current"),
    Quantity("soc_pm", "0.1 %", 16, "state of charge"),
    Quantity("soh_pm", "0.1 %", 16, "state of health"),
    Quantity("remaining_mah", "mAh", 32, "remaining charge"),
    Quantity("full_mah", "mAh", 32, "full charge"),
    Quantity("cycles", "", 32, "cycles"),
    Quantity("cell_min_mv", "mV", 16, "lowest cell"),
    Quantity("cell_max_mv", "mV", 16, "highest cell"),
    Quantity("cell_min_at", "index", 16, "place of the lowest cell"),
    Quantity("cell_max_at", "index", 16, "place of the highest cell"),
    Quantity("temp_min_dc", "0.1 degC", 16, "lowest temperature"),
    Quantity("temp_max_dc", "0.1 degC", 16, "highest temperature"),
    Quantity("mos_temp_dc", "0.1 degC", 16, "MOSFET temperature"),
    Quantity("charge_on", "0/1", 8, "charging allowed"),
    Quantity("discharge_on", "0/1", 8, "discharging allowed"),
    Quantity("balancing", "mask", 64, "cells being balanced"),
    Quantity("power_in_w", "W", 32, "power in"),
    Quantity("power_out_w", "W", 32, "power out"),
)
LISTS = (
    Quantity("cell_mv", "mV", 16, "cell voltages"),
    Quantity("temp_dc", "0.1 degC", 16, "temperatures"),
)
N_CELLS = Quantity("n_cells", "", 16, "number of cells")
"""Of `info`, the only number there whose column is narrower than what devices send."""
LENGTHS = {"cell_mv": CELLS, "temp_dc": TEMPS}


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One entry of the BMS's own log, as the BMS gave it."""

    code: str
    text: str = ""
    device_ts: int | None = None
    hex: str = ""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one module said in one answer. `module` is its bus address where the answer tells it.

    `faults` are canonical ids: () says that the BMS reports none, None that it does not speak of faults. `raw`
    keeps vendor masks and codes as hex; `extra` keeps numbers that have no name here. `info` (serial, model,
    firmware, hardware, n_cells, nominal_mah), `limits` and `counters` (lifetime, absolute) and `log` change rarely
    and travel as records of their own.
    """

    module: int | None = None
    kind: Kind = "module"
    voltage_mv: int | None = None
    current_ma: int | None = None
    soc_pm: int | None = None
    soh_pm: int | None = None
    remaining_mah: int | None = None
    full_mah: int | None = None
    cycles: int | None = None
    cell_min_mv: int | None = None
    cell_max_mv: int | None = None
    cell_min_at: int | None = None
    cell_max_at: int | None = None
    temp_min_dc: int | None = None
    temp_max_dc: int | None = None
    mos_temp_dc: int | None = None
    charge_on: bool | None = None
    discharge_on: bool | None = None
    balancing: int | None = None
    power_in_w: int | None = None
    power_out_w: int | None = None
    cell_mv: tuple[int | None, ...] = ()
    temp_dc: tuple[int | None, ...] = ()
    faults: tuple[str, ...] | None = None
    raw: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, int | float] = field(default_factory=dict)
    info: Mapping[str, str | int] = field(default_factory=dict)
    limits: Mapping[str, int] = field(default_factory=dict)
    counters: Mapping[str, int] = field(default_factory=dict)
    log: tuple[LogEntry, ...] = ()

    if not TYPE_CHECKING:  # what dataclass generates sets 30 frozen fields one by one: half the time of a decode

        def __init__(self, **said: object) -> None:
            """Keeps what was said; the rest are the defaults of the class."""
            if not _NAMES.issuperset(said):
                raise TypeError(f"no field of Measured: {', '.join(said.keys() - _NAMES)}")
            vars(self).update(said)


Row = dict[str, object]
"""The fields of one reading that the device said, by the names of this page, ready for JSON."""

_MAPPINGS = ("raw", "extra", "info", "limits", "counters")
_NAMES = frozenset(f.name for f in fields(Measured))
_NOTHING: Mapping[str, Any] = {}
for _name in _MAPPINGS:
    setattr(Measured, _name, _NOTHING)


def combine(*parts: Measured) -> Measured:
    """Join several answers of one module into one reading; where two say the same thing the later one counts.

    Faults add up, for each answer knows only its own alarm words.
    """
    if len(parts) == 1:
        return parts[0]
    whole: dict[str, Any] = {}
    for part in parts:
        said = {name: value for name, value in vars(part).items() if value or value == 0}
        for name in _MAPPINGS:
            if name in said and name in whole:
                said[name] = {**whole[name], **said[name]}
        if part.faults is not None:
            said["faults"] = tuple(dict.fromkeys((*whole.get("faults", ()), *part.faults)))
        whole |= said
    return Measured(**whole)


def as_row(measured: Measured) -> Row:
    """Only what was said: scalars, lists, faults, raw and extra. Truth values become 0 and 1.

    A number too wide for its column (a cell of 65,535 mV in a frame with a good checksum) becomes None and stands
    under its own name in extra instead, so that it costs neither itself nor its neighbours their way.
    """
    row, wide = dict(_said(measured)), beyond(measured)
    if extra := {**measured.extra, **wide}:
        row["extra"] = extra
    return row


def _said(measured: Measured) -> Iterator[tuple[str, object]]:
    for quantity in SCALARS:
        value = getattr(measured, quantity.name)
        if value is not None and fits(quantity, int(value)):
            yield quantity.name, int(value)
    for quantity in LISTS:
        values = getattr(measured, quantity.name)[: LENGTHS[quantity.name]]
        if values:
            yield quantity.name, [value if value is not None and fits(quantity, value) else None for value in values]
    if measured.faults is not None:
        yield "faults", sorted(measured.faults)
    if measured.raw:
        yield "raw", dict(measured.raw)


def beyond(measured: Measured) -> dict[str, int]:
    """Numbers too wide for their column, and cells and sensors beyond the last one, each under its own name."""
    return dict(_beyond(measured))


def _beyond(measured: Measured) -> Iterator[tuple[str, int]]:
    for quantity in SCALARS:
        value = getattr(measured, quantity.name)
        if value is not None and not fits(quantity, int(value)):
            yield quantity.name, int(value)
    for quantity in LISTS:
        for i, value in enumerate(getattr(measured, quantity.name)):
            if value is not None and not (i < LENGTHS[quantity.name] and fits(quantity, value)):
                yield f"{quantity.name}.{i}", value


def as_info(measured: Measured) -> dict[str, str | int]:
    """What the device said of itself. A count of cells too wide for its column stands as `cells_said` instead."""
    said = dict(measured.info)
    count = said.get("n_cells")
    if isinstance(count, int) and not fits(N_CELLS, count):
        said["cells_said"] = said.pop("n_cells")
    return said


def fits(quantity: Quantity, value: int) -> bool:
    """Whether the value has room in its column."""
    return -(1 << quantity.bits - 1) <= value < 1 << quantity.bits - 1
