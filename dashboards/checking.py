"""The checks and the drawing behind `cellherd dashboards check` and `render`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import typer

from cellherd.clock import SystemClock
from cellherd.config import read_secret
from cellherd.errors import CellherdError
from dashboards.answering import Shown
from dashboards.build import DASHBOARDS, dashboard
from dashboards.check_form import against_schema, dead_links, lint, lost, versions
from dashboards.check_queries import Server, faults
from dashboards.datasets import Bucket
from dashboards.panels import Json
from dashboards.points import Points, read
from dashboards.questions import BY_PAGE
from dashboards.render import rendered

DAY = 86_400_000
FOR_MANY = frozenset({"fleet-home", "fleet-lockouts", "fleet-degradation", "fleet-pipeline"})
"""Pages that show everything unless somebody chooses."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What is to be seen: points in files, what is chosen (NAME=VALUE), and how many days back."""

    points: Path | None
    choose: list[str] | None
    days: int


@dataclass(frozen=True, slots=True)
class Asked:
    """An InfluxDB to ask: its address, the file with its token, and the database of readings."""

    url: str
    token_file: str | None
    database: str


def check(asked: Asked | None, sight: Sight) -> None:
    """Say how many errors there are. Raises CellherdError where there is one."""
    boards = [dashboard(make()) for make in DASHBOARDS]
    found = list(_of_form(boards))
    typer.echo(
        f"{len(boards)} dashboards against Grafana {', '.join(versions())}, SDK, rules, links: {len(found)} errors"
    )
    if asked:
        names: dict[Bucket, str] = {"live": asked.database, "nightly": f"{asked.database}_derived"}
        server = Server(asked.url, names, read_secret(asked.token_file) or "")
        told = read(sight.points) if sight.points else None
        shown = Shown(*_span(told, sight.days), _width(sight.days), _chosen(sight.choose))
        wrong = [f"{uid}: {name}: {why}" for uid, name, why in _of_data(server, told, shown)]
        typer.echo(f"{sum(map(len, BY_PAGE.values()))} questions asked of {asked.url}: {len(wrong)} errors")
        found += wrong
    for line in found:
        typer.echo(line, err=True)
    if found:
        raise CellherdError(f"{len(found)} errors in the dashboards; they stand above")


def _of_form(boards: list[Json]) -> Iterator[str]:
    for board in boards:
        for version in versions():
            yield from (f"{board['uid']}: Grafana {version}: {error}" for error in against_schema(board, version))
        yield from (f"{board['uid']}: the SDK loses {key}" for key in lost(board))
        yield from (f"{board['uid']}: {error}" for error in lint(board))
    yield from dead_links(boards)


def _of_data(server: Server, points: Points | None, shown: Shown) -> Iterator[tuple[str, str, str]]:
    for uid, asked in BY_PAGE.items():
        for name, dataset in asked.items():
            whole = Shown(shown.start, shown.end, shown.width, {}) if uid in FOR_MANY else shown
            yield from ((uid, name, why) for why in faults(dataset, server, points, whole))


def draw(points: Path, out: Path, sight: Sight) -> None:
    """Every dashboard as a page of HTML in a folder."""
    told = read(points)
    shown = Shown(*_span(told, sight.days), _width(sight.days), _chosen(sight.choose))
    out.mkdir(parents=True, exist_ok=True)
    for board in [dashboard(make()) for make in DASHBOARDS]:
        whole = Shown(shown.start, shown.end, shown.width, {}) if board["uid"] in FOR_MANY else shown
        path = out / f"{board['uid']}.html"
        path.write_text(rendered(board, told, whole), encoding="utf-8")
        typer.echo(path)


def _width(days: int) -> str:
    """The time that a pixel stands for, about as Grafana chooses it."""
    return "10m" if days <= 1 else "30m" if days <= 3 else "1h"


def _span(points: Points | None, days: int) -> tuple[int, int]:
    """The days before the newest reading; without points before now."""
    newest = points["module"]["ts"].max() if points and "module" in points else SystemClock().wall()
    end = int(str(newest))
    return end - days * DAY, end


def _chosen(pairs: list[str] | None) -> dict[str, str]:
    found = dict(pair.split("=", 1) for pair in pairs or [] if "=" in pair)
    if len(found) < len(pairs or []):
        raise CellherdError("--choose takes NAME=VALUE, as site=barn")
    return found
