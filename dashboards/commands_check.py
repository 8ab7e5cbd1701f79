"""`cellherd dashboards check` and `render`: does Grafana take them, do all questions get answers, how do they look?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from cellherd.clock import SystemClock
from cellherd.config import read_secret
from cellherd.errors import CellherdError
from dashboards.answering import Shown
from dashboards.build import DASHBOARDS, dashboard
from dashboards.check_form import against_schema, dead_links, lint, lost, versions
from dashboards.check_queries import Server, faults
from dashboards.panels import Json
from dashboards.points import Points, read
from dashboards.questions import BY_PAGE
from dashboards.render import rendered

DAY = 86_400_000
FOR_MANY = frozenset({"fleet-home", "fleet-lockouts", "fleet-degradation", "fleet-pipeline"})
"""Pages that show everything unless somebody chooses."""
FolderOfPoints = Annotated[Path | None, typer.Option(help="Folder that `cellherd influx fill --out` wrote.")]
Choice = Annotated[list[str] | None, typer.Option("--choose", help="NAME=VALUE for a variable, as site=barn.")]


def check(  # noqa: PLR0913, PLR0917 - each parameter is an option that a person types
    influx: Annotated[str | None, typer.Option(help="Address of an InfluxDB; every question is asked there.")] = None,
    token_file: Annotated[str | None, typer.Option(help="File with a token that may read there.")] = None,
    database: Annotated[
        str, typer.Option(help="Database of readings; _derived is put behind it for nights.")
    ] = "cellherd",
    points: FolderOfPoints = None,
    choose: Choice = None,
    days: Annotated[int, typer.Option(min=1, help="Days to ask for.")] = 7,
) -> None:
    """Hold the dashboards against three versions of Grafana, the official SDK, our rules and, with --influx, real data.

    With --points too, each answer of InfluxDB is compared with the one that Polars gives for the same points.

    Example: cellherd dashboards check --influx http://127.0.0.1:8086 --points points --choose site=barn
    """
    boards = [dashboard(make()) for make in DASHBOARDS]
    found = list(_of_form(boards))
    typer.echo(
        f"{len(boards)} dashboards against Grafana {', '.join(versions())}, SDK, rules, links: {len(found)} errors"
    )
    if influx:
        server = Server(influx, {"live": database, "nightly": f"{database}_derived"}, read_secret(token_file) or "")
        told = read(points) if points else None
        shown = Shown(*_span(told, days), _width(days), _chosen(choose))
        wrong = [f"{uid}: {name}: {why}" for uid, name, why in _of_data(server, told, shown)]
        typer.echo(f"{sum(map(len, BY_PAGE.values()))} questions asked of {influx}: {len(wrong)} errors")
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


def render(
    points: Annotated[Path, typer.Option(help="Folder that `cellherd influx fill --out` wrote.")],
    out: Annotated[Path, typer.Option(help="Folder for the pages.")] = Path("dashboards"),
    choose: Choice = None,
    days: Annotated[int, typer.Option(min=1, help="Days to show.")] = 7,
) -> None:
    """Draw every dashboard as a page of HTML, without Grafana and without InfluxDB.

    Example: cellherd influx fill --out points; cellherd dashboards render --points points --choose site=barn
    """
    told = read(points)
    shown, out_of = Shown(*_span(told, days), _width(days), _chosen(choose)), [dashboard(make()) for make in DASHBOARDS]
    out.mkdir(parents=True, exist_ok=True)
    for board in out_of:
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
