"""Which cell or module is out of step, and is it charge, capacity, resistance or a wire?"""

from __future__ import annotations

from grafanalib.core import Dashboard

from cellherd.reading import CELLS
from dashboards.drawing import MODULE_LINK, certain, column, curve, days, gauges, places, stat, table
from dashboards.frame import Page, page
from dashboards.layout import Line
from dashboards.panels import UNKNOWN, Json, Viz, of_column, steps
from dashboards.questions.mismatch import ASKED
from dashboards.questions.module import ASKED as OF_MODULE

ABOUT = Page(
    "fleet-mismatch",
    "Which cell or module is out of step, and is it charge, capacity, resistance or a wire?",
    ("installer", "site", "stack", "module"),
)
CELL_TAGS = {str(cell): f"cell {cell + 1}" for cell in range(CELLS)}
APART = steps((-50, "orange"), (-20, "yellow"), (-8, "green"), (8, "yellow"), (20, "orange"), (50, "red"), base="red")
"""Millivolts from the median cell, alike in both directions."""


def mismatch() -> Dashboard:
    """The dashboard `fleet-mismatch`."""
    return page(ABOUT, _lines())


def _lines() -> list[Line]:
    none = {"noValue": "0"}
    rests = days(
        "This module's cells at rest, by day", ASKED["rests"], alias="$tag_cell", limits=APART, names=CELL_TAGS
    )
    now = gauges("Its last rest", ASKED["rest_now"], limits=APART, decimals=0, names=CELL_TAGS)
    return [
        (
            4,
            {
                "uneven": stat("Modules out of step", ASKED["uneven_count"], limits=steps((1, "orange")), bounds=none),
                "unseen": stat("Not enough data", ASKED["uneven_unseen"], limits=steps(base=UNKNOWN), bounds=none),
            },
        ),
        (11, {"cells": _cells()}),
        (11, {"rests": rests, "rest_now": now}),
        (9, {"currents": _currents(), "spread": _spread()}),
    ]


def _cells() -> Viz:
    return table(
        "Cells and modules out of step",
        ASKED["uneven_cells"],
        *places(),
        _here(),
        column("cell_no", "cell", width=60, noValue="-"),
        column("pattern", "pattern", width=160),
        column("text", "meaning"),
        column("value", "value", width=80, decimals=0),
        column("lo", "at least", width=80, decimals=0, noValue="-"),
        column("hi", "at most", width=80, decimals=0, noValue="-"),
        column("unit", "unit", width=60),
        certain(),
        column("score", "score", width=70, decimals=0),
        by="score",
        bounds={"noValue": "all cells in step"},
    )


def _here() -> Json:
    """The module leads to its own dashboard, and to its cells below."""
    links = [
        {"title": "Open the module", "url": MODULE_LINK, "targetBlank": False},
        {
            "title": "Show its cells below",
            "url": MODULE_LINK.replace("fleet-module", "fleet-mismatch"),
            "targetBlank": False,
        },
    ]
    return of_column("module", {"links": links})


def _currents() -> Viz:
    return curve("How the stack shares its current", OF_MODULE["stack_currents"], alias="$tag_module", decimals=1)


def _spread() -> Viz:
    return curve(
        "Widest spread of the site's modules", ASKED["spread_days"], alias="$tag_stack $tag_module", decimals=0
    )
