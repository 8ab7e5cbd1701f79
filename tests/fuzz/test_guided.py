"""A few seconds of coverage-guided fuzzing for each driver. `CELLHERD_GUIDED_S=60` for the long run."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from collectors.drivers import WHERE

HOUSE = Path(__file__).parents[2]
SECONDS = os.environ.get("CELLHERD_GUIDED_S", "3")


@pytest.mark.slow
@pytest.mark.skipif(find_spec("atheris") is None, reason="pip install --group fuzz (Linux, x86-64, Python below 3.13)")
@pytest.mark.parametrize("name", sorted(WHERE))
def test_what_follows_every_branch_finds_nothing(name: str) -> None:
    command = [sys.executable, "-m", "tests.fuzz.guided", name, "--seconds", SECONDS]
    done = subprocess.run(command, cwd=HOUSE, capture_output=True, text=True, timeout=int(SECONDS) + 120, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    assert "Done " in done.stderr, done.stderr[-2000:]
