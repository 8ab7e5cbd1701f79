"""Our own panels: grafanalib's ready-made ones write the JSON of Grafana 6; `Viz` writes today's for any core panel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attr import define, field
from grafanalib.core import Panel, Target

from cellherd.faults import catalogue
from dashboards.datasets import Bucket, Dataset

SOURCES: dict[Bucket, dict[str, str]] = {
    "live": {"type": "influxdb", "uid": "${ds}"},
    "nightly": {"type": "influxdb", "uid": "${nightly}"},
}
"""Always through a variable, so that one file serves any installation."""
NOT_ENOUGH = "not enough data"
SEVERITY = {3: ("act now", "red"), 2: ("today", "orange"), 1: ("next visit", "yellow"), 0: ("nothing found", "green")}
"""Colour means urgency and nothing else."""
UNKNOWN = "#8e8e8e"

Json = dict[str, Any]


@define
class InfluxQL(Target):  # type: ignore[misc]  # grafanalib carries no types
    """One dataset's question; `alias` names its curves."""

    dataset: Dataset = field(kw_only=True)
    alias: str = "$col"
    letter: str = "A"

    def to_json_data(self) -> Json:
        """Grafana's form of the query."""
        kind = "table" if self.dataset.table else "time_series"
        shown = {} if self.dataset.table else {"alias": self.alias}
        query = {"query": self.dataset.influxql, "rawQuery": True, "resultFormat": kind}
        return {"refId": self.letter, "datasource": SOURCES[self.dataset.bucket], **query, **shown}


@define
class Viz(Panel):  # type: ignore[misc]  # grafanalib carries no types
    """Any core panel. `custom` is its own part of fieldConfig, `names` renames columns, `overrides` adds to them;
    `width` in columns of 24, else lines are shared evenly; `changes` are Grafana's transformations.
    """

    viz: str = field(kw_only=True)
    options: Json = field(factory=dict)
    custom: Json = field(factory=dict)
    unit: str = "none"
    decimals: int | None = None
    bounds: Json = field(factory=dict)
    limits: Json | None = None
    mappings: list[Json] = field(factory=list)
    names: Mapping[str, str] = field(factory=dict)
    overrides: Sequence[Json] = ()
    width: int = 0
    changes: Sequence[Json] = ()

    def to_json_data(self) -> Json:
        """Grafana's form of the panel, nulls and all; clean.py takes them out."""
        defaults = {"unit": self.unit, "decimals": self.decimals, "thresholds": self.limits or steps(), **self.bounds}
        defaults |= {"custom": self.custom, "mappings": self.mappings, "color": {"mode": _colour(self.viz)}}
        return {
            "id": self.id,
            "type": self.viz,
            "title": self.title,
            "description": self.description,
            "datasource": SOURCES[self.targets[0].dataset.bucket],
            "gridPos": self.gridPos,
            "targets": self.targets,
            "options": self.options,
            "transformations": list(self.changes) or None,
            "fieldConfig": {
                "defaults": {**defaults, "noValue": self.bounds.get("noValue", NOT_ENOUGH)},
                "overrides": [*(named(*pair) for pair in self.names.items()), *self.overrides, *_empty(self.viz)],
            },
        }


def _colour(viz: str) -> str:
    return "palette-classic" if viz in {"timeseries", "xychart", "histogram"} else "thresholds"


def named(column: str, shown: str) -> Json:
    """A column under the name that a person knows."""
    return of_column(column, {"displayName": shown})


def of_column(column: str, properties: Json) -> Json:
    """Properties of one column, by Grafana's names of them."""
    told = [{"id": name, "value": value} for name, value in properties.items()]
    return {"matcher": {"id": "byName", "options": column}, "properties": told}


def _empty(viz: str) -> list[Json]:
    """Columns that have no value at all stay out of legend and tooltip."""
    nothing = {"id": "byValue", "options": {"reducer": "allIsNull", "op": "gte", "value": 1}}
    hidden = {"id": "custom.hideFrom", "value": {"legend": True, "tooltip": True, "viz": False}}
    return [{"matcher": nothing, "properties": [hidden]}] if viz == "timeseries" else []


def steps(*above: tuple[float, str], base: str = "green") -> Json:
    """Thresholds: `base` below the first, then each colour from its value on."""
    return {
        "mode": "absolute",
        "steps": [{"color": base, "value": None}, *({"color": c, "value": v} for v, c in above)],
    }


PLAIN = steps(base="text")
"""No colour at all: what is neither good nor bad."""
URGENCY_STEPS = steps((0, "green"), (1, "yellow"), (2, "orange"), (3, "red"), base=UNKNOWN)


def fault_names() -> dict[str, str]:
    """Every fault's title by its id, so that a new entry of the catalogue needs no dashboard edit."""
    return {fault.id: fault.title for fault in catalogue().values()}


def _values(shown: Mapping[str, tuple[str, str | None]]) -> list[Json]:
    options = {
        value: {"text": text, "index": at} | ({"color": colour} if colour else {})
        for at, (value, (text, colour)) in enumerate(shown.items())
    }
    return [{"type": "value", "options": options}]


def active() -> list[Json]:
    """What 0 and 1 mean in a row of faults."""
    return _values({"0": ("gone", "transparent"), "1": ("stands", "red")})


def came_or_went() -> list[Json]:
    """What 0 and 1 mean in a log of faults."""
    return _values({"0": ("went", "green"), "1": ("came", "orange")})


def allowed() -> list[Json]:
    """What 0 and 1 mean of a path of current."""
    return _values({"0": ("cut", "orange"), "1": ("allowed", "green")})


def balances() -> list[Json]:
    """What 0 and 1 mean of a cell's balancing."""
    return _values({"0": ("rests", "transparent"), "1": ("balanced", "blue")})


def urgencies() -> list[Json]:
    """What a verdict's urgency means."""
    told = {str(value): said for value, said in SEVERITY.items()}
    return _values({**told, "-1": (NOT_ENOUGH, UNKNOWN)})


def statuses() -> list[Json]:
    """What a finding's status means."""
    return _values(
        {
            "finding": ("needs a look", "orange"),
            "ok": ("fine", "green"),
            "not_observable": (NOT_ENOUGH, UNKNOWN),
            "low_quality": ("data in doubt", UNKNOWN),
        }
    )


def titles() -> list[Json]:
    """Fault ids as the catalogue's titles, in the colour of their priority."""
    colours = {1: "red", 2: "orange", 3: "yellow", 4: None}
    return _values({fault.id: (fault.title, colours[fault.priority]) for fault in catalogue().values()})
