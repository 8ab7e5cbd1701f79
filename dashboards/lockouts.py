"""What keeps coming back, and what precedes it?"""

from __future__ import annotations

from grafanalib.core import Dashboard

from dashboards.drawing import bars, certain, column, days, fault_column, histogram, interval, places, stat, table
from dashboards.frame import MANY, Page, page
from dashboards.layout import Line
from dashboards.panels import PLAIN, Viz, fault_names, steps
from dashboards.questions.lockouts import ASKED

ABOUT = Page("fleet-lockouts", "What keeps coming back, and what precedes it?", MANY, many=True)
NONE = {"noValue": "none"}
RISK = steps((30, "yellow"), (50, "orange"), (80, "red"))


def lockouts() -> Dashboard:
    """The dashboard `fleet-lockouts`."""
    return page(ABOUT, _lines())


def _lines() -> list[Line]:
    count = stat("Lockouts", ASKED["lockout_count"], limits=PLAIN, bounds=NONE)
    modules = stat("Modules locked out", ASKED["lockout_modules"], limits=PLAIN, bounds=NONE)
    by_day = bars("Lockouts by day", ASKED["lockout_days"], alias="$tag_fault", names=fault_names(), bounds=NONE)
    places_ = "$tag_site $tag_stack $tag_module"
    again = steps((2, "orange"), (3, "red"), base="yellow")
    return [
        (4, {"count": count, "modules": modules}),
        (9, {"repeats": _repeats(), "risk": _risk()}),
        (
            9,
            {
                "places": days(
                    "Which module, which day", ASKED["lockout_places"], alias=places_, limits=again, bounds=NONE
                ),
                "by_day": by_day,
            },
        ),
        (
            7,
            {
                "waits": histogram("Days until the next one", ASKED["lockout_waits"], 1, bounds=NONE),
                "hours": histogram("Hour of the day", ASKED["lockout_hours"], 1, bounds=NONE),
                "minutes": histogram("How long they last", ASKED["lockout_minutes"], 10, bounds=NONE),
            },
        ),
        (8, {"halves": _halves()}),
        (11, {"sessions": _sessions()}),
    ]


def _repeats() -> Viz:
    return table(
        "What comes back",
        ASKED["lockout_repeats"],
        *places(),
        fault_column(),
        column("times", "times", width=70),
        column("together", "together", "m", 90, decimals=0),
        column("typical", "typical", "m", 90, decimals=0),
        by="times",
        bounds=NONE,
    )


def _halves() -> Viz:
    return table(
        "Before and after a repair (in the middle of the time shown)",
        ASKED["lockout_halves"],
        *places(),
        column("times before", "lockouts before", decimals=0, noValue="0"),
        column("times after", "lockouts after", decimals=0, noValue="0"),
        column("together before", "locked out before", "m", decimals=0, noValue="0"),
        column("together after", "locked out after", "m", decimals=0, noValue="0"),
        by="lockouts before",
        bounds=NONE,
    )


def _risk() -> Viz:
    shown = interval("percent", RISK)
    return table(
        "Likeliest to come back within 30 days", ASKED["lockout_risk"], *places(), *shown, by="value", bounds=NONE
    )


def _sessions() -> Viz:
    return table(
        "Each lockout and the minutes before it",
        ASKED["lockout_sessions"],
        *places(),
        column("text", "came first", width=260),
        column("cause", "likeliest cause", width=130),
        certain("sure"),
        column("ended", "ended by", width=110),
        column("minutes", "lasted", "m", 80, decimals=0),
        column("soc", "charge", "percent", 80, decimals=0, noValue="-"),
        column("warmest", "warmest", "celsius", 90, decimals=1, noValue="-"),
        column("peak_a", "largest current", "amp", 110, decimals=1, noValue="-"),
        column("spread_mv", "cells apart", "mvolt", 90, decimals=0, noValue="-"),
        column("cell_no", "cell", width=60, noValue="-"),
        column("times", "chattered", width=80),
        by="when",
        time="when",
        bounds=NONE,
    )
