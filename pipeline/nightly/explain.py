"""The numbers behind a module's verdict on a day, as tables for the terminal. Volts, amperes, cells from 1."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from typing import Any

import polars as pl
from rich.console import RenderableType
from rich.table import Table

from cellherd.errors import CellherdError
from pipeline.analyses.soh import WINDOW
from pipeline.analyses.spread import percentile
from pipeline.nightly.explain_lockouts import lockouts_of
from pipeline.nightly.store import Store
from pipeline.quality import said

Row = dict[str, Any]


def explained(store: Store, day: date, module: str, sites: list[str]) -> Iterator[RenderableType]:
    """The day in numbers, the spread by band, the cells, and each verdict with its reasons.

    `module` is a unit, or as much of site/stack/module as is needed. Raises CellherdError where none or several match.
    """
    row = _the_one(store, day, module, sites)
    mine = (pl.col("day") == day) & (pl.col("site") == row["site"]) & (pl.col("unit") == row["unit"])
    yield f"{row['site']}/{row['stack']}/{row['module']} (unit {row['unit']}) on {day}"
    yield _day(row)
    yield _spread(store.scan("spread_hist").filter(mine))
    yield _cells(store.scan("cell_day").filter(mine).sort("cell").collect())
    yield _capacity(store, row, day)
    if (locked := lockouts_of(store, day, row["site"], row["unit"])) is not None:
        yield locked
    yield _verdicts(store.scan("finding").filter(mine).sort("analysis", "pattern").collect())


def _the_one(store: Store, day: date, module: str, sites: list[str]) -> Row:
    name = pl.concat_str("site", "stack", "module", separator="/")
    asked = (pl.lit("/") + name).str.ends_with("/" + module) | (pl.col("unit") == module)
    within = (pl.col("day") == day) & pl.col("site").is_in(sites)
    rows = store.scan("module_day").filter(within & asked).with_columns(name=name).collect().to_dicts()
    if len(rows) == 1:
        return rows[0]
    if rows:
        raise CellherdError(f"{module!r} may be {' or '.join(sorted(r['name'] for r in rows))}; write more of it")
    raise CellherdError(f"no module {module!r} on {day}; has `cellherd nightly --day {day}` run?")


def _day(row: Row) -> Table:
    table = Table("of the day", "", box=None)
    doubts = "; ".join(said(row["dq"])) or "nothing to object to"
    table.add_row("readings", f"{row['n']} of {row['expected']}, longest gap {row['max_gap_ms'] / 60_000:.1f} min")
    table.add_row("charged", f"{_in(row['charge_mah'], 1000, 'Ah')}, {_in(row['charge_wh'], 1000, 'kWh')}")
    table.add_row("discharged", f"{_in(row['discharge_mah'], 1000, 'Ah')}, {_in(row['discharge_wh'], 1000, 'kWh')}")
    for what, name, over, unit in (
        ("state of charge", "soc_pm", 10, "%"),
        ("temperature", "temp_dc", 10, "°C"),
        ("current", "current_ma", 1000, "A"),
    ):
        low, mean, high = (_in(row[f"{name}_{part}"], over, unit) for part in ("min", "mean", "max"))
        table.add_row(what, f"{low} to {high}, mean {mean}")
    table.add_row("data quality", doubts)
    return table


def _spread(hist: pl.LazyFrame) -> Table:
    table = Table("cell spread", "half below", "95 % below", "99 % below", "readings", box=None)
    by = ["band"]
    counts = hist.group_by(by).agg(pl.col("n").sum())
    for share in (0.5, 0.95, 0.99):
        counts = counts.join(percentile(hist, share, by).rename({"spread_mv": str(share)}), on=by)
    for row in counts.sort("band", descending=True).collect().to_dicts():
        table.add_row(row["band"], *(f"{row[str(share)]} mV" for share in (0.5, 0.95, 0.99)), str(row["n"]))
    return table


def _cells(cell_day: pl.DataFrame) -> Table:
    table = Table(
        "cell", "lowest", "highest", "first full", "last full", "first empty", "off the mean", "jumps", box=None
    )
    for row in cell_day.to_dicts():
        volts = [f"{row[name] / 1000:.3f} V" for name in ("min_mv", "max_mv")]
        counts = [str(row[name]) for name in ("top_first", "top_last", "bottom_first", "mid_far", "jumps")]
        table.add_row(str(row["cell"] + 1), *volts, *counts)
    return table


def _capacity(store: Store, row: Row, day: date) -> Table:
    """How the state of health came about: the last 30 days' stretches from full to empty, and what they gave."""
    table = Table("full to empty, 30 days", "stretches", "median cell", "weakest cell", "offset taken off", box=None)
    mine = (pl.col("site") == row["site"]) & (pl.col("unit") == row["unit"])
    recent = mine & pl.col("day").is_between(day - WINDOW, day, closed="right")
    cells = store.scan("capacity").filter(recent).group_by("method", "cell")
    held = cells.agg(pl.col("mah").median(), pl.col("offset_ma").median(), n=pl.len()).collect()
    for (method,), rows in held.sort("method", "mah").group_by("method", maintain_order=True):
        weakest = f"cell {rows['cell'][0] + 1}: {_in(rows['mah'][0], 1000, 'Ah')}"
        offset = rows["offset_ma"].median()
        median, taken = rows["mah"].median(), offset if isinstance(offset, float) else None
        told = _in(median if isinstance(median, float) else None, 1000, "Ah")
        table.add_row(str(method).replace("_", " "), str(rows["n"].max()), told, weakest, _in(taken, 1, "mA"))
    table.add_row("nominal", "", _in(row["nominal_mah"], 1000, "Ah"), "", "")
    return table


def _verdicts(findings: pl.DataFrame) -> Table:
    table = Table("question", "verdict", "value", "limit", "sure", "reasons", box=None)
    for row in findings.to_dicts():
        numbers = [_in(row[name], 1, row["value_unit"] or "") for name in ("value", "threshold")]
        reasons = ", ".join(entry["id"].replace("_", " ") for entry in json.loads(row["reasons"] or "[]"))
        cell = f", cell {row['cell'] + 1}" if row["cell"] is not None else ""
        question = f"{row['analysis']}: {row['pattern'].replace('_', ' ')}"
        table.add_row(question, row["status"].replace("_", " ") + cell, *numbers, f"{row['confidence']:.0%}", reasons)
    return table


def _in(value: float | None, over: float, unit: str) -> str:
    return "not said" if value is None else f"{value / over:.{0 if over == 1 else 2}f} {unit}".strip()
