"""Builds every dashboard into the JSON that Grafana reads. The tree holds the result, and a test that it is fresh."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from grafanalib._gen import DashboardEncoder
from grafanalib.core import Dashboard

from dashboards.clean import clean
from dashboards.degradation import degradation
from dashboards.home import home
from dashboards.lockouts import lockouts
from dashboards.mismatch import mismatch
from dashboards.module import module
from dashboards.pipeline import pipeline
from dashboards.site import site

DASHBOARDS: tuple[Callable[[], Dashboard], ...] = (home, site, module, lockouts, degradation, mismatch, pipeline)


def built() -> dict[str, str]:
    """File name -> JSON text of every dashboard."""
    return {f"{board['uid']}.json": _text(board) for board in (dashboard(make()) for make in DASHBOARDS)}


def dashboard(made: Dashboard) -> dict[str, Any]:
    """A dashboard as plain, clean JSON data."""
    board: dict[str, Any] = clean(json.loads(json.dumps(made.to_json_data(), cls=DashboardEncoder)))
    return board


def _text(board: dict[str, Any]) -> str:
    return json.dumps(board, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def stale(out: Path) -> list[str]:
    """Names of files that are missing in `out` or differ from a fresh build."""
    return [
        name for name, text in built().items() if not (out / name).is_file() or (out / name).read_text("utf-8") != text
    ]


def write(out: Path) -> list[Path]:
    """Write every dashboard into the folder."""
    out.mkdir(parents=True, exist_ok=True)
    paths = [out / name for name in built()]
    for path, text in zip(paths, built().values(), strict=True):
        path.write_text(text, encoding="utf-8")
    return paths
