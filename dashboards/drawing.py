"""The kinds of panel that the dashboards are made of: curves, bars, numbers, rows of states, tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dashboards.datasets import Dataset
from dashboards.panels import (
    PLAIN,
    SEVERITY,
    UNKNOWN,
    URGENCY_STEPS,
    InfluxQL,
    Json,
    Viz,
    of_column,
    statuses,
    titles,
    urgencies,
)

TOOLTIP = {"mode": "multi", "sort": "desc"}
LEGEND = {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []}
NO_LEGEND = {**LEGEND, "showLegend": False}
SITE_LINK = "/d/fleet-site?var-site=${__data.fields.site}&${ds:queryparam}&${nightly:queryparam}"
MODULE_LINK = (
    "/d/fleet-module?var-site=${__data.fields.site}&var-stack=${__data.fields.stack}"
    "&var-module=${__data.fields.module}&${ds:queryparam}&${nightly:queryparam}"
)
HERE_LINK = MODULE_LINK.replace("${__data.fields.site}", "${site}")


def asked(title: str, *datasets: Dataset, alias: str = "$col", aliases: tuple[str, ...] = ()) -> dict[str, Any]:
    """What every panel has: title, description, targets and unit; several datasets make several targets."""
    named = aliases or (alias,) * len(datasets)
    return {
        "title": title,
        "description": " ".join(dataset.told for dataset in datasets),
        "dataSource": None,
        "targets": [
            InfluxQL(dataset=dataset, alias=name, letter="ABCDEFGH"[at])
            for at, (dataset, name) in enumerate(zip(datasets, named, strict=True))
        ],
        "unit": datasets[0].unit,
    }


def curve(title: str, *datasets: Dataset, alias: str = "$col", fill: int = 0, **more: Any) -> Viz:
    """Lines over time; gaps stay gaps."""
    line = {"drawStyle": "line", "lineWidth": 1, "fillOpacity": fill, "showPoints": "auto", "pointSize": 3}
    shown = {"spanNulls": False, "thresholdsStyle": {"mode": "dashed" if "limits" in more else "off"}}
    options = {"legend": LEGEND, "tooltip": TOOLTIP}
    told = asked(title, *datasets, alias=alias)
    return Viz(viz="timeseries", options=options, custom={**line, **shown}, **told, **more)


def bars(title: str, *datasets: Dataset, alias: str = "$col", stacked: bool = True, **more: Any) -> Viz:
    """A bar for each span of time, one on the other."""
    custom = {"drawStyle": "bars", "lineWidth": 1, "fillOpacity": 80, "showPoints": "never", "barAlignment": 1}
    custom |= {"stacking": {"mode": "normal" if stacked else "none", "group": "A"}}
    options = {"legend": LEGEND, "tooltip": TOOLTIP}
    return Viz(viz="timeseries", options=options, custom=custom, **asked(title, *datasets, alias=alias), **more)


def stat(title: str, *datasets: Dataset, aliases: tuple[str, ...] = (), **more: Any) -> Viz:
    """The last value, large."""
    last = {"calcs": ["lastNotNull"], "fields": "", "values": False}
    look = {"colorMode": "value", "graphMode": "none", "textMode": "auto", "justifyMode": "auto"}
    options = {
        "reduceOptions": last,
        **look,
        "orientation": "auto",
        "wideLayout": True,
        "percentChangeColorMode": "standard",
        "showPercentChange": False,
    }
    return Viz(viz="stat", options=options, **asked(title, *datasets, aliases=aliases), **more)


def judged(title: str, datasets: Mapping[int, Dataset]) -> Viz:
    """How many modules stand at each urgency, the worst first, each in its colour."""
    said = {**SEVERITY, -1: ("not enough data", UNKNOWN)}
    names = tuple(said[value][0] for value in datasets)
    fixed = [of_column(said[v][0], {"color": {"mode": "fixed", "fixedColor": said[v][1]}}) for v in datasets]
    return stat(title, *datasets.values(), aliases=names, overrides=fixed, bounds={"noValue": "0"}, limits=PLAIN)


def states(title: str, dataset: Dataset, *, alias: str, mappings: list[Json], most: int = 20, **more: Any) -> Viz:
    """A row for each thing, coloured by its state over time; `most` rows at once."""
    options = {"showValue": "never", "rowHeight": 0.8, "mergeValues": True, "legend": NO_LEGEND}
    options |= {"tooltip": {"mode": "single", "sort": "none"}, "alignValue": "left", "perPage": most}
    custom = {"lineWidth": 0, "fillOpacity": 85}
    return Viz(
        viz="state-timeline",
        options=options,
        custom=custom,
        mappings=mappings,
        **asked(title, dataset, alias=alias),
        **more,
    )


def days(title: str, dataset: Dataset, *, alias: str, **more: Any) -> Viz:
    """A row for each thing and a square for each day."""
    options = {"showValue": "never", "rowHeight": 0.9, "colWidth": 0.9, "legend": NO_LEGEND, "perPage": 20}
    options |= {"tooltip": {"mode": "single", "sort": "none"}}
    custom = {"lineWidth": 1, "fillOpacity": 80}
    return Viz(viz="status-history", options=options, custom=custom, **asked(title, dataset, alias=alias), **more)


def of_urgency(title: str, dataset: Dataset, alias: str) -> Viz:
    """The worst of each day."""
    return days(title, dataset, alias=alias, mappings=urgencies(), limits=URGENCY_STEPS)


def histogram(title: str, dataset: Dataset, bucket: float, **more: Any) -> Viz:
    """How often which value."""
    options = {"bucketSize": bucket, "bucketOffset": 0, "combine": True, "legend": NO_LEGEND}
    options |= {"tooltip": {"mode": "single", "sort": "none"}}
    custom = {"lineWidth": 1, "fillOpacity": 80}
    return Viz(viz="histogram", options=options, custom=custom, **asked(title, dataset), **more)


def gauges(title: str, dataset: Dataset, **more: Any) -> Viz:
    """A bar for each thing, by its last value."""
    last = {"calcs": ["lastNotNull"], "fields": "", "values": False}
    options = {
        "reduceOptions": last,
        "orientation": "vertical",
        "displayMode": "basic",
        "showUnfilled": True,
        "legend": NO_LEGEND,
    }
    options |= {
        "valueMode": "color",
        "namePlacement": "auto",
        "sizing": "auto",
        "minVizWidth": 8,
        "minVizHeight": 16,
        "maxVizHeight": 300,
    }
    return Viz(viz="bargauge", options=options, **asked(title, dataset, alias="$tag_cell"), **more)


def scatter(title: str, dataset: Dataset, x: Json, y: Json, size: int) -> Viz:
    """A point of `size` pixels for each row; `x` and `y` are the columns of its axes."""
    axes = {name: {"matcher": axis["matcher"]} for name, axis in (("x", x), ("y", y))}
    options = {"mapping": "manual", "series": [axes], "legend": LEGEND, "tooltip": {"mode": "single", "sort": "none"}}
    custom = {"show": "points", "pointSize": {"fixed": size}, "axisPlacement": "auto"}
    custom |= {"scaleDistribution": {"type": "linear"}}
    return Viz(viz="xychart", options=options, custom=custom, overrides=[x, y], **asked(title, dataset))


def table(
    title: str, dataset: Dataset, *columns: Json, by: str = "", up: bool = False, time: str = "", **more: Any
) -> Viz:
    """Rows; `columns` are overrides. Sorted by `by`; the time is hidden unless it is given a heading."""
    options = {
        "showHeader": True,
        "cellHeight": "sm",
        "frameIndex": 0,
        "sortBy": [{"displayName": by, "desc": not up}] if by else [],
    }
    custom = {"align": "auto", "cellOptions": {"type": "auto"}, "inspect": False, "filterable": True}
    shown = {"displayName": time, "custom.width": 170} if time else {"custom.hidden": True}
    overrides = [of_column("Time", shown), *columns]
    return Viz(
        viz="table", options=options, custom=custom, overrides=overrides, limits=PLAIN, **asked(title, dataset), **more
    )


def coloured(column: str, mappings: list[Json], limits: Json | None = None, **more: Any) -> Json:
    """A column whose words or background carry a colour."""
    told: Json = {"mappings": mappings, "custom.cellOptions": {"type": "color-text"}}
    return of_column(column, {**told, **({"thresholds": limits} if limits else {}), **more})


def column(name: str, heading: str, unit: str = "", width: int = 0, **more: Any) -> Json:
    """A column's heading, unit and width."""
    told = {"displayName": heading, **({"unit": unit} if unit else {}), **({"custom.width": width} if width else {})}
    return of_column(name, {**told, **more})


def linked(name: str, url: str, title: str, width: int = 0) -> Json:
    """A column that leads to another dashboard."""
    links = {"links": [{"title": title, "url": url, "targetBlank": False}]}
    return of_column(name, {**links, **({"custom.width": width} if width else {})})


def places(site: bool = True) -> tuple[Json, ...]:
    """The columns site, stack and module, which lead to their dashboards."""
    module = linked("module", MODULE_LINK if site else HERE_LINK, "Open the module", 90)
    stack = of_column("stack", {"custom.width": 80})
    return (*((linked("site", SITE_LINK, "Open the site", 130),) if site else ()), stack, module)


def urgency(name: str = "urgency") -> Json:
    """The column of a verdict's urgency."""
    return coloured(name, urgencies(), URGENCY_STEPS, **{"custom.width": 110, "displayName": "urgency"})


def certain(name: str = "confidence") -> Json:
    """The column that says how sure a finding is."""
    return column(name, "how sure", "percentunit", 90, decimals=0)


def interval(unit: str, limits: Json | None = None) -> tuple[Json, ...]:
    """Value with its interval, and the status that says `not enough data`."""
    plain = {"unit": unit, "decimals": 1, "custom.width": 90}
    value = of_column(
        "value", {**plain, **({"thresholds": limits, "custom.cellOptions": {"type": "color-text"}} if limits else {})}
    )
    status: Json = {"custom.width": 140}
    return (
        coloured("status", statuses(), **status), value,
        of_column("lo", {**plain, "displayName": "at least", "noValue": "-"}),
        of_column("hi", {**plain, "displayName": "at most", "noValue": "-"}),
        certain(), of_column("pattern", {"custom.hidden": True}),
    )  # fmt: skip


def fault_column(name: str = "fault") -> Json:
    """The column of a fault's id, as the catalogue's words."""
    return of_column(name, {"mappings": titles()})
