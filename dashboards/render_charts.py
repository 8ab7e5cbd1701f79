"""Panels over time and of frequencies as pictures (Altair), with the colours that the panel gives its values."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import altair as alt
import polars as pl
import vl_convert

from dashboards.render_words import UNITS, Json, look

PALETTE = ["#3871dc", "#d9730d", "#3f9e4d", "#8f3bb8", "#b8860b", "#1f9aa8", "#d1293d", "#6b7280", "#a05195", "#4b7f2b"]
DAY_S = 86_400
alt.data_transformers.disable_max_rows()  # what is drawn here is as much as a screen shows
MOST_NAMES = 14
"""Curves beyond which a legend would only hide them."""


def chart(panel: Json, frame: pl.DataFrame, size: tuple[int, int]) -> str:
    """The panel as SVG. `frame` has `at` (UTC ms), `name` and `value`; `size` in pixels."""
    kinds = {
        "state-timeline": _states,
        "status-history": _squares,
        "histogram": _histogram,
        "bargauge": _gauges,
        "xychart": _scatter,
    }
    if panel["type"] == "state-timeline":
        frame = _seen(panel, frame)
    made = kinds.get(panel["type"], _curves)(panel, frame)
    names = frame["name"].n_unique() if panel["type"] == "timeseries" else 0
    width, height = size
    legend = 30 * (1 + min(names, MOST_NAMES) // 6) if 1 < names <= MOST_NAMES else 0
    if panel["type"] in {"state-timeline", "status-history"}:
        height = max(60, min(height, 24 * frame["name"].n_unique() + 40))
    sized = made.properties(width=width - 70, height=max(50, height - 60 - legend)).configure_view(stroke="#e5e7eb")
    styled = sized.configure_axis(labelFontSize=11, titleFontSize=11, gridColor="#eef0f3").configure(autosize="fit")
    svg: str = vl_convert.vegalite_to_svg(styled.properties(width=width, height=max(90, height - 8)).to_json())
    return svg


def _timed(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(pl.col("at").cast(pl.Datetime("ms", "UTC")))


def _curves(panel: Json, frame: pl.DataFrame) -> Any:
    shown = look(panel, "")
    custom = panel["fieldConfig"]["defaults"]["custom"]
    names = frame["name"].unique(maintain_order=True).to_list()
    colours = [look(panel, name).tint(None) or PALETTE[at % len(PALETTE)] for at, name in enumerate(names)]
    titles = [look(panel, name).heading for name in names]
    factor = UNITS.get(shown.unit, ("", 1, 1))[1]
    scaled = frame.with_columns(pl.col("value") * factor)
    told = _timed(scaled.with_columns(pl.col("name").replace_strict(names, titles, return_dtype=pl.String)))
    legend = (
        alt.Legend(orient="bottom", title=None, columns=3, labelLimit=200) if 1 < len(names) <= MOST_NAMES else None
    )
    axis = alt.Axis(title=_unit(shown.unit))
    scale = alt.Scale(zero=custom.get("drawStyle") == "bars", domain=_bounds(panel) or alt.Undefined)
    base = alt.Chart(told).encode(
        x=alt.X("at:T", title=None),
        y=alt.Y("value:Q", axis=axis, scale=scale, stack="zero" if _stacked(panel) else None),
        color=alt.Color("name:N", scale=alt.Scale(domain=titles, range=colours), legend=legend, sort=titles),
    )
    if custom.get("drawStyle") == "bars":
        return alt.layer(_bars(panel, told, base))
    layers: list[Any] = [base.mark_line(strokeWidth=1.2, interpolate="linear")]
    if told.height < 60 * max(1, len(names)):
        layers.append(base.mark_point(size=12, filled=True))
    if custom.get("thresholdsStyle", {}).get("mode") == "dashed":
        layers += _limits(shown.steps)
    return alt.layer(*_band(panel, told), *layers)


def _bars(panel: Json, told: pl.DataFrame, base: Any) -> Any:
    """Each bar as wide as its span of time; days stand side by side where they are not stacked."""
    times = [time.timestamp() for time in told["at"].unique().sort()]
    step = min((b - a for a, b in pairwise(times)), default=DAY_S)
    if step >= DAY_S:
        base = base.encode(x=alt.X("yearmonthdate(at):O", title=None, axis=alt.Axis(format="%d %b", labelOverlap=True)))
        return base.mark_bar() if _stacked(panel) else base.mark_bar().encode(xOffset="name:N")
    return base.mark_bar(size=max(2, round(560 * step / (times[-1] - times[0] + step))))


def _limits(steps: Sequence[Json]) -> list[Any]:
    lines = [step for step in steps if step.get("value") is not None]
    rules = pl.DataFrame({"y": [step["value"] for step in lines], "colour": [step["color"] for step in lines]})
    return [alt.Chart(rules).mark_rule(strokeDash=[4, 4]).encode(y="y:Q", color=alt.Color("colour:N", scale=None))]


def _band(panel: Json, told: pl.DataFrame) -> list[Any]:
    """The area between two curves, where an override asks for it."""
    for override in panel["fieldConfig"]["overrides"]:
        below = {entry["id"]: entry["value"] for entry in override["properties"]}.get("custom.fillBelowTo")
        if below:
            top = told.filter(pl.col("name") == override["matcher"]["options"]).select("at", high="value")
            both = top.join(told.filter(pl.col("name") == below).select("at", low="value"), on="at")
            return [alt.Chart(both).mark_area(opacity=0.2).encode(x="at:T", y="low:Q", y2="high:Q")]
    return []


def _stacked(panel: Json) -> bool:
    stacking = panel["fieldConfig"]["defaults"]["custom"].get("stacking", {})
    return bool(stacking.get("mode") == "normal")


def _bounds(panel: Json) -> list[float] | None:
    defaults = panel["fieldConfig"]["defaults"]
    return [defaults["min"], defaults["max"]] if {"min", "max"} <= defaults.keys() else None


def _unit(unit: str) -> str | None:
    return UNITS.get(unit, (unit, 1, 1))[0].strip() or None


def _tinted(panel: Json, frame: pl.DataFrame) -> pl.DataFrame:
    shown = {name: look(panel, name) for name in frame["name"].unique()}
    rows = zip(frame["name"], frame["value"], strict=True)
    told = [(shown[name].heading, shown[name].tint(value), shown[name].text(value)) for name, value in rows]
    names, tints, texts = zip(*told, strict=True)
    return frame.with_columns(name=pl.Series(names), tint=pl.Series(tints), text=pl.Series(texts))


def _rows(frame: pl.DataFrame, panel: Json) -> pl.DataFrame:
    most = int(panel["options"].get("perPage", 20))
    names = frame["name"].unique(maintain_order=True).to_list()
    return frame.filter(pl.col("name").is_in(names[:most]))


def _seen(panel: Json, frame: pl.DataFrame) -> pl.DataFrame:
    """Without the rows that an override hides since they never go above a value; another, by name, keeps one."""
    most, kept = float("-inf"), []
    for override in panel["fieldConfig"]["overrides"]:
        hide = {entry["id"]: entry["value"] for entry in override["properties"]}.get("custom.hideFrom")
        if hide and hide["viz"]:
            most = override["matcher"]["options"]["value"]
        elif hide:
            kept.append(override["matcher"]["options"])
    return frame.filter((pl.col("value").max().over("name") > most) | pl.col("name").is_in(kept))


def _states(panel: Json, frame: pl.DataFrame) -> Any:
    rows = _tinted(panel, _rows(frame, panel))
    width = rows.sort("at").select(pl.col("at").diff().over("name").median()).item() or 60_000
    ends = rows.sort("at").with_columns(
        end=pl.min_horizontal(pl.col("at").shift(-1).over("name"), pl.col("at") + 2 * width).fill_null(
            pl.col("at") + width
        )
    )
    told = ends.with_columns(pl.col("at", "end").cast(pl.Datetime("ms", "UTC")))
    return alt.Chart(told).mark_bar(height={"band": 0.8}).encode(
        x=alt.X("at:T", title=None),
        x2="end:T",
        y=alt.Y("name:N", title=None, sort=None, axis=alt.Axis(labelLimit=330)),
        color=alt.Color("tint:N", scale=None),
    )  # fmt: skip


def _squares(panel: Json, frame: pl.DataFrame) -> Any:
    rows = _tinted(panel, _rows(frame, panel))
    told = rows.with_columns(day=pl.col("at").cast(pl.Datetime("ms")).dt.strftime("%m-%d"))
    order = told["name"].unique(maintain_order=True).to_list()
    return alt.Chart(told).mark_rect(stroke="white").encode(
        x=alt.X("day:O", title=None, axis=alt.Axis(labelAngle=-45)),
        y=alt.Y("name:N", title=None, sort=order, axis=alt.Axis(labelLimit=200)),
        color=alt.Color("tint:N", scale=None),
    )  # fmt: skip


def _histogram(panel: Json, frame: pl.DataFrame) -> Any:
    step = panel["options"]["bucketSize"]
    x = alt.X("value:Q", bin=alt.Bin(step=step), title=_unit(look(panel, "").unit), axis=alt.Axis(format="~g"))
    return alt.Chart(frame).mark_bar(color=PALETTE[0]).encode(x=x, y=alt.Y("count():Q", title=None))


def _scatter(panel: Json, frame: pl.DataFrame) -> Any:
    axes = panel["options"]["series"][0]
    x, y = (look(panel, axes[name]["matcher"]["options"]) for name in "xy")
    titles = [f"{axis.heading} ({_unit(axis.unit)})" if _unit(axis.unit) else axis.heading for axis in (x, y)]
    return alt.Chart(frame).mark_point(size=20, filled=True, color=PALETTE[0]).encode(
        x=alt.X("at:Q", title=titles[0], scale=alt.Scale(zero=False)),
        y=alt.Y("value:Q", title=titles[1], scale=alt.Scale(zero=False)),
    )  # fmt: skip


def _gauges(panel: Json, frame: pl.DataFrame) -> Any:
    rows = _tinted(panel, frame.sort("name"))
    order = [look(panel, name).heading for name in sorted(frame["name"].unique(), key=lambda n: (len(n), n))]
    base = alt.Chart(rows).encode(x=alt.X("name:N", sort=order, title=None))
    unit = _unit(look(panel, "").unit)
    marks = base.mark_bar().encode(y=alt.Y("value:Q", title=unit), color=alt.Color("tint:N", scale=None))
    return alt.layer(marks, base.mark_text(dy=-7, fontSize=10).encode(y="value:Q", text="text:N"))
