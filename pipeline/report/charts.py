"""The drawings of a module, in Altair: the same ones for the report (colours from the page's CSS) and for a message.

A chart knows nothing of a module: its rows `{t, k, v}` (wall time ms, which line, value), `beside` `{name, t, end,
level}` and the parameter `weak` are put in where it is drawn.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import altair as alt
import vl_convert

from pipeline.schema import CELL_COLUMNS, TEMP_COLUMNS

Spec: TypeAlias = dict[str, Any]
Drawing: TypeAlias = Any
"""A chart of Altair's, whose own methods are annotated with Any."""

_MOMENT = re.compile(r"datetime\((\d+)\)")
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', sans-serif"


@dataclass(frozen=True, slots=True)
class Palette:
    """Colours by what they mean."""

    ink: str
    muted: str
    grid: str
    weak: str
    quiet: str
    line: str
    act: str
    today: str
    later: str


CSS = Palette(
    *(f"var(--{name})" for name in ("ink", "muted", "grid", "weak", "quiet", "line", "act", "today", "later"))
)
"""The page's own colours, so that light, dark and paper are the style sheet's business."""

PAPER = Palette("#1d2624", "#5a6865", "#e1e7e5", "#c2410c", "#8fa09b", "#0f5fa8", "#b42318", "#9a5b00", "#0f5fa8")
"""For a picture in a message."""


LABEL = "utcFormat(datum.value, '%H:%M') == '00:00' ? utcFormat(datum.value, '%a %d') : utcFormat(datum.value, '%H:%M')"


def _time(domain: tuple[int, int]) -> alt.X:
    axis = alt.Axis(title=None, labelOverlap=True, tickCount=6, labelExpr=LABEL)
    return alt.X("t:T", axis=axis, scale=alt.Scale(type="utc", domainMin=domain[0], domainMax=domain[1]))


def _value(**scale: Any) -> alt.Y:
    return alt.Y("v:Q", axis=alt.Axis(title=None, tickCount=5), scale=alt.Scale(**{"zero": False, **scale}))


def _rows() -> alt.NamedData:
    return alt.NamedData(name="rows")


def cells(palette: Palette, domain: tuple[int, int]) -> Drawing:
    """All cells, the weak one in front; limits as dashed lines where they are near."""
    weak = alt.param(name="weak", value="")
    lines = alt.Chart(_rows()).encode(x=_time(domain), y=_value(), detail="k:N")
    quiet = lines.mark_line(strokeWidth=1, opacity=0.7).encode(color=alt.value(palette.quiet))
    front = lines.mark_line(strokeWidth=2.2).encode(color=alt.value(palette.weak)).transform_filter("datum.k == weak")
    limit = (
        alt.Chart(alt.NamedData(name="beside"))
        .mark_rule(strokeDash=[5, 4], color=palette.act)
        .encode(y=alt.Y("level:Q", title=None))
    )
    return (quiet + front + limit).add_params(weak)


def spread(palette: Palette, domain: tuple[int, int]) -> Drawing:
    """Highest minus lowest cell."""
    area = alt.MarkDef(
        type="area", line={"color": palette.line, "strokeWidth": 1.5}, color=palette.line, fillOpacity=0.15
    )
    return alt.Chart(_rows(), mark=area).encode(x=_time(domain), y=_value(zero=True))


def current(palette: Palette, domain: tuple[int, int]) -> Drawing:
    """Current, charging above zero."""
    line = (
        alt.Chart(_rows()).mark_line(strokeWidth=1.5, color=palette.line).encode(x=_time(domain), y=_value(zero=True))
    )
    zero = alt.Chart(alt.InlineData(values=[{"v": 0}])).mark_rule(color=palette.muted, opacity=0.6).encode(y="v:Q")
    return line + zero


def soc(palette: Palette, domain: tuple[int, int]) -> Drawing:
    """State of charge, always on its full scale."""
    line = alt.Chart(_rows()).mark_line(strokeWidth=1.5, color=palette.line)
    return line.encode(x=_time(domain), y=_value(domain=[0, 100]))


def temperatures(palette: Palette, domain: tuple[int, int]) -> Drawing:
    """Each sensor, told apart by dash as well as by place."""
    dash = alt.StrokeDash("k:N", legend=alt.Legend(title=None, orient="top", symbolStrokeColor=palette.ink))
    line = alt.Chart(_rows()).mark_line(strokeWidth=1.5, color=palette.line)
    return line.encode(x=_time(domain), y=_value(), strokeDash=dash)


def faults(palette: Palette, domain: tuple[int, int]) -> Drawing:
    """One bar a fault, from enter to leave, coloured by how urgent it is."""
    level = alt.Scale(domain=[1, 2, 3, 4], range=[palette.act, palette.today, palette.later, palette.muted])
    axis = alt.Axis(title=None, labelLimit=230, ticks=False, domain=False)
    bar = alt.Chart(alt.NamedData(name="beside")).mark_bar(height=12, cornerRadius=2, minBandSize=3)
    return bar.encode(
        x=_time(domain), x2="end:T", y=alt.Y("name:N", axis=axis), color=alt.Color("level:O", scale=level, legend=None)
    )


def _months() -> alt.X:
    axis = alt.Axis(title=None, format="%b %y", labelOverlap=True, tickCount=6)
    return alt.X("t:T", axis=axis, scale=alt.Scale(type="utc"))


def _limit(palette: Palette, level: float) -> Drawing:
    line = alt.Chart(alt.InlineData(values=[{"v": level}])).mark_rule(strokeDash=[5, 4], color=palette.act)
    return line.encode(y="v:Q")


def health(palette: Palette, _domain: tuple[int, int]) -> Drawing:
    """State of health over months with its 95 % band, and the limit of a worn module."""
    points = alt.Chart(alt.NamedData(name="beside"))
    band = points.mark_area(color=palette.line, opacity=0.18).encode(x=_months(), y=_value(), y2="hi:Q")
    line = points.mark_line(strokeWidth=1.8, color=palette.line, point={"color": palette.line, "size": 18})
    return band.encode(y=alt.Y("lo:Q", title=None)) + line.encode(x=_months(), y=_value()) + _limit(palette, 80)


def herd(palette: Palette, _domain: tuple[int, int]) -> Drawing:
    """Every module's state of health, quiet; in front, with their names, those that need a look."""
    lines = alt.Chart(alt.NamedData(name="beside")).encode(x=_months(), y=_value(), detail="k:N")
    quiet = lines.mark_line(strokeWidth=1, opacity=0.7, color=palette.quiet).transform_filter("datum.front == 0")
    front = lines.mark_line(strokeWidth=2.4, color=palette.weak).transform_filter("datum.front == 1")
    return quiet + front + _limit(palette, 80)


@dataclass(frozen=True, slots=True)
class Plot:
    """A drawing: its name on the page, its heading, what a line is, its columns, their factor, its height."""

    name: str
    title: str
    word: str
    columns: tuple[str, ...]
    factor: float
    height: int
    draw: Callable[[Palette, tuple[int, int]], Drawing]


PLOTS = (
    Plot("cells", "Cell voltages, mV", "cell", CELL_COLUMNS, 1, 240, cells),
    Plot("spread", "Spread (highest minus lowest cell), mV", "spread", ("spread_mv",), 1, 110, spread),
    Plot("current", "Current, A (charging above zero)", "current", ("current_ma",), 0.001, 110, current),
    Plot("soc", "State of charge, %", "SOC", ("soc_pm",), 0.1, 110, soc),
    Plot("temperatures", "Temperatures, °C", "sensor", TEMP_COLUMNS, 0.1, 110, temperatures),
    Plot("faults", "Faults", "fault", (), 1, 0, faults),
)

MONTHS = (
    Plot("health", "State of health over the months, % of nominal (95 % band)", "", (), 1, 130, health),
    Plot("herd", "Every module's state of health, % of nominal; dashed: 80 %", "", (), 1, 260, herd),
)
"""What is drawn from daily tables, and not from these two days' readings."""


def spec(plot: Plot, palette: Palette, domain: tuple[int, int], width: int | str = "container") -> Spec:
    """The Vega form of a plot, without data. `faults` grows with the number of its rows."""
    size: Mapping[str, Any] = {"width": width, "height": plot.height or alt.Step(20)}
    drawn = plot.draw(palette, domain).properties(**size).to_dict()
    vega: Spec = _plain_times(vl_convert.vegalite_to_vega({**drawn, "config": _theme(palette)}))
    return {key: value for key, value in vega.items() if key != "$schema"}


def _plain_times(vega: Any) -> Any:
    """The same with `datetime(n)` as n: Vega's interpreter, which does without eval, gets that function wrong."""
    if isinstance(vega, dict):
        moment = _MOMENT.fullmatch(str(vega.get("signal")))
        return int(moment[1]) if moment else {key: _plain_times(value) for key, value in vega.items()}
    return [_plain_times(value) for value in vega] if isinstance(vega, list) else vega


def filled(vega: Spec, rows: list[Spec], beside: list[Spec], weak: str = "") -> Spec:
    """A plot with its data; the page's script does the same in the browser."""
    values = {"rows": rows, "beside": beside}
    data = [{**d, "values": values[d["name"]]} if d["name"] in values else d for d in vega["data"]]
    signals = [{**s, "value": weak} if s["name"] == "weak" else s for s in vega.get("signals", [])]
    return {**vega, "data": data, "signals": signals}


def _theme(palette: Palette) -> Spec:
    colours = {"labelColor": palette.muted, "gridColor": palette.grid}
    lines = {"domainColor": palette.grid, "tickColor": palette.grid, "labelFontSize": 11}
    return {
        "axis": {**colours, **lines},
        "axisX": {"grid": False},
        "legend": {"labelColor": palette.muted, "symbolType": "stroke"},
        "font": FONT,
        "background": "transparent",
        "view": {"stroke": None},
    }
