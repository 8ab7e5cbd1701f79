"""How near a module came to its stated limits."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import polars as pl
import pytest

from pipeline.analyses.near import STATED, near
from pipeline.limits import LFP
from tests.pipeline.fleets import DAY

CALM = {"high": 3500, "low": 2900, "temp_dc_min": 100.0, "temp_dc_max": 300.0}
CALM |= {"current_ma_min": -50_000.0, "current_ma_max": 50_000.0}
SAID = dict(zip(STATED, (3650, 2500, 100_000, 100_000, 450, 0, 500), strict=True))


def counted(*days: dict[str, Any], said: dict[str, Any] = SAID) -> int:
    rows = [CALM | more | {"site": "barn", "unit": "u1", "day": DAY + timedelta(days=n)} for n, more in enumerate(days)]
    frame = pl.DataFrame(rows)
    cells = frame.select("site", "unit", "day", cell=pl.lit(0), max_mv="high", min_mv="low").lazy()
    about = pl.LazyFrame([{"site": "barn", "unit": "u1", **said}], schema_overrides=dict.fromkeys(STATED, pl.Int64))
    return int(near(frame.lazy(), cells, about, LFP.risk).collect()["near"].item())


@pytest.mark.parametrize(
    "day",
    [
        *({"high": 3600}, {"low": 2650}, {"temp_dc_max": 440.0}, {"temp_dc_min": 10.0}),
        *({"current_ma_max": 95_000.0}, {"current_ma_min": -95_000.0}),
    ],
)
def test_a_day_near_any_limit_counts(day: dict[str, Any]) -> None:
    assert counted({}, day, {}, day) == 2


def test_a_calm_module_and_a_device_that_states_no_limit_count_nothing() -> None:
    assert counted({}, {}) == 0
    assert counted({"high": 3640, "temp_dc_min": -50.0}, said=dict.fromkeys(STATED)) == 0
