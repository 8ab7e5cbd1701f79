"""One module, for the person who has to find out what is wrong with it: which cell, since when, which protection?"""

from __future__ import annotations

from typing import Any

from grafanalib.core import Dashboard, Template, Templating, Time, TimePicker

from dashboards.datasets import CELL_NAMES, DATASETS, choices
from dashboards.layout import rows
from dashboards.panels import SOURCE, InfluxQL, Viz, active, fault_names, steps

UID = "fleet-module"
TOOLTIP = {"mode": "multi", "sort": "desc"}
TABLE_LEGEND = {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []}


def module() -> Dashboard:
    """The dashboard `fleet-module`."""
    return Dashboard(
        title="Module",
        uid=UID,
        description="One module: its cells, current, charge, temperatures and faults.",
        tags=["cellherd"],
        timezone="browser",
        editable=False,
        schemaVersion=41,
        graphTooltip=1,
        refresh="1m",
        time=Time("now-48h", "now"),
        timePicker=TimePicker(refreshIntervals=["10s", "1m", "5m", "15m"], timeOptions=[]),
        templating=Templating(list=_variables()),
        panels=list(rows(UID, *_lines())),
    )


def _variables() -> list[Any]:
    site = ("site", "Site", ())
    below = (("stack", "Stack", ("site",)), ("module", "Module", ("site", "stack")))
    source = Template("ds", query="influxdb", type="datasource", label="Data source")
    return [source, *(_variable(name, label, above) for name, label, above in (site, *below))]


def _variable(name: str, label: str, above: tuple[str, ...]) -> Template:
    return Template(name, query=choices(name, *above), type="query", label=label, dataSource=SOURCE, refresh=2, sort=1)


def _lines() -> list[tuple[int, dict[str, Viz]]]:
    spread = steps((50, "yellow"), (100, "red"))
    return [
        (4, {"voltage": _stat("last_seen", "Voltage"), "spread_now": _stat("spread", "Spread", limits=spread)}),
        (10, {"cells": _curve("cells", "Cell voltages", names=CELL_NAMES)}),
        (7, {"spread": _curve("spread", "Spread", limits=spread, fill=15), "current": _curve("current", "Current")}),
        (
            7,
            {"soc": _percent(), "temperatures": _curve("temperatures", "Temperatures", decimals=1)},
        ),
        (7, {"faults": _standing()}),
        (9, {"fault_log": _log()}),
    ]


def _asked(name: str, title: str, **more: Any) -> dict[str, Any]:
    dataset = DATASETS[name]
    return {
        "title": title,
        "description": dataset.meaning,
        "dataSource": None,
        "targets": [InfluxQL(dataset=dataset, **more)],
        "unit": dataset.unit,
    }


def _curve(name: str, title: str, *, fill: int = 0, **more: Any) -> Viz:
    line = {"drawStyle": "line", "lineWidth": 1, "fillOpacity": fill, "showPoints": "auto", "pointSize": 3}
    shown = {"spanNulls": False, "thresholdsStyle": {"mode": "dashed" if "limits" in more else "off"}}
    options = {"legend": TABLE_LEGEND, "tooltip": TOOLTIP}
    return Viz(viz="timeseries", options=options, custom={**line, **shown}, **_asked(name, title), **more)


def _percent() -> Viz:
    return _curve("soc", "State of charge", bounds={"min": 0, "max": 100})


def _stat(name: str, title: str, **more: Any) -> Viz:
    last = {"calcs": ["lastNotNull"], "fields": "", "values": False}
    options = {"reduceOptions": last, "colorMode": "value", "graphMode": "none", "textMode": "auto"}
    return Viz(viz="stat", options=options, decimals=1, **_asked(name, title), **more)


def _standing() -> Viz:
    options = {
        "showValue": "never",
        "rowHeight": 0.7,
        "mergeValues": True,
        "legend": {**TABLE_LEGEND, "showLegend": False},
    }
    asked = _asked("faults", "Faults", alias="$tag_fault")
    custom = {"lineWidth": 0, "fillOpacity": 85}
    options |= {"tooltip": {"mode": "single", "sort": "none"}}
    return Viz(viz="state-timeline", options=options, custom=custom, mappings=active(), names=fault_names(), **asked)


def _log() -> Viz:
    titles = {
        "active": "came or went",
        "text": "the maker's words",
        "code": "code",
        "cell": "cell (from 0)",
        "value": "value",
    }
    custom = {"align": "auto", "cellOptions": {"type": "auto"}, "inspect": False}
    return Viz(
        viz="table",
        options={"showHeader": True, "cellHeight": "sm"},
        custom=custom,
        names=titles,
        **_asked("fault_log", "Came and went"),
    )
