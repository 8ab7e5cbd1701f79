"""Guided fuzzing of every driver, a few at a time: python -m tests.fuzz.campaign --seconds 3

Needs atheris (dependency group `fuzz`: Linux on x86-64, Python below 3.13). The long run, half an hour on two cores:
`--seconds 60`. A finding ends it with 1 and prints the frame, and the command that finds it again.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from typer import echo

from collectors.drivers import WHERE

HOUSE = Path(__file__).parents[2]
START_S = 120
"""Most that starting and the last input may take beyond the time asked for."""


def main() -> int:
    """Fuzz them all; 1 if anything was found."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("drivers", nargs="*", default=sorted(WHERE))
    options.add_argument("--seconds", type=int, default=3, help="for each driver")
    options.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1, 1 << 31))
    told = options.parse_args()
    with ThreadPoolExecutor(told.jobs) as pool:
        sound = list(pool.map(lambda name: fuzzed(name, told.seconds, told.seed), told.drivers))
    echo(f"{len(sound)} drivers, {told.seconds} s each, seed {told.seed}: {sound.count(False)} with a finding")
    return 0 if all(sound) else 1


def fuzzed(name: str, seconds: int, seed: int) -> bool:
    """One driver in a process of its own. What it found is printed."""
    command = [sys.executable, "-m", "tests.fuzz.guided", name, "--seconds", str(seconds), "--seed", str(seed)]
    try:
        done = subprocess.run(
            command, cwd=HOUSE, capture_output=True, text=True, timeout=seconds + START_S, check=False
        )
    except subprocess.TimeoutExpired:
        echo(f"{name}: hangs; again with: python -m tests.fuzz.guided {name} --seconds {seconds} --seed {seed}")
        return False
    if done.returncode == 0 and "Done " in done.stderr:
        echo(f"{name}: {done.stderr[done.stderr.rindex('Done ') :].splitlines()[0]}")
        return True
    echo(f"{name}: FOUND\n{(done.stdout + done.stderr)[-4000:]}")
    echo(f"again with: python -m tests.fuzz.guided {name} --seconds {max(seconds, 60)} --seed {seed}")
    return False


if __name__ == "__main__":
    sys.exit(main())
