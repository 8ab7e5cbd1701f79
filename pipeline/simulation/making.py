"""A simulated fleet as a person asks for it: as folder with archive, truth and fleet.toml, or as JSON lines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.progress import Progress

from pipeline.schema import SCALAR_COLUMNS
from pipeline.simulation import fleet
from pipeline.simulation.deposit import Told, deposit, registry
from pipeline.simulation.plan import FleetPlan
from pipeline.stores.archive import Archive


def make(plan: FleetPlan, out: Path) -> None:
    """Put it into a folder, or go on where that was stopped."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "fleet.toml").write_text(registry(plan, (out / "archive").resolve()), encoding="utf-8")
    with _bar() as told:
        count = deposit(plan, Archive(str(out / "archive")), out / "truth", told)
    typer.echo(f"{out}: {count} readings of {plan.modules} modules from {plan.start}, truth in {out / 'truth'}")


@contextmanager
def _bar() -> Iterator[Told]:
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("days", total=None)
        yield lambda done, of: bar.update(task, completed=done, total=of)


def tell(plan: FleetPlan) -> None:
    """A line a reading, in the order of time, with the names of cellherd.reading."""
    for day in fleet.simulate(plan):
        for row in day.readings.sort("ts", "unit").iter_rows(named=True):
            said = {name: row[name] for name in SCALAR_COLUMNS if row[name] is not None}
            lists = {"cell_mv": _list(row, "c", plan.cells), "temp_dc": _list(row, "t", 4)}
            who = {name: row[name] for name in ("ts", "site", "stack", "module")}
            typer.echo(json.dumps({**who, **said, **lists, "faults": (row["faults"] or "").split()}))


def _list(row: dict[str, Any], letter: str, count: int) -> list[int | None]:
    return [row[f"{letter}{i:02}"] for i in range(count)]
