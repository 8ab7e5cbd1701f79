"""How fast fleets are simulated: cell-steps a second of CPU, numba beside NumPy, and with the readings made.

python -m tests.bench.simulation --modules 50
"""

from __future__ import annotations

import argparse
from time import process_time

import numpy as np

from pipeline.simulation import FleetPlan, simulate, vectorised
from pipeline.simulation.draw import first_state, works
from pipeline.simulation.fleet import Live, fastest
from pipeline.simulation.state import Drive, Pace, trace
from pipeline.simulation.usage import ambient, wanted


def stepping(plan: FleetPlan, live: Live) -> float:
    """CPU seconds of the stepping of one day."""
    built, pace = works(plan), Pace(10.0, 6, 8640)
    asked = np.array([wanted(plan, n, 0, pace.steps) for n in range(plan.stacks)]) * 100
    drive = Drive(asked, np.array([ambient(plan, n, 0, pace.steps) for n in range(plan.stacks)]))
    state, written = first_state(plan, built), trace(plan.modules, plan.cells, pace)
    begun = process_time()
    live(built.build, state, drive, written, pace)
    return process_time() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--modules", type=int, default=50)
    plan = FleetPlan(modules=parser.parse_args().modules, days=2, polarisation="varied")
    steps = plan.modules * plan.cells * 8640
    stepping(FleetPlan(modules=1), fastest())  # compiles
    compiled = min(stepping(plan, fastest()) for _ in range(3))
    plain = stepping(plan, vectorised.live)
    begun = process_time()
    rows = sum(day.readings.height for day in simulate(plan))
    whole = process_time() - begun
    print(
        f"numba {steps / compiled / 1e6:.1f} M cell-steps/s, NumPy {steps / plain / 1e6:.1f}, x {plain / compiled:.1f}"
    )
    print(f"with readings {2 * steps / whole / 1e6:.1f} M cell-steps/s, {rows / whole / 1e3:.0f} k readings/s")


if __name__ == "__main__":
    main()
