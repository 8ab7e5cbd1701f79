"""State of health over the months, for every module of which stretches from full to empty are known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from html import escape
from typing import Any

import polars as pl

from pipeline.analyses.health import WORN
from pipeline.analyses.soh import WINDOW, monthly, trusted
from pipeline.report.charts import MONTHS
from pipeline.report.curves import packed
from pipeline.report.facts import KEY, Key, Tables

SHOWN, STEP = timedelta(days=400), timedelta(days=14)
FEWEST = 3
"""Points below which there is no trend to see."""
UNIT = ["site", "unit"]
HERD = next(plot.title for plot in MONTHS if plot.name == "herd")
PLACE = '<div class="plot" role="img" aria-label="state of health of every module over time"></div>'

Points = list[dict[str, Any]]
"""`t` (ms, noon UTC), `v`, `lo`, `hi` in percent, in the order of time."""


def over_time(store: Tables, day: date) -> dict[Key, Points]:
    """Each module's state of health every two weeks up to `day`, as the nightly's finding says it, with its 95 % band.

    A battery's history goes with it to the place where it was last. Days without a stretch in the month before are
    left out.
    """
    within = pl.col("day").is_between(day - SHOWN - WINDOW, day)
    days = store.scan("soh").filter(within).sort("day")
    places = days.group_by(UNIT).agg(pl.col("stack", "module").last()).collect().lazy()
    seen = trusted(days).collect()
    if seen.is_empty():
        return {}
    marks = [day - n * STEP for n in range(SHOWN // STEP, -1, -1)]
    told = pl.collect_all([monthly(seen.lazy(), mark).with_columns(mark=pl.lit(mark)) for mark in marks])
    fresh = pl.concat(told).lazy().filter(pl.col("stale") < WINDOW.days)
    rows = fresh.join(places, on=UNIT).sort(*KEY, "mark").select(*KEY, "mark", "soh", "sigma").collect()
    found: dict[Key, Points] = {}
    for site, stack, module, mark, soh, sigma in rows.iter_rows():
        found.setdefault((site, stack, module), []).append(_point(mark, 100 * soh, 196 * sigma))
    return {key: points for key, points in found.items() if len(points) >= FEWEST}


def _point(mark: date, percent: float, half: float) -> dict[str, Any]:
    noon = datetime(mark.year, mark.month, mark.day, 12, tzinfo=UTC)
    numbers = {"v": percent, "lo": percent - half, "hi": percent + half}
    return {"t": int(noon.timestamp() * 1000), **{name: round(value, 2) for name, value in numbers.items()}}


def section(found: Mapping[Key, Points], names: Mapping[str, str]) -> str:
    """All modules in one drawing, those that need a look in front; empty where nothing is known."""
    if not found:
        return ""
    front = standing_out(found)
    rows = [
        {**{name: point[name] for name in ("t", "v")}, "k": _name(key, names), "front": int(key in front)}
        for key, points in found.items()
        for point in points
    ]
    data = {"t": [], "lines": {}, "weak": "", "beside": {"herd": rows}}
    figure = f'<figure class="wide" data-plot="herd"><figcaption>{HERD}</figcaption>{PLACE}</figure>'
    return (
        f'<section aria-labelledby="health" class="months"><h2 id="health">Health over the months</h2>'
        f'<p class="none">{_verdict(found, front, names)}</p><div class="plots card">{figure}</div>'
        f'<script type="application/json">{packed(data)}</script></section>'
    )


def standing_out(found: Mapping[Key, Points]) -> list[Key]:
    """The modules that are surely below the limit; where there is none, the lowest."""
    worn = [key for key, points in found.items() if points[-1]["hi"] < 100 * WORN]
    return worn or [min(found, key=lambda key: found[key][-1]["v"])]


def _verdict(found: Mapping[Key, Points], front: Iterable[Key], names: Mapping[str, str]) -> str:
    said = []
    for key in front:
        first, last = found[key][0], found[key][-1]
        since = datetime.fromtimestamp(first["t"] / 1000, UTC).strftime("%B %Y")
        said.append(f"<bdi>{escape(_name(key, names))}</bdi>: {last['v']:.0f} %, {first['v']:.0f} % in {since}")
    begin = "Below" if found and all(found[key][-1]["hi"] < 100 * WORN for key in front) else "None is surely below"
    return f"{begin} {100 * WORN:.0f} %. " + ("" if begin == "Below" else "The lowest is ") + "; ".join(said) + "."


def _name(key: Key, names: Mapping[str, str]) -> str:
    return f"{names.get(key[0], key[0])} · {key[1]} · {key[2]}"
