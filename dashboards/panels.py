"""Our own panels: grafanalib's ready-made ones write the JSON of Grafana 6; `Viz` writes today's for any core panel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attr import define, field
from grafanalib.core import Panel, Target

from cellherd.faults import catalogue
from dashboards.datasets import Dataset

SOURCE = {"type": "influxdb", "uid": "${ds}"}
"""Always through the variable, so that one file serves any installation."""

Json = dict[str, Any]


@define
class InfluxQL(Target):  # type: ignore[misc]  # grafanalib carries no types
    """One dataset's question."""

    dataset: Dataset = field(kw_only=True)
    alias: str = "$col"

    def to_json_data(self) -> Json:
        """Grafana's form of the query."""
        kind = "table" if self.dataset.table else "time_series"
        shown = {} if self.dataset.table else {"alias": self.alias}
        query = {"query": self.dataset.influxql, "rawQuery": True, "resultFormat": kind}
        return {"refId": self.refId or "A", "datasource": SOURCE, **query, **shown}


@define
class Viz(Panel):  # type: ignore[misc]  # grafanalib carries no types
    """Any core panel. `custom` is its own part of fieldConfig, `names` renames what the query calls its columns."""

    viz: str = field(kw_only=True)
    options: Json = field(factory=dict)
    custom: Json = field(factory=dict)
    unit: str = "none"
    decimals: int | None = None
    bounds: Json = field(factory=dict)
    limits: Json | None = None
    mappings: list[Json] = field(factory=list)
    names: Mapping[str, str] = field(factory=dict)

    def to_json_data(self) -> Json:
        """Grafana's form of the panel, nulls and all; clean.py takes them out."""
        defaults = {"unit": self.unit, "decimals": self.decimals, "thresholds": self.limits or steps(), **self.bounds}
        defaults |= {"custom": self.custom, "mappings": self.mappings, "color": {"mode": _colour(self.viz)}}
        return {
            "id": self.id,
            "type": self.viz,
            "title": self.title,
            "description": self.description,
            "datasource": SOURCE,
            "gridPos": self.gridPos,
            "targets": self.targets,
            "options": self.options,
            "fieldConfig": {
                "defaults": defaults,
                "overrides": [*(_named(*pair) for pair in self.names.items()), *_empty(self.viz)],
            },
        }


def _colour(viz: str) -> str:
    return "palette-classic" if viz == "timeseries" else "thresholds"


def _named(column: str, shown: str) -> Json:
    title = {"id": "displayName", "value": shown}
    return {"matcher": {"id": "byName", "options": column}, "properties": [title]}


def _empty(viz: str) -> list[Json]:
    """Columns that have no value at all stay out of legend and tooltip."""
    nothing = {"id": "byValue", "options": {"reducer": "allIsNull", "op": "gte", "value": 1}}
    hidden = {"id": "custom.hideFrom", "value": {"legend": True, "tooltip": True, "viz": False}}
    return [{"matcher": nothing, "properties": [hidden]}] if viz == "timeseries" else []


def steps(*above: tuple[float, str]) -> Json:
    """Thresholds: green below the first, then each colour from its value on. Colour means severity and nothing else."""
    return {
        "mode": "absolute",
        "steps": [{"color": "green", "value": None}, *({"color": c, "value": v} for v, c in above)],
    }


def fault_names() -> dict[str, str]:
    """Every fault's title by its id, so that a new entry of the catalogue needs no dashboard edit."""
    return {fault.id: fault.title for fault in catalogue().values()}


def active() -> list[Json]:
    """What 0 and 1 mean in a row of faults."""
    shown = {
        "0": {"text": "gone", "color": "transparent", "index": 0},
        "1": {"text": "stands", "color": "red", "index": 1},
    }
    return [{"type": "value", "options": shown}]
