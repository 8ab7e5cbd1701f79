"""Values as a panel shows them: its units, decimals, words for values, and colours by threshold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

Json = dict[str, Any]

UNITS: Mapping[str, tuple[str, float, int]] = {
    "percent": (" %", 1, 1),
    "percentunit": (" %", 100, 0),
    "mvolt": (" mV", 1, 0),
    "volt": (" V", 1, 2),
    "amp": (" A", 1, 1),
    "celsius": (" °C", 1, 1),
    "kwatt": (" kW", 1, 2),
    "kwatth": (" kWh", 1, 1),
    "m": (" min", 1, 0),
    "d": (" d", 1, 0),
    "ms": (" s", 0.001, 0),
    "none": ("", 1, 2),
}
"""By Grafana's name of a unit: what is written behind the number, its factor, and usual decimals."""
COLOURS: Mapping[str, str] = {
    "green": "#3f9e4d",
    "yellow": "#b8860b",
    "orange": "#d9730d",
    "red": "#d1293d",
    "text": "#22252b",
    "transparent": "#ffffff00",
    "blue": "#3871dc",
}


@dataclass(frozen=True, slots=True)
class Look:
    """How a column is shown, after the panel's defaults and overrides."""

    heading: str
    unit: str = "none"
    decimals: int | None = None
    mappings: Mapping[str, Json] | None = None
    steps: tuple[Json, ...] = ()
    hidden: bool = False
    coloured: bool = False
    width: int = 0
    nothing: str = ""
    link: str = ""
    colour: str = ""

    def text(self, value: object) -> str:
        """The value in words."""
        if value is None or value == "":
            return self.nothing if value is None else ""
        if self.mappings and (mapped := self.mappings.get(_key(value))):
            return str(mapped.get("text", value))
        if isinstance(value, str):
            return value
        if self.unit == "dateTimeFromNow" or self.heading in {"when", "heard of"}:
            return datetime.fromtimestamp(float(str(value)) / 1000, UTC).strftime("%d %b %H:%M")
        suffix, factor, usual = UNITS.get(self.unit, (f" {self.unit}", 1, 1))
        number = float(str(value)) * factor
        decimals = self.decimals if self.decimals is not None else 0 if number.is_integer() else usual
        return f"{number:,.{decimals}f}{suffix}".replace(",", " ")

    def tint(self, value: object) -> str:
        """The colour of the value, empty where it has none."""
        if self.colour:
            return COLOURS.get(self.colour, self.colour)
        if self.mappings and (mapped := self.mappings.get(_key(value))) and "color" in mapped:
            return _colour(mapped["color"])
        if not isinstance(value, int | float) or not self.steps:
            return ""
        reached = [step for step in self.steps if step.get("value") is None or value >= step["value"]]
        return _colour(reached[-1]["color"])


def _colour(name: str) -> str:
    return COLOURS.get(name, name)


def _key(value: object) -> str:
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def look(panel: Json, column: str) -> Look:
    """How this panel shows a column."""
    config = panel["fieldConfig"]
    told: Json = dict(config["defaults"]) | {"displayName": column}
    for override in config["overrides"]:
        if override["matcher"]["id"] == "byName" and override["matcher"]["options"] == column:
            told |= {entry["id"]: entry["value"] for entry in override["properties"]}
    mappings = {key: value for one in told.get("mappings", []) for key, value in one["options"].items()}
    links, colour = told.get("links") or [{}], told.get("color") or {}
    return Look(
        heading=told["displayName"],
        unit=told.get("unit", "none"),
        decimals=told.get("decimals"),
        mappings=mappings,
        steps=tuple(told.get("thresholds", {}).get("steps", ())),
        hidden=bool(told.get("custom.hidden")),
        coloured="cellOptions" in str(told.keys()) or panel["type"] != "table",
        width=int(told.get("custom.width", 0)),
        nothing=told.get("noValue", ""),
        link=links[0].get("url", ""),
        colour=colour.get("fixedColor", "") if colour.get("mode") == "fixed" else "",
    )
