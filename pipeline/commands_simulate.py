"""`cellherd simulate`: a fleet that does not exist goes into an archive of its own, with the truth beside it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from cellherd.errors import CellherdError

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
    if polarisation not in POLARISATIONS:
        raise CellherdError(f"no polarisation {polarisation!r}; there are {', '.join(POLARISATIONS)}")
    share, kinds = _flaws(faults)
    said: dict[str, Any] = {"polarisation": polarisation, "flaws": share, "nominal_ah": _sizes(ah)}
    from pipeline.simulation.deposit import yearly_profile  # noqa: PLC0415 - Polars is heavy; --help must not wait for it
    from pipeline.simulation.making import make, tell  # noqa: PLC0415
    from pipeline.simulation.plan import KINDS, FleetPlan  # noqa: PLC0415

    replayed, step_s = yearly_profile(profile) if profile else ((), 600)
    begin = start or datetime.now(UTC) - timedelta(days=days)
    said |= {"kinds": kinds or tuple(KINDS), "profile": replayed, "profile_s": step_s}
    said |= {"start": begin.date(), "every": SURROGATE if surrogate else 1, "chemistry": chemistry}
    said |= {"modules": modules, "days": days, "seed": seed, "period_s": period_s, "cells": cells}
    plan = FleetPlan(**said, stack_size=stack_size)
    if live:
        tell(plan)
    else:
        make(plan, out)


def _flaws(text: str) -> tuple[float, tuple[str, ...]]:
    """The share of modules with a flaw, and its kinds; none for all."""
    try:
        share = float(text)
    except ValueError:
        return 0.5, tuple(text.split(","))
    if not 0 <= share <= 1:
        raise CellherdError(f"--faults {text}: a share lies between 0 and 1")
    return share, ()


def _sizes(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise CellherdError(f"--ah {text!r}: write sizes as 50,100,280") from None
