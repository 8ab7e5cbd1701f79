"""One module, for the person who has to find out what is wrong with it: which cell, since when, which protection?"""

from __future__ import annotations

from grafanalib.core import Dashboard

from dashboards.drawing import column, curve, scatter, stat, states, table
from dashboards.frame import ONE, Page, page
from dashboards.layout import Line
from dashboards.panels import PLAIN, Json, Viz, active, balances, fault_names, of_column, steps
from dashboards.questions.module import ASKED, BALANCED, CELL_NAMES
from dashboards.site import came_and_went, verdict

ABOUT = Page("fleet-module", "One module: its cells, current, charge, temperatures and faults.", ONE, "now-48h", "1m")
UNEVEN = steps((50, "yellow"), (100, "red"))


def module() -> Dashboard:
    """The dashboard `fleet-module`."""
    return page(ABOUT, _lines())


def _lines() -> list[Line]:
    return [
        (
            5,
            {
                "voltage": stat("Voltage", ASKED["last_seen"], decimals=1, limits=PLAIN, width=4),
                "spread_now": stat("Spread", ASKED["spread"], decimals=0, limits=UNEVEN, width=4),
                "verdict": table("What the last night found", ASKED["module_verdict"], *verdict(_unsaid())),
            },
        ),
        (10, {"cells": curve("Cell voltages", ASKED["cells"], names=CELL_NAMES)}),
        (
            7,
            {
                "spread": curve("Spread", ASKED["spread"], limits=UNEVEN, fill=15),
                "current": curve("Current", ASKED["current"], decimals=1),
            },
        ),
        (
            7,
            {
                "soc": curve("State of charge", ASKED["soc"], bounds={"min": 0, "max": 100}),
                "temperatures": curve("Temperatures", ASKED["temperatures"], decimals=1),
            },
        ),
        (10, {"spread_soc": _spread_soc(), "balancing": _balancing()}),
        (7, {"faults": _standing()}),
        (9, {"fault_log": came_and_went(ASKED["fault_log"])}),
    ]


def _unsaid() -> tuple[Json, ...]:
    """Site, stack and module stand above already."""
    return tuple(of_column(name, {"custom.hidden": True}) for name in ONE)


def _spread_soc() -> Viz:
    axes = column("SOC", "state of charge", "percent"), column("spread", "spread", "mvolt", decimals=0)
    return scatter("Spread against charge", ASKED["spread_soc"], *axes, size=3)


def _balancing() -> Viz:
    """A row must stay: Grafana takes a panel whose rows are all hidden for a mistake (grafana/grafana#111073)."""
    never = {"id": "byValue", "options": {"reducer": "max", "op": "lte", "value": 0}}
    hidden = {"id": "custom.hideFrom", "value": {"legend": True, "tooltip": True, "viz": True}}
    shown = {"legend": False, "tooltip": False, "viz": False}
    return states(
        "Balancing",
        ASKED["balancing"],
        alias="$col",
        mappings=balances(),
        most=len(BALANCED),
        overrides=[
            {"matcher": never, "properties": [hidden]},
            of_column(BALANCED[0].name, {"custom.hideFrom": shown}),
        ],
        bounds={"noValue": "this BMS does not say"},
    )


def _standing() -> Viz:
    none = {"noValue": "no fault"}
    return states("Faults", ASKED["faults"], alias="$tag_fault", mappings=active(), names=fault_names(), bounds=none)
