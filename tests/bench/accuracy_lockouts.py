"""How right lockouts, their risk, data quality and the worklist are, and how often sound modules are complained of.

python -m tests.bench.accuracy_lockouts --modules 80 --days 14 --seed 103 --stack 2
python -m tests.bench.accuracy_lockouts --healthy quick
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from datetime import date
from math import isnan

from pipeline.simulation.fleet import simulate
from pipeline.simulation.plan import FleetPlan
from pipeline.validation.false_alarms import FLEETS, false_alarms, quick
from pipeline.validation.lockouts import lockouts
from pipeline.validation.quality import quality
from pipeline.validation.ranking import ranking
from pipeline.validation.repeat import repeat
from pipeline.validation.replay import replay
from pipeline.validation.row import Row

CELLS = ("low_capacity", "leak", "imbalance", "balancer_off", "high_resistance", "deaf")
KINDS = {
    "lockouts": (
        *CELLS,
        *("charger_high", "reset_chain", "cold_garage", "hot_room", "surge_loads", "idle_drain"),
        *("bad_connection", "mixed_stack", "missing_module", "reconnect"),
    ),
    "cells": CELLS,
    "quality": ("gaps", "sensor_stuck", "clock_skew", "soc_drift"),
}


def show(rows: Iterable[Row]) -> None:
    """Target, figure and verdict, a line each, as they come."""
    for row in rows:
        verdict = "not judged" if isnan(row.figure) else "ok" if row.ok else "MISSED"
        low, high = row.target
        bounds = f"({row.lo:.3f}..{row.hi:.3f})"
        print(f"{row.name:<66} {low:g}..{high:g}  {row.figure:7.3f}  {bounds} {row.unit}  {verdict}", flush=True)


def main() -> None:
    """Simulate, work through the nights, judge."""
    parser = argparse.ArgumentParser()
    for name, default in (("modules", 40), ("days", 14), ("seed", 103), ("period", 60), ("stack", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--kinds", choices=KINDS, default="lockouts")
    parser.add_argument("--flaws", type=float, default=0.6)
    parser.add_argument("--start", type=date.fromisoformat, default=date(2026, 6, 1))
    parser.add_argument("--repeat", action="store_true", help="judge the risk too; wants 60 days or more")
    parser.add_argument("--healthy", choices=("quick", "long"), help="false alarms instead")
    asked = parser.parse_args()
    if asked.healthy:
        show(false_alarms(quick() if asked.healthy == "quick" else FLEETS))
        return
    plan = FleetPlan(
        modules=asked.modules,
        days=asked.days,
        seed=asked.seed,
        period_s=asked.period,
        stack_size=asked.stack,
        start=asked.start,
        flaws=asked.flaws,
        kinds=KINDS[asked.kinds],
    )
    done = replay(simulate(plan), plan.chemistry)
    if asked.kinds == "quality":
        show(quality(done))
        return
    show(lockouts(done, plan.period_s))
    show(ranking(done))
    if asked.repeat:
        show(repeat(done))


if __name__ == "__main__":
    main()
