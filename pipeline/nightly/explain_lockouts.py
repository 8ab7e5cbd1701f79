"""A module's lockout sessions of a day in words: when, what tripped, what lies behind it, and how it ended."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import polars as pl
from rich.table import Table

from cellherd.clock import as_text
from cellherd.faults import catalogue
from pipeline.analyses.evidence import ROOTS
from pipeline.analyses.roots import UNKNOWN
from pipeline.nightly.store import Store
from pipeline.words import quantity

BEHIND = {
    "cell_runs_away": "one cell is full before the others",
    "charge_voltage_high": "the charger's voltage is too high",
    "charger_ignores_limit": "the charger does not follow the BMS",
    "weak_cell": "one cell is empty before the others",
    "soc_drift": "it was emptier than it showed",
    "idle_drain": "something drew from it while it stood unused",
    "emptied": "it was used until it was empty",
    "climate": "the place is too cold",
    "load_heating": "its own current heated it",
    "hot_place": "the place is too hot",
    "sensor": "a temperature sensor is wrong",
    "surge": "a load started with too much current",
    "sharing": "it carried more than its share of the stack's current",
    "charge_limit": "the charger gave more current than is allowed",
    "overload": "the loads drew more than is allowed",
    "wiring_or_inverter": "a short circuit in wiring or inverter; do not switch on again",
    "imbalance": "its cells are out of balance",
    "link": "its own cable or plug",
    "gateway": "the collector, bus or power of the whole site",
    "firmware": "firmware with a known fault",
    "bms": "the BMS itself",
    UNKNOWN: "not clear",
}
"""Each root of pipeline/analyses/evidence.py."""
ENDED = {
    "auto_release": "by itself",
    "reset": "switched off and on",
    "power_cycle": "restarted",
    "manual": "switched by command",
    "unknown": "not known",
}
NUMBERS = {
    "spread": ("cells apart", "mV"),
    "mean_hi": ("mean cell up to", "mV"),
    "mean_lo": ("mean cell down to", "mV"),
    "i_peak": ("largest current", "mA"),
    "t_lo": ("coldest", "0.1 degC"),
    "t_hi": ("warmest", "0.1 degC"),
    "soc_pm": ("charge shown", "0.1 %"),
}
"""What is shown of the minutes around the start."""


def lockouts_of(store: Store, day: date, site: str, unit: str) -> Table | None:
    """A row a session; None on a day without one."""
    mine = (pl.col("day") == day) & (pl.col("site") == site) & (pl.col("unit") == unit)
    rows = store.scan("lockout").filter(mine).sort("start").collect().to_dicts()
    if not rows:
        return None
    table = Table("lockout (UTC)", "for", "tripped", "behind it", "sure", "ended", "around its start", box=None)
    for row in rows:
        lasted = f"{(row['end'] - row['start']) / 60_000:.0f} min"
        ended = ENDED.get(row["ended_by"], row["ended_by"])
        sure = f"{row['confidence']:.0%}" if row["confidence"] is not None else ""
        table.add_row(as_text(row["start"]), lasted, _title(row["fault"]), _behind(row), sure, ended, _around(row))
    return table


def _title(fault: str) -> str:
    known = catalogue().get(fault)
    return known.title if known else fault


def _behind(row: dict[str, Any]) -> str:
    """The root; of an unknown one the two that are likeliest."""
    if row["root"] != UNKNOWN:
        cell = f" (cell {row['cell'] + 1})" if row["cell"] is not None and ROOTS[row["root"]].cell else ""
        return f"{BEHIND.get(row['root'], row['root'])}{cell}"
    perhaps = [BEHIND[name] for name in (row["likeliest"], row["second"]) if name in BEHIND]
    return f"{BEHIND[UNKNOWN]}; perhaps {', or '.join(perhaps)}" if perhaps else BEHIND[UNKNOWN]


def _around(row: dict[str, Any]) -> str:
    said = json.loads(row["evidence"] or "{}")
    return ", ".join(
        f"{label} {quantity(said[name], unit)}" for name, (label, unit) in NUMBERS.items() if said.get(name) is not None
    )
