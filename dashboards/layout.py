"""Places panels on Grafana's 24 columns, row by row, and gives each an id that stays when others move."""

from __future__ import annotations

from collections.abc import Iterable
from zlib import crc32

from grafanalib.core import GridPos

from dashboards.panels import Viz

COLUMNS = 24


def panel_id(dashboard: str, key: str) -> int:
    """An id made of the panel's key: messages and links point at it, so it must not depend on the order."""
    return crc32(f"{dashboard}/{key}".encode()) % 1_000_000 + 1


def rows(dashboard: str, *lines: tuple[int, dict[str, Viz]]) -> Iterable[Viz]:
    """Panels with their places; a line is its height and its panels by key, which share the width evenly."""
    top = 0
    for height, line in lines:
        width = COLUMNS // len(line)
        for at, (key, panel) in enumerate(line.items()):
            panel.id = panel_id(dashboard, key)
            panel.gridPos = GridPos(h=height, w=width, x=at * width, y=top)
            yield panel
        top += height
