"""The picture in a message: the cells of the module meant, over the last two days, the weak one in front."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import polars as pl
import vl_convert

from cellherd.config import FleetConfig
from pipeline.report import charts, facts
from pipeline.report.curves import weak_cell, with_gaps
from pipeline.schema import CELL_COLUMNS
from pipeline.words import Finding

CELLS = charts.PLOTS[0]
FEWEST = 10
WIDTH = 640


def painter(store: facts.Tables, fleet: FleetConfig) -> Callable[[Finding], bytes | None]:
    """Draws findings of this archive; None where a finding has no module or its module too few readings."""

    def draw(finding: Finding) -> bytes | None:
        return _png(finding, lines_of(store, fleet, finding)) if finding.get("module") else None

    return draw


def lines_of(store: facts.Tables, fleet: FleetConfig, finding: Finding) -> pl.DataFrame:
    """The module's curves on the finding's day and the day before, thinned, in the site's time."""
    day: date = finding["day"]
    rows = facts.readings(store, fleet, day).filter(*(pl.col(key) == finding[key] for key in facts.KEY))
    return facts.local(facts.curves(rows, facts.states(rows)), facts.zone_of(finding["site"], fleet))


def _png(finding: Finding, curves: pl.DataFrame) -> bytes | None:
    present = [name for name in CELL_COLUMNS if name in curves.columns and curves[name].drop_nulls().len()]
    if len(curves) < FEWEST or not present:
        return None
    stands_out = weak_cell(curves)
    cell = finding["cell"] if finding.get("cell") is not None else stands_out[0] if stands_out else None
    table = with_gaps(curves).select("at", *present)
    rows: list[dict[str, Any]] = [
        {"t": at, "k": f"cell {CELL_COLUMNS.index(name) + 1}", "v": value}
        for name in present
        for at, value in table.select("at", name).iter_rows()
    ]
    domain = (curves["at"].min(), curves["at"].max())
    spec = charts.spec(CELLS, charts.PAPER, domain, WIDTH)  # type: ignore[arg-type]
    name = "" if cell is None else f"cell {cell + 1}"
    title = {"text": CELLS.title + (f", {name} in front" if name else ""), "anchor": "start", "color": charts.PAPER.ink}
    spec = charts.filled({**spec, "title": title}, rows, [], name)
    png: bytes = vl_convert.vega_to_png({**spec, "background": "white", "padding": 12}, scale=2)
    return png
