"""How right capacity and resistance are: simulated fleets through the nights, figure beside bar.

python -m tests.bench.accuracy_degradation --modules 20 --days 140 --every 1 --seed 101 --polarisation base
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from math import isnan

import polars as pl

from pipeline.nightly.site_day import Site, nightly
from pipeline.simulation.fleet import simulate
from pipeline.simulation.plan import FleetPlan
from pipeline.validation.degradation import BASE, STRONG, degradation
from pipeline.validation.row import Row
from tests.pipeline.fleets import Shelf


def worked(plan: FleetPlan) -> tuple[dict[str, pl.DataFrame], list[Mapping[str, pl.DataFrame]]]:
    """The nights' tables of a simulated fleet, and each day's truth."""
    shelf, truths = Shelf(pl.DataFrame()), list[Mapping[str, pl.DataFrame]]()
    kept: list[pl.DataFrame] = []
    for day in simulate(plan):
        kept = [*kept[-1:], day.readings]
        shelf.tables["reading"] = pl.concat(kept)
        truths.append(day.truth)
        places = day.readings.select("site", "stack", "module").unique().sort("site")
        rated = dict(day.truth["module"].group_by("site").agg(pl.col("rated_ah").first()).iter_rows())
        sites = [
            Site(
                site,
                "acme",
                "UTC",
                {(r[1], r[2]): plan.chemistry for r in group.iter_rows()},
                {(r[1], r[2]): round(1000 * rated[site]) for r in group.iter_rows()},
            )
            for (site,), group in places.group_by("site", maintain_order=True)
        ]
        nightly(shelf, day.date, sites)
    return shelf.tables, truths


def show(rows: list[Row]) -> None:
    """Target, figure and verdict, a line each."""
    for row in rows:
        verdict = "not judged" if isnan(row.figure) else "ok" if row.ok else "MISSED"
        low, high = row.target
        print(f"{row.name:<42} {low:g}..{high:g}  {row.figure:7.3f}  ({row.lo:.3f}..{row.hi:.3f})  {verdict}")


def main() -> None:
    """Simulate, work through the nights, judge."""
    parser = argparse.ArgumentParser()
    for name, default in (("modules", 20), ("days", 40), ("every", 1), ("seed", 101), ("period", 60)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--polarisation", choices=("base", "strong", "varied"), default="base")
    parser.add_argument("--start", type=date.fromisoformat, default=date(2026, 4, 1))
    parser.add_argument("--flaws", type=float, default=0.0)
    asked = parser.parse_args()
    plan = FleetPlan(
        modules=asked.modules,
        days=asked.days,
        every=asked.every,
        start=asked.start,
        seed=asked.seed,
        period_s=asked.period,
        polarisation=asked.polarisation,
        flaws=asked.flaws,
    )
    tables, truths = worked(plan)
    bars = BASE if plan.polarisation == "base" else STRONG
    print(f"{plan.modules} modules, {plan.days} days, seed {plan.seed}, {plan.polarisation}")
    show(degradation(tables, truths, replace(bars, period_s=plan.period_s)))


if __name__ == "__main__":
    main()
