"""A module's curves as the page carries them: whole numbers, each as the difference to the last, gaps left open."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import polars as pl

from cellherd.faults import catalogue
from pipeline.report.charts import PLOTS, Plot
from pipeline.report.facts import ModuleFacts
from pipeline.schema import CELL_COLUMNS

Numbers = list[int | None]

NEAR_MV = 150
"""A limit this close to the cells' own range is drawn; one further off would only flatten the curves."""
STANDS_OUT_MV = 5
"""A cell that lies further from the others than this, on average, is worth pointing at."""


def with_gaps(curves: pl.DataFrame) -> pl.DataFrame:
    """The same rows with an empty one wherever much more time passed than usual between two of them."""
    times = curves["at"].to_list()
    steps = [b - a for a, b in pairwise(times)]
    if len(steps) < 3:
        return curves
    usual = statistics.median_high(steps)
    holes = [a + usual for (a, b) in pairwise(times) if b - a > 4 * usual]
    if not holes:
        return curves
    empty = pl.DataFrame({"at": holes}, schema={"at": pl.Int64})
    return pl.concat([curves, empty], how="diagonal").sort("at")


def weak_cell(curves: pl.DataFrame) -> tuple[int, float] | None:
    """The cell that stands furthest from the others on average: its index and by how many mV, or None."""
    present = _columns(curves, CELL_COLUMNS)
    if len(present) < 3:
        return None
    # Lists with a missing cell would pull the median; such rows are left out.
    whole = curves.select(present).drop_nulls()
    middle = pl.concat_list(present).list.median()
    means = whole.select((pl.col(name) - middle).mean() for name in present).row(0)
    off = max(range(len(present)), key=lambda i: abs(means[i] or 0))
    return (CELL_COLUMNS.index(present[off]), means[off]) if abs(means[off] or 0) >= STANDS_OUT_MV else None


def limits_near(curves: pl.DataFrame, limits: dict[str, int]) -> list[int]:
    """Those of the device's cell limits (mV) that the cells came near to."""
    present = _columns(curves, CELL_COLUMNS)
    if not present:
        return []
    low = min(curves[name].min() for name in present)  # type: ignore[type-var]
    high = max(curves[name].max() for name in present)  # type: ignore[type-var]
    named = [limits[key] for key in ("cell_min_mv", "cell_max_mv") if key in limits]
    return [limit for limit in named if low - NEAR_MV <= limit <= high + NEAR_MV]  # type: ignore[operator]


def block(facts: ModuleFacts, weak: int | None, limits: dict[str, int]) -> dict[str, Any]:
    """What the page's script draws from: `t`, lines by plot and name, the weak cell, and what lies beside."""
    rows = with_gaps(facts.curves)
    beside = {"cells": [{"level": limit} for limit in limits_near(facts.curves, limits)], "faults": list(_bars(facts))}
    return {
        "t": _differences(rows["at"].to_list()),
        "lines": {plot.name: lines for plot in PLOTS if (lines := _lines(plot, rows))},
        "weak": "" if weak is None else f"cell {weak + 1}",
        "beside": {name: found for name, found in beside.items() if found},
    }


def packed(content: Any) -> str:
    """JSON that may stand inside a <script> element: nothing in it can close the element."""
    return json.dumps(content, separators=(",", ":")).replace("<", "\\u003c").replace("&", "\\u0026")


def _lines(plot: Plot, rows: pl.DataFrame) -> dict[str, Numbers]:
    return {
        f"{plot.word} {plot.columns.index(name) + 1}": _differences(rows[name].to_list())
        for name in _columns(rows, plot.columns)
    }


def _differences(values: Numbers) -> Numbers:
    before, out = 0, []
    for value in values:
        out.append(None if value is None else value - before)
        before = before if value is None else value
    return out


def _columns(curves: pl.DataFrame, names: tuple[str, ...]) -> list[str]:
    return [name for name in names if name in curves.columns and curves[name].drop_nulls().len()]


def _bars(facts: ModuleFacts) -> Iterator[dict[str, Any]]:
    for bar in facts.bars:
        known = catalogue().get(bar.fault)
        title = known.title if known else bar.fault
        yield {"name": title, "t": bar.start, "end": bar.end, "level": known.priority if known else 3}
