"""Every figure of the analyses beside its target: measured cells, made ones, and simulated fleets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from math import inf, isfinite, isnan
from pathlib import Path

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
    seeds: str
    nth: int
    modules: int | None
    days: int | None
    quick: bool
    measured: Path


def judge(asked: Asked, *, as_json: bool) -> int:
    """Say each row as soon as it is known. Returns how many missed their target. Raises CellherdError."""
    if asked.only is not None and asked.only not in names():
        raise CellherdError(f"nothing to validate is called {asked.only!r}; there are {', '.join(names())}")
    rows = []
    for name, row in judgements(asked):
        rows.append(row)
        typer.echo(_as_json(name, row) if as_json else _as_text(name, row))
    missed, unjudged = (sum(verdict(row) == said for row in rows) for said in ("MISSED", "not judged"))
    if not as_json:
        typer.echo(f"{len(rows)} rows: {len(rows) - missed - unjudged} ok, {missed} missed, {unjudged} not judged")
    return missed


def judgements(asked: Asked) -> Iterator[Judged]:
    """Each row as soon as it is known; measured cells first, for they are quick."""
    for name, (file, of) in FILES.items():
        if asked.only in (None, name, "measured"):
            path = asked.measured / file
            if not path.exists():
                raise CellherdError(f"no measured cells at {path}; name the folder of tests/golden by --measured")
            yield from ((name, row) for row in of(path))
    for name, make in MADE.items():
        if asked.only in (None, name):
            yield from ((name, row) for row in make(SEEDS[asked.seeds][asked.nth], asked.quick))
    for name, judges in chosen(asked.only).items():
        done = _replayed(name, FLEETS[name], asked)
        yield from ((name, row) for one in judges for row in one(done, FLEETS[name]))


def _replayed(name: str, fleet: Fleet, asked: Asked) -> Replayed:
    small = fleet.quick if asked.quick else (None, None)
    plan = plan_of(fleet, SEEDS[asked.seeds][asked.nth], (asked.modules or small[0], asked.days or small[1]))
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(f"{name}: {fleet.about}", total=plan.days)
        return replay(
            fleet.through(simulate(plan), plan), plan.chemistry, lambda done: bar.update(task, completed=done)
        )


def verdict(row: Row) -> str:
    """In a word."""
    return "not judged" if isnan(row.figure) else "ok" if row.ok else "MISSED"


def _as_text(name: str, row: Row) -> str:
    figures = f"{row.figure:8.3f}  ({row.lo:.3f} to {row.hi:.3f})"
    return f"{name:<13} {row.name:<48} {_target(row):>12} {row.unit:<2} {figures:<32} {verdict(row)}"


def _target(row: Row) -> str:
    low, high = row.target
    return f">= {low:g}" if high == inf else f"<= {high:g}" if low in (0, -inf) else f"{low:g} to {high:g}"


def _as_json(name: str, row: Row) -> str:
    target = [limit if isfinite(limit) else None for limit in row.target]
    numbers = {k: None if isinstance(v, float) and not isfinite(v) else v for k, v in asdict(row).items()}
    return json.dumps({"on": name, **numbers, "target": target, "verdict": verdict(row)})


def catalogue() -> None:
    """Say what there is to judge."""
    for title, entries in (("data", [*FILES, "measured", *MADE]), ("checks", list(CHECKS))):
        typer.echo(f"{title}: {', '.join(entries)}")
    for name, fleet in FLEETS.items():
        typer.echo(f"{name:<13} {fleet.plan.modules} modules, {fleet.plan.days} days: {fleet.about}")
