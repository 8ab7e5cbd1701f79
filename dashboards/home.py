"""The fleet in the morning: where do I act first?"""

from __future__ import annotations

from grafanalib.core import Dashboard

from dashboards.drawing import (
    SITE_LINK,
    bars,
    certain,
    column,
    judged,
    linked,
    of_urgency,
    places,
    stat,
    table,
    urgency,
)
from dashboards.frame import MANY, Page, page
from dashboards.layout import Line
from dashboards.panels import PLAIN, Viz, fault_names, of_column, steps
from dashboards.questions.home import ASKED

ABOUT = Page("fleet-home", "Where do I act first? The whole fleet, the most urgent module on top.", MANY, many=True)
LOW = steps((10, "orange"), (20, "green"), base="red")
CAME = steps((80, "yellow"), (95, "green"), base="orange")


def home() -> Dashboard:
    """The dashboard `fleet-home`."""
    return page(ABOUT, _lines())


def _lines() -> list[Line]:
    verdicts = {3: ASKED["act_now"], 2: ASKED["today"], 1: ASKED["next_visit"], 0: ASKED["nothing_found"]}
    none = {"noValue": "0"}
    return [
        (
            4,
            {
                "verdicts": judged("Modules by what they need", {**verdicts, -1: ASKED["not_judged"]}),
                "cut_off": stat("Cut off now", ASKED["cut_off"], limits=steps((1, "red")), bounds=none, width=3),
                "sites": stat("Sites reporting", ASKED["sites_reporting"], limits=PLAIN, bounds=none, width=3),
                "modules": stat("Modules reporting", ASKED["modules_reporting"], limits=PLAIN, bounds=none, width=3),
                "coverage": stat("Readings that came", ASKED["coverage"], limits=CAME, decimals=1, width=3),
            },
        ),
        (12, {"worklist": _worklist()}),
        (
            11,
            {
                "site_days": of_urgency("Worst of each night", ASKED["site_days"], "$tag_site"),
                "faults_by_day": _faults(),
            },
        ),
        (9, {"lowest_soc": _lowest(), "last_heard": _heard()}),
    ]


def _worklist() -> Viz:
    return table(
        "Worklist",
        ASKED["worklist"],
        *places(),
        urgency(),
        column("text", "what", width=260),
        column("numbers", "numbers", width=230),
        column("why", "why"),
        column("todo", "do first", width=230),
        column("since_days", "for", "d", 60),
        certain(),
        column("lockout_pc", "locks out again", "percent", 110, decimals=0, noValue="-"),
        column("score", "score", width=70, decimals=0),
        by="score",
        bounds={"noValue": "nothing needs you"},
    )


def _faults() -> Viz:
    return bars(
        "Faults that came", ASKED["faults_by_day"], alias="$tag_fault", names=fault_names(), bounds={"noValue": "none"}
    )


def _lowest() -> Viz:
    gauge = {"type": "gauge", "mode": "basic", "valueDisplayMode": "text"}
    soc = {"unit": "percent", "min": 0, "max": 100, "decimals": 0, "thresholds": LOW, "custom.cellOptions": gauge}
    return table("Lowest charge", ASKED["lowest_soc"], *places(), of_column("SOC", soc), by="SOC", up=True)


def _heard() -> Viz:
    site = linked("site", SITE_LINK, "Open the site")
    ago = of_column("Time", {"unit": "dateTimeFromNow"})
    volts = column("voltage", "voltage then", "volt", decimals=1)
    return table("Longest silent", ASKED["last_heard"], site, volts, ago, by="heard of", up=True, time="heard of")
