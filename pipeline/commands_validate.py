"""`cellherd validate`: how right the analyses are, target, figure, interval and verdict a row."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from math import inf, isfinite, isnan
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.progress import Progress

from cellherd.errors import CellherdError
from pipeline.simulation.fleet import simulate
from pipeline.validation.checks import CHECKS, FILES, FLEETS, MADE, SEEDS, Fleet, chosen, names, plan_of
from pipeline.validation.replay import Replayed, replay
from pipeline.validation.row import Row

Judged = tuple[str, Row]
"""The fleet or the data, and one of its rows."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be judged, and how large."""

    only: str | None
    seed: int
    modules: int | None
    days: int | None
    quick: bool
    measured: Path


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
    if listed:
        _list()
        return
    if only is not None and only not in names():
        raise CellherdError(f"nothing to validate is called {only!r}; there are {', '.join(names())}")
    rows = []
    for name, row in judgements(Asked(only, SEEDS[seeds][nth], modules, days, quick, measured)):
        rows.append(row)
        typer.echo(_as_json(name, row) if as_json else _as_text(name, row))
    missed, unjudged = (sum(verdict(row) == said for row in rows) for said in ("MISSED", "not judged"))
    if not as_json:
        typer.echo(f"{len(rows)} rows: {len(rows) - missed - unjudged} ok, {missed} missed, {unjudged} not judged")
    if missed:
        raise typer.Exit(1)


def judgements(asked: Asked) -> Iterator[Judged]:
    """Each row as soon as it is known; measured cells first, for they are quick."""
    for name, (file, judge) in FILES.items():
        if asked.only in (None, name, "measured"):
            path = asked.measured / file
            if not path.exists():
                raise CellherdError(f"no measured cells at {path}; name the folder of tests/golden by --measured")
            yield from ((name, row) for row in judge(path))
    for name, make in MADE.items():
        if asked.only in (None, name):
            yield from ((name, row) for row in make(asked.seed, asked.quick))
    for name, judges in chosen(asked.only).items():
        done = _replayed(name, FLEETS[name], asked)
        yield from ((name, row) for judge in judges for row in judge(done, FLEETS[name]))


def _replayed(name: str, fleet: Fleet, asked: Asked) -> Replayed:
    small = fleet.quick if asked.quick else (None, None)
    plan = plan_of(fleet, asked.seed, (asked.modules or small[0], asked.days or small[1]))
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(f"{name}: {fleet.about}", total=plan.days)
        return replay(simulate(plan), plan.chemistry, lambda done: bar.update(task, completed=done))


def verdict(row: Row) -> str:
    """In a word."""
    return "not judged" if isnan(row.figure) else "ok" if row.ok else "MISSED"


def _as_text(name: str, row: Row) -> str:
    figures = f"{row.figure:8.3f}  ({row.lo:.3f} to {row.hi:.3f})"
    return f"{name:<10}{row.name:<48}{_target(row):>12} {row.unit:<2}{figures:<32}{verdict(row)}"


def _target(row: Row) -> str:
    low, high = row.target
    return f">= {low:g}" if high == inf else f"<= {high:g}" if low in (0, -inf) else f"{low:g} to {high:g}"


def _as_json(name: str, row: Row) -> str:
    target = [limit if isfinite(limit) else None for limit in row.target]
    numbers = {k: None if isinstance(v, float) and not isfinite(v) else v for k, v in asdict(row).items()}
    return json.dumps({"on": name, **numbers, "target": target, "verdict": verdict(row)})


def _list() -> None:
    for title, entries in (("data", [*FILES, "measured", *MADE]), ("checks", list(CHECKS))):
        typer.echo(f"{title}: {', '.join(entries)}")
    for name, fleet in FLEETS.items():
        typer.echo(f"{name:<10}{fleet.plan.modules} modules, {fleet.plan.days} days: {fleet.about}")
