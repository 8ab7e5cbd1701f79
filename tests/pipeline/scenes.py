"""Scenarios of the live engine: a file says what a battery did and which events must come, in which order.

A step lasts `for_s`, a reading every `every_s` (10); what it does not say stays as it was. "a..b" runs evenly from a to
b. `cells` is every cell's voltage, `odd` the cells that differ (from 0). `silent_s` is a pause before the step.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from cellherd.faults import brand, brands, catalogue
from cellherd.settings import Module as Entry
from pipeline.live.engine import Key, advance
from pipeline.live.events import Event
from pipeline.live.state import Module
from pipeline.schema import TABLES
from tests.pipeline.fleets import MIDNIGHT, frame, reading

FOLDER = Path(__file__).with_name("scenarios")
QUIET: dict[str, Any] = {
    "cells": 3300, "odd": {}, "n": 16, "current_ma": 0, "soc_pm": 500, "charge_on": 1, "discharge_on": 1,
    "balancing": 0, "temps": [200, 201, 202, 200], "faults": "", "driver": "jbd", "kind": "module",
}  # fmt: skip

FLAG_CELL = {
    **dict.fromkeys(("cell_overvoltage_warning", "cell_overvoltage_protection", "cell_imbalance_warning",
                     "cell_imbalance_protection", "cell_extreme_voltage_lockout"), 3),
    **dict.fromkeys(("cell_undervoltage_warning", "cell_undervoltage_protection", "cell_group_failing",
                     "sense_wire_fault"), 9),
}  # fmt: skip
"""Faults that a device reports of a cell, and the cell that is odd in their scene: 3 is high, 9 is low."""
CUT = {"charge": (0, 1), "discharge": (1, 0), "both": (0, 0)}


@dataclass
class Play:
    """A battery's day as the engine sees it, in as many batches as there are steps (or as `cut` says)."""

    entry: Entry | None = None
    modules: dict[Key, Module] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    late: int = 0

    def show(self, **frames: pl.DataFrame) -> list[Event]:
        registry = {("barn", "s1", "m1"): self.entry} if self.entry else {}
        out = advance(self.modules.get, frames, registry)
        self.modules |= out.modules
        self.events += out.events
        self.late += len(out.late)
        return list(out.events)


def scenes(file: str) -> dict[str, dict[str, Any]]:
    return tomllib.loads((FOLDER / file).read_text())


def telemetry_ids() -> set[str]:
    """Faults that a code of some brand stands for, where a device sends it (and nobody has to type it)."""
    words = [word for name in brands() for word in brand(name).values() if not word.typed]
    return {code.fault for word in words for _, code in word.codes() if code.fault and not code.released}


def flag_steps(fault: str) -> tuple[list[dict[str, Any]], str, int]:
    """A device reports a fault for two minutes: the steps, the side that is cut then, and the cell (-1 = none)."""
    side, cell = catalogue()[fault].cuts, FLAG_CELL.get(fault, -1)
    charge_on, discharge_on = CUT.get(side, (1, 1))
    odd = {"3": 250} if cell == 3 else {"9": -250} if cell == 9 else {}
    said = {"faults": fault, "charge_on": charge_on, "discharge_on": discharge_on, "odd": odd}
    fine = {"faults": "", "charge_on": 1, "discharge_on": 1, "odd": {}}
    return [{"for_s": 60, "soc_pm": 950}, {"for_s": 120, **said}, {"for_s": 120, **fine}], side, cell


def rows(steps: list[dict[str, Any]], begin_ms: int = 0) -> Iterator[dict[str, Any]]:
    """Readings of a scene's steps; records among them come as {"table": .., ...}."""
    said, at = dict(QUIET), begin_ms
    for step in steps:
        own = {name: value for name, value in step.items() if name not in ("for_s", "every_s", "silent_s", "record")}
        said |= own
        at += 1000 * step.get("silent_s", 0)
        if "record" in step:
            yield {"at": at, **step["record"]}
        count = max(1, step["for_s"] // step.get("every_s", 10)) if "for_s" in step else 0
        for i in range(count):
            yield _reading(at, {name: _now(value, i, count) for name, value in said.items()})
            at += 1000 * step.get("every_s", 10)
        said = {name: _now(value, count - 1, count) for name, value in said.items()} if count else said


def _now(value: Any, i: int, count: int) -> Any:
    if isinstance(value, str) and ".." in value:
        begin, end = map(int, value.split(".."))
        return round(begin + (end - begin) * i / max(1, count - 1))
    if isinstance(value, list):
        return [_now(one, i, count) for one in value]
    if isinstance(value, dict):
        return {key: _now(one, i, count) for key, one in value.items()}
    return value


def _reading(at: int, said: dict[str, Any]) -> dict[str, Any]:
    cells = (
        [said["cells"] + (said["odd"].get(str(i), 0)) for i in range(said["n"])] if said["cells"] is not None else []
    )
    temps = {f"t{i:02}": value for i, value in enumerate(said["temps"])}
    row = {name: value for name, value in said.items() if name not in ("cells", "odd", "n", "temps")}
    row["faults"] = None if row["faults"] == "-" else row["faults"]
    return reading(at, cells, **row, **temps)


def play(scene: dict[str, Any], batch: int = 10_000) -> Play:
    """The scene from its first to its last reading, in batches of so many readings."""
    entry = Entry(site="barn", stack="s1", id="m1", **scene["module"]) if "module" in scene else None
    shown = Play(entry)
    waiting: list[dict[str, Any]] = []
    for row in [*rows(scene["step"]), None]:
        if row is None or "table" in row or len(waiting) >= batch:
            if waiting:
                shown.show(reading=frame(waiting))
            waiting = []
        if row is not None and "table" in row:
            shown.show(**{row["table"]: record(row)})
        elif row is not None:
            waiting.append(row)
    return shown


def record(row: dict[str, Any]) -> pl.DataFrame:
    """A record of m1 as its table has it."""
    place = {"edge": "e1", "site": "barn", "stack": "s1", "module": "m1", "unit": "u1", "kind": "module"}
    ts = MIDNIGHT + row["at"]
    told = {name: value for name, value in row.items() if name not in ("at", "table")}
    told |= {"device_ts": MIDNIGHT + told["device_ts"]} if "device_ts" in told else {}
    known = {"stream": "a" * 32, "epoch": "c" * 16, "seq": row["at"], "ts": ts, "to_ts": ts, **place, **told}
    schema = TABLES[row["table"]]
    return pl.DataFrame([{name: known.get(name) for name in schema}], schema=schema)
