"""Who ages faster than its siblings, and how sure is that?"""

from __future__ import annotations

from typing import Any

from grafanalib.core import Dashboard

from dashboards.drawing import column, curve, interval, places, scatter, stat, table
from dashboards.frame import MANY, Page, page
from dashboards.layout import Line
from dashboards.panels import PLAIN, UNKNOWN, Viz, of_column, steps
from dashboards.questions.degradation import ASKED

ABOUT = Page(
    "fleet-degradation", "Who ages faster than its siblings, and how sure is that?", MANY, "now-90d", many=True
)
WORN = steps((70, "orange"), (80, "yellow"), (85, "green"), base="red")
WEAK = steps((115, "yellow"), (125, "orange"), (150, "red"))
FADES = steps((-5, "orange"), (-3, "yellow"), (-2, "green"), base="red")
ENDS = steps((1, "orange"), (3, "yellow"), (5, "green"), base="red")


def degradation() -> Dashboard:
    """The dashboard `fleet-degradation`."""
    return page(ABOUT, _lines())


def _lines() -> list[Line]:
    none = {"noValue": "0"}
    return [
        (
            4,
            {
                "seen": stat("Health known", ASKED["health_seen"], limits=PLAIN, bounds=none),
                "unseen": stat("Not enough data", ASKED["health_unseen"], limits=steps(base=UNKNOWN), bounds=none),
            },
        ),
        (
            9,
            {
                "band": _band(),
                "modules": curve(
                    "Health of each module", ASKED["health_modules"], alias="$tag_site $tag_module", decimals=1
                ),
            },
        ),
        (
            9,
            {
                "health": _table("Health", "health_table", "percent", WORN),
                "trend": _table("Change in a year", "trend_table", "percent", FADES),
            },
        ),
        (9, {"life": _table("Years to 80 % of nominal", "life_table", "none", ENDS), "cycles": _cycles()}),
        (
            9,
            {
                "resistance": _table("Worst cell's resistance", "resistance_table", "percent", WEAK),
                "efficiency": _table("Energy that comes back", "efficiency_table", "percent", None),
            },
        ),
    ]


def _table(title: str, name: str, unit: str, limits: dict[str, Any] | None) -> Viz:
    up = name in {"health_table", "trend_table", "life_table"}
    return table(title, ASKED[name], *places(), *interval(unit, limits), by="value", up=up)


def _band() -> Viz:
    edge = {"custom.lineWidth": 0, "color": {"mode": "fixed", "fixedColor": "blue"}}
    filled = of_column("90 %", {**edge, "custom.fillBelowTo": "10 %", "custom.fillOpacity": 25})
    middle = of_column("median", {"custom.lineWidth": 2, "color": {"mode": "fixed", "fixedColor": "blue"}})
    return curve(
        "Median health, and four of five",
        ASKED["health_band"],
        decimals=1,
        overrides=[filled, of_column("10 %", edge), middle],
    )


def _cycles() -> Viz:
    axes = column("cycles", "full cycles", "none"), column("soh", "health", "percent")
    return scatter("Health against cycles", ASKED["health_cycles"], *axes, size=6)
