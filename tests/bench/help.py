"""How long a person waits for help: CPU seconds of `cellherd --help` and of each command's own, the best of a few.

    python -m tests.bench.help --times 3

The bar is 0.5 s for `cellherd --help`. A command's own help opens its room, which may import Polars. The floor of the
same run is a Python that imports Typer and Rich and stops.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys

from cellherd.cli import COMMANDS

BAR_S = 0.5
FLOOR = [sys.executable, "-c", "import typer, rich.console"]


def cpu_s(command: list[str], times: int) -> float:
    """User and system time of the command's process, the least of some runs."""
    return min(_once(command) for _ in range(times))


def _once(command: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Measure and print, the slowest first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=3)
    times = parser.parse_args().times
    own = [sys.executable, "-m", "cellherd"]
    floor, whole = cpu_s(FLOOR, times), cpu_s([*own, "--help"], times)
    print(f"floor {floor:.2f} s; cellherd --help {whole:.2f} s, {whole / floor:.1f} of the floor (bar {BAR_S} s)")
    told = {command.words: cpu_s([*own, *command.words.split(), "--help"], times) for command in COMMANDS}
    for words, took in sorted(told.items(), key=lambda entry: -entry[1]):
        print(f"{took:.2f} s  cellherd {words} --help{'' if took <= BAR_S else '  above'}")


if __name__ == "__main__":
    main()
