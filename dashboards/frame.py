"""What all dashboards share: variables, annotations, the row of links, and how a dashboard is put together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from grafanalib.core import Annotations, Dashboard, Template, Templating, Time, TimePicker

from dashboards.asking import Where, choices
from dashboards.layout import Line, rows
from dashboards.panels import SOURCES, Json

PAGES = {
    "fleet-home": "Fleet",
    "fleet-site": "Site",
    "fleet-module": "Module",
    "fleet-lockouts": "Lockouts",
    "fleet-degradation": "Degradation",
    "fleet-mismatch": "Mismatch",
    "fleet-pipeline": "Pipeline",
}
"""Every dashboard's uid and title, in the order of the links."""
MANY = ("installer", "site")
ONE = ("site", "stack", "module")


@dataclass(frozen=True, slots=True)
class Page:
    """A dashboard without its panels. `chosen` are its variables; `many` where each may be several, or all."""

    uid: str
    about: str
    chosen: tuple[str, ...]
    since: str = "now-30d"
    refresh: str = "5m"
    many: bool = False


def page(about: Page, lines: Sequence[Line]) -> Dashboard:
    """The dashboard with its panels."""
    return Dashboard(
        title=PAGES[about.uid],
        uid=about.uid,
        description=about.about,
        tags=["cellherd"],
        timezone="browser",
        editable=False,
        schemaVersion=41,
        graphTooltip=1,
        refresh=about.refresh,
        time=Time(about.since, "now"),
        timePicker=TimePicker(refreshIntervals=["10s", "1m", "5m", "15m"], timeOptions=[]),
        templating=Templating(list=variables(about)),
        annotations=Annotations(list=[marks(about)]),
        links=list(links(about.uid)),
        panels=list(rows(about.uid, *lines)),
    )


def variables(about: Page) -> list[Template]:
    """Two data sources, then what is chosen, each within what is chosen above it."""
    live = Template("ds", query="influxdb", type="datasource", label="Readings", regex="/^(?!.*night)/i")
    nightly = Template("nightly", query="influxdb", type="datasource", label="Nights", regex="/night/i")
    picked = [_variable(name, about.chosen[:at], about.many) for at, name in enumerate(about.chosen)]
    return [live, nightly, *picked]


def _variable(name: str, above: tuple[str, ...], many: bool) -> Template:
    all_of = {"includeAll": True, "multi": True, "allValue": ".*", "default": "All"}
    several: dict[str, Any] = all_of if many or name == "installer" else {}
    asked = choices("module", name, *above)
    source = SOURCES["live"]
    return Template(name, asked, type="query", label=name.capitalize(), dataSource=source, refresh=2, sort=1, **several)


def marks(about: Page) -> Json:
    """Lockouts as red marks over every curve."""
    whose = " AND ".join(
        Where(name, "=~" if about.many or name == "installer" else "=", f"${name}").influxql() for name in about.chosen
    )
    query = f'SELECT "text" FROM "lockout" WHERE {whose} AND $timeFilter'  # noqa: S608 - our own words; Grafana escapes its variables
    shown = {"textColumn": "text", "tagsColumn": "fault"}
    return {
        "name": "Lockouts",
        "datasource": SOURCES["nightly"],
        "enable": True,
        "hide": False,
        "iconColor": "red",
        "target": {"refId": "Lockouts", "query": query, "queryType": "tags", "fromAnnotations": True, **shown},
    }


def links(uid: str) -> list[Json]:
    """The other dashboards, with what is chosen here."""
    return [
        {
            "type": "link",
            "title": title,
            "url": f"/d/{other}",
            "icon": "dashboard",
            "tooltip": title,
            "tags": [],
            "asDropdown": False,
            "includeVars": True,
            "keepTime": False,
            "targetBlank": False,
        }
        for other, title in PAGES.items()
        if other != uid
    ]
