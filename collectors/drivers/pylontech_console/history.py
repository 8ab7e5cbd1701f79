"""What changes rarely: `info`, `stat`, `soh`, `log`, `sysinfo`, `pwrsys`, `bmuinfo`, `ci`."""

from __future__ import annotations

import re
from calendar import timegm
from contextlib import suppress
from time import strptime

from cellherd.reading import Kind, LogEntry, Measured, combine
from collectors.drivers.pylontech_console.text import Answer, Row, blocks, number, slug
from collectors.drivers.pylontech_console.words import OF_A_PAIR, OF_INFO, OF_STAT, OF_SYSINFO, others, scaled, states

OF_A_STRING = {"Board OT Times", "Module Barcode"}
"""Names that only a high-voltage string has."""
MOST_CELLS = 16
"""Cells of a low-voltage module; a longer list is a high-voltage string."""
MILLI_DEGREES = re.compile(r"Temp ")


def kind_of(said: Row) -> Kind:
    """A high-voltage console speaks for the whole string, a low-voltage one for a module."""
    return "bank" if OF_A_STRING & said.keys() else "module"


def health(table: list[Row], module: int | None) -> tuple[Measured, ...]:
    """`soh`: how often each cell was found weak."""
    found = dict.fromkeys(fault for row in table for fault in states(row, 0)["faults"] or ())
    return (
        Measured(
            module=module,
            kind="bank" if module is None and len(table) > MOST_CELLS else "module",
            cell_mv=tuple(number(row.get("Voltage")) for row in table),
            counters={f"cell_{i:02}_soh_count": number(row.get("SOHCount")) or 0 for i, row in enumerate(table)},
            faults=tuple(found),
            raw={f"cell_{i:02}_soh": row["SOHStatus"] for i, row in enumerate(table) if _weak(row)},
        ),
    )


def _weak(row: Row) -> bool:
    return row.get("SOHStatus", "Normal") != "Normal"


def stat(answer: Answer, said: Row, module: int | None) -> tuple[Measured, ...]:
    """`stat n`: counters of a lifetime, under the console's own names."""
    kind = kind_of(said)
    counted = {slug(name): number(text) for name, text in said.items() if name not in {*OF_STAT, "Device address"}}
    counters = {name: count for name, count in counted.items() if count is not None}
    where = None if kind == "bank" else number(said.get("Device address")) or module
    told = Measured(module=where, kind=kind, counters=counters)
    return (combine(told, Measured(kind=kind, **scaled(OF_STAT, said))),)


def info(answer: Answer, said: Row, module: int | None) -> tuple[Measured, ...]:
    """`info n`, and `bmuinfo n` of a high-voltage unit. A string also names the serials of its units."""
    kind = kind_of(said)
    texts = {OF_INFO.get(name, slug(name)): text for name, text in said.items() if text and name not in NO_TEXT}
    known: dict[str, str | int] = {**texts}
    if (cells := number(said.get("Cell Number"))) is not None:
        known["n_cells"] = cells
    if rated := re.search(r"(?<!\d)(\d{1,6})AH", said.get("Specification", "")):
        known["nominal_mah"] = 1000 * int(rated[1])
    currents = {"charge_ma": "Max Charge Curr", "discharge_ma": "Max Dischg Curr"}
    limits = {ours: abs(number(said[name]) or 0) for ours, name in currents.items() if name in said}
    where = None if kind == "bank" else number(said.get("Device address")) or module
    return (Measured(module=where, kind=kind, info=known, limits=limits), *_units(answer))


NO_TEXT = {"Device address", "Max Charge Curr", "Max Dischg Curr", "Module", "PCBA", "Cell Number"}


def _units(answer: Answer) -> tuple[Measured, ...]:
    """`Unit 2 Barcode`, and below it a line `Module: : serial`."""
    serials: dict[int, str] = {}
    unit = None
    for line in answer.lines:
        if title := re.fullmatch(r"Unit (\d{1,3}) Barcode", line):
            unit = int(title[1])
        elif unit and (text := re.fullmatch(r"Module[\s:]+(\S+)", line)):
            serials[unit] = text[1]
    return tuple(Measured(module=number, info={"serial": serial}) for number, serial in serials.items())


def limits(answer: Answer, said: Row, module: int | None) -> tuple[Measured, ...]:
    """`sysinfo`: every threshold of a high-voltage string with its release."""
    found: dict[str, int] = scaled(OF_SYSINFO, said).get("limits", {})
    for name, text in said.items():
        value = number(text)
        if value is not None and name not in OF_SYSINFO:
            found[slug(name) + _ending(name)] = round(value / 100) if MILLI_DEGREES.match(name) else value
    requests = {slug(name): int(text.lower() == "yes") for name, text in said.items() if name.endswith("Req")}
    return (Measured(kind="bank", limits=found, extra=requests),)


def _ending(name: str) -> str:
    if MILLI_DEGREES.match(name):
        return "_dc"
    return "_mv" if re.match(r"Vol |Bal |FChgV", name) else ""


def stack(answer: Answer, said: Row, module: int | None) -> tuple[Measured, ...]:
    """`pwrsys`: the low-voltage stack as one."""
    unnamed = Measured(kind="bank", extra=others(said, OF_A_PAIR))
    return (combine(unnamed, Measured(kind="bank", **scaled(OF_A_PAIR, said))),)


def ports(answer: Answer, said: Row, module: int | None) -> tuple[Measured, ...]:
    """`ci`: what the RS485 and CAN ports of the master have counted."""
    counted = {slug(name): number(text) for name, text in said.items()}
    return (Measured(kind="bank", counters={name: count for name, count in counted.items() if count is not None}),)


def log(answer: Answer, said: Row, module: int | None) -> tuple[Measured, ...]:
    """`log`, newest first. The device's clock has no zone: its time is taken as it stands."""
    return (Measured(module=module, log=tuple(_entry(block) for block in blocks(answer, "Index"))),)


def _entry(block: Row) -> LogEntry:
    ts = None
    with suppress(ValueError):
        ts = 1000 * timegm(strptime(block.get("Time", ""), "%y-%m-%d %H:%M:%S"))
    who = block.get("ModID", "BMM")
    text = block.get("Info", "") if who == "BMM" else f"{who}: {block.get('Info', '')}"
    return LogEntry(block.get("Code", ""), text, ts)
