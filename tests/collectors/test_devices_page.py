"""The page of stations and portals: each model that the seed texts name has a row, a grade and a way that exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from collectors.drivers import WHERE

PAGE = (Path(__file__).parents[2] / "docs" / "devices" / "stations-and-portals.md").read_text(encoding="utf-8")
ROWS = [line.split("|")[1:-1] for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| named")]
NAMED = [
    "EcoFlow Delta", "River", "Explorer 2000", "Explorer 1000", "AC200Max", "AC300", "757", "535", "GivEnergy",
    "Victron VRM", "Solis Cloud", "Fox Cloud", "US2000C", "US3000C", "US5000", "Force H2",
]  # fmt: skip


@pytest.mark.parametrize("model", NAMED)
def test_each_named_model_has_a_row(model: str) -> None:
    assert [row for row in ROWS if model in row[0]]


def test_each_row_has_a_grade_and_names_drivers_that_there_are() -> None:
    assert {row[1].strip() for row in ROWS} == {"measured", "bridged", "manual"}
    drivers = {name for row in ROWS for name in re.findall(r"`([a-z0-9_]+)`", row[2])}
    assert drivers - {*WHERE} == set()
    assert all(row[2].strip() for row in ROWS if row[1].strip() != "manual")
