"""The picture in a message: the cells of the module meant, the weak one in front, with the limit that was passed.

An event shows the two hours before it until now; a finding of the night shows its day and the day before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import vl_convert

from cellherd.config import FleetConfig
from pipeline.report import charts, facts
from pipeline.report.curves import NEAR_MV, weak_cell, with_gaps
from pipeline.schema import CELL_COLUMNS
from pipeline.sentences import ENGLISH, say
from pipeline.words import AFTER_MS, BEFORE_MS, Finding

CELLS = charts.PLOTS[0]
FEWEST = 10
WIDTH, HEIGHT = 420, 250
"""Small, so that its letters can be read on a phone; SCALE makes it sharp."""
SCALE, LETTERS = 3, 13
SHADE = 0.09


def painter(store: facts.Tables, fleet: FleetConfig) -> Callable[[Finding], bytes | None]:
    """Draws findings of this archive; None where a finding has no module or its module too few readings."""

    def draw(finding: Finding) -> bytes | None:
        if not finding.get("module"):
            return None
        return _png(finding, lines_of(store, fleet, finding), _since(finding, facts.zone_of(finding["site"], fleet)))

    return draw


def latest(store: facts.Tables, fleet: FleetConfig) -> Callable[[facts.Key], Mapping[str, Any] | None]:
    """Looks up a module's latest values of today and yesterday; None where there are none."""

    def look(key: facts.Key) -> Mapping[str, Any] | None:
        today = datetime.now(facts.zone_of(key[0], fleet)).date()
        rows = facts.readings(store, fleet, today)
        rows = rows.filter(*(pl.col(name) == value for name, value in zip(facts.KEY, key, strict=True)))
        return next(facts.states(rows).iter_rows(named=True), None)

    return look


def lines_of(store: facts.Tables, fleet: FleetConfig, finding: Finding) -> pl.DataFrame:
    """The module's curves on the finding's day and the day before, thinned, in the site's time."""
    day: date = finding["day"]
    rows = facts.readings(store, fleet, day).filter(*(pl.col(key) == finding[key] for key in facts.KEY))
    if ts := finding.get("ts"):
        rows = rows.filter(pl.col("ts").is_between(ts - BEFORE_MS, ts + AFTER_MS))
    return facts.local(facts.curves(rows, facts.states(rows)), facts.zone_of(finding["site"], fleet))


def _limits(finding: Finding, cells: pl.DataFrame) -> list[dict[str, Any]]:
    """The limit that was passed, if it is a cell's voltage and near enough not to flatten the curves."""
    limit = finding.get("threshold")
    low, high = cells.min_horizontal().min(), cells.max_horizontal().max()
    if finding.get("value_unit") != "mV" or limit is None or not low - NEAR_MV < limit < high + NEAR_MV:  # type: ignore[operator]
        return []
    return [{"name": "limit", "t": None, "end": None, "level": limit}]


def _legible(spec: charts.Spec) -> charts.Spec:
    """Larger letters, and millivolts without a sign between the thousands, which is a decimal sign elsewhere."""
    axes = [{**axis, "labelFontSize": LETTERS} for axis in spec.get("axes", [])]
    axes = [{**axis, "format": "d"} if axis.get("scale") == "y" else axis for axis in axes]
    return {**spec, "height": HEIGHT, "axes": axes}


def _since(finding: Finding, zone: ZoneInfo) -> list[charts.Spec]:
    """The time since the fault came, shaded: marks that lie below the lines."""
    if not (ts := finding.get("ts")):
        return []
    wall = datetime.fromtimestamp(ts / 1000, zone).replace(tzinfo=UTC).timestamp() * 1000
    begin, end = {"scale": "x", "value": wall}, {"signal": "width"}
    upright = {"y": {"value": 0}, "y2": {"signal": "height"}}
    shade = {"x": begin, "x2": end, **upright, "fill": {"value": charts.PAPER.act}, "opacity": {"value": SHADE}}
    line = {"x": begin, **upright, "stroke": {"value": charts.PAPER.act}, "strokeWidth": {"value": 1.5}}
    return [{"type": "rect", "encode": {"update": shade}}, {"type": "rule", "encode": {"update": line}}]


def _png(finding: Finding, curves: pl.DataFrame, below: list[charts.Spec]) -> bytes | None:
    present = [name for name in CELL_COLUMNS if name in curves.columns and curves[name].drop_nulls().len()]
    if len(curves) < FEWEST or not present:
        return None
    stands_out = weak_cell(curves)
    cell = finding["cell"] if finding.get("cell") is not None else stands_out[0] if stands_out else None
    table = with_gaps(curves).select("at", *present)
    language = finding.get("language") or ENGLISH
    rows: list[dict[str, Any]] = [
        {"t": at, "k": f"cell {CELL_COLUMNS.index(name) + 1}", "v": value}
        for name in present
        for at, value in table.select("at", name).iter_rows()
    ]
    domain = (curves["at"].min(), curves["at"].max())
    spec = charts.spec(CELLS, charts.PAPER, domain, WIDTH)  # type: ignore[arg-type]
    name = "" if cell is None else f"cell {cell + 1}"
    shown = say(language, "cell", name=(cell or 0) + 1)
    words = say(language, "plot") if cell is None else say(language, "plot_front", cell=shown)
    title = {"text": words, "anchor": "start", "color": charts.PAPER.ink, "fontSize": 15}
    drawn = {**_legible(spec), "marks": [*below, *spec["marks"]], "title": title}
    spec = charts.filled(drawn, rows, _limits(finding, curves.select(present)), name)
    png: bytes = vl_convert.vega_to_png({**spec, "background": "white", "padding": 12}, scale=SCALE)
    return png
