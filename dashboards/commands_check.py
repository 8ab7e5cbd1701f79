"""`cellherd dashboards check` and `render`: does Grafana take them, do all questions get answers, how do they look?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
    from dashboards import checking  # noqa: PLC0415 - grafanalib, Polars and Altair are heavy; --help must not wait

    asked = checking.Asked(influx, token_file, database) if influx else None
    checking.check(asked, checking.Sight(points, choose, days))


def render(
    points: Annotated[Path, typer.Option(help="Folder that `cellherd influx fill --out` wrote.")],
    out: Annotated[Path, typer.Option(help="Folder for the pages.")] = Path("dashboards"),
    choose: Choice = None,
    days: Annotated[int, typer.Option(min=1, help="Days to show.")] = 7,
) -> None:
    """Draw every dashboard as a page of HTML, without Grafana and without InfluxDB.

    Example: cellherd influx fill --out points; cellherd dashboards render --points points --choose site=barn
    """
    from dashboards import checking  # noqa: PLC0415 - as above

    checking.draw(points, out, checking.Sight(points, choose, days))
