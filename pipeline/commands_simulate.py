"""`cellherd simulate`: a fleet that does not exist goes into an archive of its own, with the truth beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress

from cellherd.errors import CellherdError
from pipeline.schema import SCALAR_COLUMNS
from pipeline.simulation import fleet
from pipeline.simulation.deposit import Told, deposit, registry, yearly_profile
from pipeline.simulation.plan import KINDS, FleetPlan
from pipeline.stores.archive import Archive

SURROGATE = 7
POLARISATIONS = ("base", "strong", "varied")


def simulate(  # noqa: PLR0913, PLR0917 - each parameter is an option that a person types
    out: Annotated[Path, typer.Option(help="Folder for archive, truth and fleet.toml.")] = Path("simulated"),
    modules: Annotated[int, typer.Option(min=1)] = 10,
    days: Annotated[int, typer.Option(min=1, help="The last one is yesterday, unless --start says otherwise.")] = 30,
    seed: Annotated[int, typer.Option(help="The same seed gives the same fleet.")] = 101,
    faults: Annotated[
        str, typer.Option(help="Share of modules with a flaw, or KIND,KIND for these kinds on half of them.")
    ] = "0.2",
    start: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="First day.")] = None,
    period_s: Annotated[int, typer.Option(help="Seconds between readings, 5 to 300.")] = 60,
    cells: Annotated[int, typer.Option(help="Cells of a module.")] = 16,
    chemistry: Annotated[str, typer.Option(help="lfp or nmc.")] = "lfp",
    ah: Annotated[str, typer.Option(help="Sizes to draw from, as 50,100,280.")] = "100",
    stack_size: Annotated[int, typer.Option(min=1, help="Parallel modules of a site.")] = 1,
    polarisation: Annotated[str, typer.Option(help="base, strong or varied.")] = "varied",
    profile: Annotated[Path | None, typer.Option(help="Parquet with Time_s, SOC to follow.")] = None,
    surrogate: Annotated[bool, typer.Option("--surrogate", help="One day in seven; the cells age in between.")] = False,
    live: Annotated[bool, typer.Option("--live", help="Print the readings as JSON lines instead.")] = False,
) -> None:
    """Make a fleet of batteries that does not exist, and the truth about it.

    Again with the same options changes nothing, and goes on where a run was stopped. Flaws and their kinds are
    described in docs/simulation.md.

    Example: cellherd simulate --modules 100 --days 365 --seed 7 --surrogate --out herd

    Example: cellherd simulate --modules 12 --stack-size 3 --faults leak,bad_connection --period-s 10 --days 7

    Then: cellherd nightly --due --config herd/fleet.toml --state herd; cellherd report --config herd/fleet.toml
    """
    flaws, kinds = _flaws(faults)
    replayed, step_s = yearly_profile(profile) if profile else ((), 600)
    if polarisation not in POLARISATIONS:
        raise CellherdError(f"no polarisation {polarisation!r}; there are {', '.join(POLARISATIONS)}")
    begin = start or datetime.now(UTC) - timedelta(days=days)
    said: dict[str, Any] = {"polarisation": polarisation, "flaws": flaws, "kinds": kinds, "profile": replayed}
    said |= {"nominal_ah": _sizes(ah), "start": begin.date(), "every": SURROGATE if surrogate else 1}
    said |= {"modules": modules, "days": days, "seed": seed, "period_s": period_s, "cells": cells}
    plan = FleetPlan(**said, chemistry=chemistry, stack_size=stack_size, profile_s=step_s)
    if live:
        _tell(plan)
        return
    out.mkdir(parents=True, exist_ok=True)
    (out / "fleet.toml").write_text(registry(plan, (out / "archive").resolve()), encoding="utf-8")
    with _bar() as told:
        count = deposit(plan, Archive(str(out / "archive")), out / "truth", told)
    typer.echo(f"{out}: {count} readings of {modules} modules from {plan.start}, truth in {out / 'truth'}")


def _flaws(text: str) -> tuple[float, tuple[str, ...]]:
    try:
        share = float(text)
    except ValueError:
        return 0.5, tuple(text.split(","))
    if not 0 <= share <= 1:
        raise CellherdError(f"--faults {text}: a share lies between 0 and 1")
    return share, tuple(KINDS)


def _sizes(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise CellherdError(f"--ah {text!r}: write sizes as 50,100,280") from None


@contextmanager
def _bar() -> Iterator[Told]:
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("days", total=None)
        yield lambda done, of: bar.update(task, completed=done, total=of)


def _tell(plan: FleetPlan) -> None:
    """A line a reading, in the order of time, with the names of cellherd.reading."""
    for day in fleet.simulate(plan):
        for row in day.readings.sort("ts", "unit").iter_rows(named=True):
            said = {name: row[name] for name in SCALAR_COLUMNS if row[name] is not None}
            lists = {"cell_mv": _list(row, "c", plan.cells), "temp_dc": _list(row, "t", 4)}
            who = {name: row[name] for name in ("ts", "site", "stack", "module")}
            typer.echo(json.dumps({**who, **said, **lists, "faults": (row["faults"] or "").split()}))


def _list(row: dict[str, Any], letter: str, count: int) -> list[int | None]:
    return [row[f"{letter}{i:02}"] for i in range(count)]
