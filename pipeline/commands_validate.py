"""`cellherd validate`: how right the analyses are, target, figure, interval and verdict a row."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def validate(  # noqa: PLR0913, PLR0917 - each parameter is an option that a person types
    only: Annotated[str | None, typer.Option(help="One fleet, check or data set; --list names them.")] = None,
    seeds: Annotated[
        Literal["test", "tune", "held-back"], typer.Option(help="test to judge, tune to work, held-back at the end.")
    ] = "test",
    nth: Annotated[int, typer.Option(min=0, max=19, help="Which seed of the group.")] = 0,
    modules: Annotated[int | None, typer.Option(min=1, help="Modules of each fleet.")] = None,
    days: Annotated[int | None, typer.Option(min=1, help="Days of each fleet.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Small fleets: minutes instead of hours.")] = False,
    measured: Annotated[Path, typer.Option(help="Folder of measured cells.")] = Path("tests/golden"),
    as_json: Annotated[bool, typer.Option("--json", help="JSON Lines instead of a table.")] = False,
    listed: Annotated[bool, typer.Option("--list", help="Say what there is to judge, and stop.")] = False,
) -> None:
    """Judge the analyses on simulated fleets whose truth is known, and on measured cells.

    Exit code 1 if a figure misses its target. What a run is too short for is "not judged" and fails nothing.

    Example: cellherd validate --quick

    Example: cellherd validate --only trend --modules 24
    """
    from pipeline.validation.judging import Asked, catalogue, judge  # noqa: PLC0415 - Polars is heavy; --help must not wait

    if listed:
        catalogue()
    elif judge(Asked(only, seeds, nth, modules, days, quick, measured), as_json=as_json):
        raise typer.Exit(1)
