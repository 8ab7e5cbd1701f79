"""Can what is shown be trusted? Collectors, polls, waiting readings, nights."""

from __future__ import annotations

from grafanalib.core import Dashboard

from dashboards.drawing import SITE_LINK, bars, coloured, column, curve, days, linked, stat, table
from dashboards.frame import MANY, Page, page
from dashboards.layout import Line
from dashboards.panels import PLAIN, Viz, of_column, steps
from dashboards.questions.pipeline import ASKED

ABOUT = Page("fleet-pipeline", "Can what is shown be trusted?", MANY, "now-7d", "1m", many=True)
CAME = steps((80, "yellow"), (95, "green"), base="orange")


def pipeline() -> Dashboard:
    """The dashboard `fleet-pipeline`."""
    return page(ABOUT, _lines())


def _lines() -> list[Line]:
    letters = stat("Dead letters", ASKED["dead_letters"], limits=steps((1, "orange")), bounds={"noValue": "0"})
    online = stat("Collectors online", ASKED["edges_online"], limits=PLAIN, bounds={"noValue": "0"})
    coverage = days("Readings that came", ASKED["coverage_days"], alias="$tag_site", limits=CAME)
    return [
        (4, {"online": online, "letters": letters}),
        (9, {"edges": _edges(), "clocks": _clocks()}),
        *((7, pair) for pair in _pairs()),
        (9, {"coverage": coverage, "nights": _nights()}),
    ]


def _pairs() -> list[dict[str, Viz]]:
    each = "$tag_edge"
    return [
        {
            "waiting": curve("Readings that wait", ASKED["edge_waiting"], alias=each),
            "age": curve("Oldest that waits", ASKED["edge_age"], alias=each),
        },
        {
            "ok": bars("Polls answered", ASKED["polls_ok"]),
            "bad": bars("Polls not answered", ASKED["polls_bad"], alias=each),
        },
        {
            "readings": bars("Readings stored", ASKED["readings"]),
            "dead": curve("Dead letters", ASKED["dead_letters"]),
        },
        {
            "messages": bars("Messages to people", ASKED["messages"], stacked=False),
            "night_time": curve("What a night takes", ASKED["night_time"]),
        },
    ]


def _nights() -> Viz:
    return days("Modules judged", ASKED["nights"], alias="$tag_site", limits=steps((1, "green"), base="red"))


def _edges() -> Viz:
    on = [
        {
            "type": "value",
            "options": {
                "0": {"text": "away", "color": "orange", "index": 0},
                "1": {"text": "online", "color": "green", "index": 1},
            },
        }
    ]
    columns = (
        linked("site", SITE_LINK, "Open the site"),
        of_column("Time", {"unit": "dateTimeFromNow"}),
        coloured("online", on),
        column("version", "version", noValue="-"),
        column("oldest", "oldest waits for", "ms"),
    )
    return table("Collectors", ASKED["edges"], *columns, by="waiting", time="heard of", width=18)


def _clocks() -> Viz:
    return table("Clocks", ASKED["clocks"], linked("site", SITE_LINK, "Open the site"), column("clock", "time from"))
