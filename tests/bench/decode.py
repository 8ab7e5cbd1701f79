"""What decoding costs: python -m tests.bench.decode

Processor time for each frame of a driver's vectors (the best of a few rounds); then, for the brands whose frames
aiobmsble decodes too, both on the same frames in one process. That one needs Python 3.12 and an environment of its own:
CELLHERD_AIOBMSBLE_PYTHON names its interpreter, else python3.13 and python3.12 are tried.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from contextlib import suppress
from itertools import cycle
from pathlib import Path
from shutil import which
from time import process_time

from typer import echo

from cellherd.errors import BadFrame
from collectors.drivers import WHERE, driver
from collectors.kernel import Chunk
from tests.fuzz.vectors import Case, cases

HOUSE = Path(__file__).parents[2]
ROUNDS = 5
FRAMES = 400


def main() -> None:
    echo("us of processor time a frame, and frames a second")
    for name in sorted(WHERE):
        sound = [case for case in cases(name) if decodes(name, case)]
        spent = best(lambda name=name, sound=sound: run(name, sound)) / FRAMES  # type: ignore[misc]
        size = sum(len(case.frame) if isinstance(case.frame, bytes) else 8 for case in sound) // len(sound)
        echo(f"{name:24}{1e6 * spent:8.1f}{1 / spent:10,.0f}   {len(sound)} frames of {size} bytes")
    beside()


def decodes(name: str, case: Case) -> bool:
    with suppress(BadFrame):
        return bool(driver(name).decode(case.frame, case.request))
    return False


def run(name: str, sound: list[Case]) -> None:
    decode: Callable[[Chunk, bytes | None], object] = driver(name).decode
    for _, case in zip(range(FRAMES), cycle(sound), strict=False):
        decode(case.frame, case.request)


def best(action: Callable[[], object]) -> float:
    return min(_once(action) for _ in range(ROUNDS))


def _once(action: Callable[[], object]) -> float:
    begin = process_time()
    action()
    return process_time() - begin


def beside() -> None:
    """The comparison, where an interpreter has aiobmsble; a line that says how to get it where none has."""
    wanted = (os.environ.get("CELLHERD_AIOBMSBLE_PYTHON"), which("python3.13"), which("python3.12"))
    for python in filter(None, wanted):
        asked = subprocess.run([python, "-c", "import aiobmsble"], capture_output=True, check=False)
        if asked.returncode == 0:
            subprocess.run([python, "-m", "tests.bench.decode_beside"], cwd=HOUSE, check=True)
            return
    echo("no comparison: python3.13 -m venv x; x/bin/pip install aiobmsble; CELLHERD_AIOBMSBLE_PYTHON=x/bin/python")


if __name__ == "__main__":
    main()
