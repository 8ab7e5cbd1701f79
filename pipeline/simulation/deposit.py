"""A simulated fleet goes into an archive, a day of a part at a time, its truth beside it, and its registry."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import polars as pl

from cellherd.errors import CellherdError
from pipeline.simulation.fleet import Day, simulate
from pipeline.simulation.plan import FleetPlan, parts
from pipeline.simulation.readings import place
from pipeline.stores.archive import Archive

PART = 100
"""Modules that are simulated together: at 10 s a day of them is 860,000 readings, about 1 GB in the making."""
TABLES = (("gap", "gaps"), ("device_info", "infos"), ("device_counter", "counters"), ("reading", "readings"))
"""Tables by what a day calls them; readings last, so that a day that has them has everything."""

Told = Callable[[int, int], None]


def deposit(plan: FleetPlan, archive: Archive, truth: Path, told: Told = lambda _done, _of: None) -> int:
    """Simulate the plan into the archive and, as Parquet by kind and day, into `truth`. Returns the readings.

    Doing it again changes nothing; a run that was killed goes on where it stopped. `told` hears of days done, and of
    how many.
    """
    pieces = list(parts(plan, PART))
    days = len(range(0, plan.days, plan.every))
    count = 0
    for nth, piece in enumerate(pieces):
        app_id = f"simulated-{_digest(plan)}-{nth:05}"
        for number, day in enumerate(simulate(piece), 1):
            _put(archive, day, app_id, number)
            _keep(truth, day, f"{nth:05}")
            count += day.readings.height
            told(nth * days + number, len(pieces) * days)
    return count


def _digest(plan: FleetPlan) -> str:
    """Another plan is another app: its days are new, whatever was stored of others."""
    return hashlib.sha256(repr((plan, plan.profile)).encode()).hexdigest()[:16]


def _put(archive: Archive, day: Day, app_id: str, number: int) -> None:
    for table, name in TABLES:
        frame = getattr(day, name)
        if frame.height or table == "reading":
            archive.append(table, frame, app_id=app_id, version=number)


def _keep(folder: Path, day: Day, part: str) -> None:
    for kind, frame in day.truth.items():
        if frame.height or kind == "cell":
            path = folder / kind / f"{day.date}-{part}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            frame.write_parquet(path)


def registry(plan: FleetPlan, archive: Path) -> str:
    """A fleet.toml that knows the plan's sites and modules."""
    lines = ["# A simulated fleet; none of its batteries exists.", "simulated = true", ""]
    lines += ["[archive]", f"uri = '{archive}'", "", "[[installer]]", 'id = "simulated"', 'name = "Simulated"']
    for stack in range(plan.first // plan.stack_size, (plan.first + plan.modules) // plan.stack_size):
        site = place(plan, stack * plan.stack_size)["site"]
        lines += ["", "[[site]]", f'id = "{site}"', 'installer = "simulated"', f'edge = "{site}"', 'tz = "UTC"']
    for number in plan.numbers:
        who = place(plan, number)
        lines += ["", "[[module]]", f'site = "{who["site"]}"', f'stack = "{who["stack"]}"', f'id = "{who["module"]}"']
        lines += [f'chemistry = "{plan.chemistry}"', f"cells = {plan.cells}"]
    return "\n".join(lines) + "\n"


def yearly_profile(path: Path) -> tuple[tuple[float, ...], int]:
    """A year of states of charge and its step in seconds, from a Parquet file with Time_s and SOC (0 to 1)."""
    try:
        rows = pl.read_parquet(path, columns=["Time_s", "SOC"]).sort("Time_s")
    except (OSError, pl.exceptions.PolarsError) as error:
        raise CellherdError(f"{path} is no profile with Time_s and SOC: {error}") from None
    return tuple(rows["SOC"].to_list()), int(rows["Time_s"][1] - rows["Time_s"][0])
