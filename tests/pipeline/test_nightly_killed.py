"""A night killed anywhere and begun again gives the same tables as one that was left in peace."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import polars as pl
import pytest

from pipeline.limits import DAY as DAY_MS
from pipeline.limits import HOUR
from pipeline.nightly.site_day import DAILY
from pipeline.stores.archive import Archive
from tests.pipeline.cycling import World, days
from tests.pipeline.fleets import MIDNIGHT

HOUSE = Path(__file__).parents[2]
WORLD = World(modules=2, days=3, period_s=300)
SITES = ("barn", "mill")
MORNING = MIDNIGHT + WORLD.days * DAY_MS + HOUR
SEED = 20261121
TABLES = (*DAILY, "finding")


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three days of two sites, not yet worked through."""
    place = tmp_path_factory.mktemp("full")
    readings, _ = days(WORLD)
    for number, site in enumerate(SITES):
        mine = readings.with_columns(site=pl.lit(site), edge=pl.lit(f"e{number}"))
        Archive(str(place / "archive")).append("reading", mine, app_id=site, version=1)
    return place


def start(place: Path, wall: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.pipeline.one_shift", str(place), str(wall), *SITES]
    return subprocess.Popen(command, cwd=HOUSE, stdout=subprocess.PIPE, text=True)


def finished(place: Path, wall: int) -> str:
    process = start(place, wall)
    told, _ = process.communicate(timeout=300)
    assert process.returncode == 0
    return told.strip()


def commits(place: Path) -> int:
    return len(list((place / "archive").glob("*/_delta_log/*.json")))


def killed_after(place: Path, count: int) -> bool:
    """Start a shift and kill it as soon as the archive has taken so many commits; False where it was faster."""
    before, process = commits(place), start(place, MORNING)
    while process.poll() is None and commits(place) < before + count:
        try:
            process.wait(0.002)
        except subprocess.TimeoutExpired:
            continue
    done = process.poll() is not None
    process.kill()
    process.communicate()
    return not done


def tables(place: Path) -> Mapping[str, pl.DataFrame]:
    archive = Archive(str(place / "archive"))
    frames = {name: archive.scan(name).collect() for name in TABLES}
    return {name: frame.sort(frame.columns) for name, frame in frames.items()}


@pytest.mark.slow
def test_a_night_killed_anywhere_and_begun_again_gives_the_same_tables(full: Path, tmp_path: Path) -> None:
    peace = shutil.copytree(full, tmp_path / "peace")
    before = commits(peace)
    assert finished(peace, MORNING) == str(WORLD.days)
    wanted, all_of = tables(peace), commits(peace) - before
    assert wanted["module_day"].height == len(SITES) * WORLD.modules * WORLD.days
    assert wanted["capacity"].height > 0
    draw, killed = random.Random(SEED), 0
    for count in (0, *draw.sample(range(1, all_of), 3)):
        place = shutil.copytree(full, tmp_path / f"killed-{count}")
        killed += killed_after(place, count)
        finished(place, MORNING + HOUR)
        for name, frame in tables(place).items():
            assert frame.equals(wanted[name]), f"{name} after a kill at commit {count} of {all_of}, seed {SEED}"
    assert killed >= 3, f"seed {SEED}"
