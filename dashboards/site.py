"""One customer's system, for the installer who stands in front of it: is it safe, does it work, how much energy?"""

from __future__ import annotations

from grafanalib.core import Dashboard

from dashboards.datasets import Dataset
from dashboards.drawing import (
    bars,
    certain,
    coloured,
    column,
    curve,
    fault_column,
    places,
    stat,
    states,
    table,
    urgency,
)
from dashboards.frame import Page, page
from dashboards.layout import Line
from dashboards.panels import PLAIN, URGENCY_STEPS, Json, Viz, allowed, came_or_went, of_column, steps, urgencies
from dashboards.questions.site import ASKED

ABOUT = Page("fleet-site", "One site: is it safe, does it work, how much energy?", ("site",), "now-7d", "1m")
EACH = "$tag_stack $tag_module"


def site() -> Dashboard:
    """The dashboard `fleet-site`."""
    return page(ABOUT, _lines())


def _lines() -> list[Line]:
    found = table("What the last night found", ASKED["site_verdict"], *verdict(places(site=False)), by="urgency")
    coverage = curve("Readings that came", ASKED["site_coverage"], alias=EACH, decimals=1)
    return [
        (4, _numbers()),
        (7, {"verdict": found}),
        (6, {"modules": _modules()}),
        *_curves(),
        (7, {"coverage": coverage, "faults": _faults()}),
    ]


def _numbers() -> dict[str, Viz]:
    return {
        "worst": stat("Worst finding", ASKED["site_worst"], limits=URGENCY_STEPS, mappings=urgencies()),
        "reporting": stat("Modules reporting", ASKED["site_reporting"], limits=PLAIN, bounds={"noValue": "0"}),
        "power_now": stat("Power now", ASKED["site_power"], decimals=2, limits=PLAIN),
    }


def _curves() -> list[Line]:
    soc = curve("State of charge", ASKED["site_soc"], alias=EACH, bounds={"min": 0, "max": 100})
    warmest = curve("Warmest sensor", ASKED["site_warmest"], alias=EACH, decimals=1)
    energy = bars("Energy by day", ASKED["site_energy"], stacked=False)
    charging, paths = _path("Charging allowed", "site_charging"), _path("Discharging allowed", "site_paths")
    return [
        (8, {"soc": soc, "power": curve("Power of the site", ASKED["site_power"], fill=15)}),
        (7, {"warmest": warmest, "energy": energy}),
        (6, {"charging": charging, "paths": paths}),
    ]


def verdict(where: tuple[Json, ...]) -> tuple[Json, ...]:
    """The columns of a verdict in words, with health and its interval."""
    percent = {"unit": "percent", "decimals": 1, "custom.width": 80, "noValue": "not enough data"}
    return (
        *where,
        urgency(),
        column("text", "what", width=220),
        column("numbers", "numbers", width=200),
        column("why", "why"),
        column("todo", "do first", width=200),
        column("since_days", "for", "d", 60),
        column("cell_no", "cell", width=60, noValue="-"),
        certain(),
        of_column("soh", {**percent, "displayName": "health", "custom.width": 110}),
        of_column("soh_lo", {**percent, "displayName": "at least", "noValue": "-"}),
        of_column("soh_hi", {**percent, "displayName": "at most", "noValue": "-"}),
        of_column(
            "lockout_pc",
            {**percent, "displayName": "locks out again", "decimals": 0, "noValue": "-", "custom.width": 110},
        ),
        of_column("unlike", {"custom.hidden": True}),
    )


def _modules() -> Viz:
    spread: Json = {"thresholds": steps((50, "yellow"), (100, "red")), "custom.cellOptions": {"type": "color-text"}}
    return table(
        "Modules now",
        ASKED["site_modules"],
        *places(site=False),
        column("SOC", "charge", "percent", decimals=0),
        column("voltage", "voltage", "volt", decimals=2),
        column("current", "current", "amp", decimals=1),
        column("spread", "cell spread", "mvolt", decimals=0, **spread),
        column("warmest", "warmest", "celsius", decimals=1),
        coloured("charging allowed", allowed()),
        coloured("discharging allowed", allowed()),
    )


def _path(title: str, name: str) -> Viz:
    return states(title, ASKED[name], alias=EACH, mappings=allowed())


def _faults() -> Viz:
    return came_and_went(ASKED["site_faults"], *places(site=False))


def came_and_went(asked: Dataset, *where: Json) -> Viz:
    """The table of faults as they came and went; `where` are the columns that tell whose."""
    return table(
        "Came and went",
        asked,
        *where,
        fault_column(),
        coloured("active", came_or_went(), displayName="came or went"),
        column("text", "the maker's words"),
        column("cell", "cell", width=60, decimals=0, noValue="-"),
        column("code", "code", noValue="-"),
        column("value", "value", noValue="-"),
        by="when",
        time="when",
        bounds={"noValue": "no fault"},
    )
