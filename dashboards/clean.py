"""Takes out what grafanalib writes for Grafanas long gone: nulls, empty links, keys that nobody reads any more."""

from __future__ import annotations

from typing import Any

DEAD = frozenset(
    {
        *("__inputs", "inputs", "rows", "sharedCrosshair", "style", "hideControls", "time_options", "hidden"),
        *("tagsQuery", "tagValuesQuery", "useTags", "auto", "auto_min", "auto_count"),
    }
)
"""Keys that no Grafana since version 10 reads."""


def clean(part: Any) -> Any:
    """The same without them; a first threshold step keeps its `value: null`, without which Grafana draws no colour; a
    variable without a choice has no `current`."""
    if isinstance(part, dict):
        if part.keys() == {"selected", "tags", "text", "value"} and part["value"] == "All":
            return {"selected": True, "text": ["All"], "value": ["$__all"]}
        dead = DEAD | ({"current"} if (part.get("current") or {}).get("value") is None else frozenset())
        kept = {key: clean(value) for key, value in part.items() if key not in dead}
        base = {"value"} if part.keys() == {"color", "value"} else set()
        return {key: value for key, value in kept.items() if value is not None or key in base}
    if isinstance(part, list):
        return [clean(value) for value in part if value not in (None, {})]
    return part
