"""Places panels on Grafana's 24 columns, row by row, and gives each an id that stays when others move."""

from __future__ import annotations

from collections.abc import Iterable
from zlib import crc32

from grafanalib.core import GridPos

from dashboards.panels import Viz

COLUMNS = 24
Line = tuple[int, dict[str, Viz]]
"""A height, and panels by key."""


def panel_id(dashboard: str, key: str) -> int:
    """An id made of the panel's key: messages and links point at it, so it must not depend on the order."""
    return crc32(f"{dashboard}/{key}".encode()) % 1_000_000 + 1


def rows(dashboard: str, *lines: Line) -> Iterable[Viz]:
    """Panels with their places; those without a width share what is left of their line evenly."""
    top = 0
    for height, line in lines:
        even = [panel for panel in line.values() if not panel.width]
        rest = COLUMNS - sum(panel.width for panel in line.values())
        at = 0
        for key, panel in line.items():
            width = panel.width or rest // len(even)
            panel.id = panel_id(dashboard, key)
            panel.gridPos = GridPos(h=height, w=width, x=at, y=top)
            at += width
            yield panel
        top += height
