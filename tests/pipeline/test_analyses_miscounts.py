"""What a counter of charge leaves out at rest, and while the current falls slowly."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from pipeline.analyses.ledger import offset
from pipeline.analyses.miscounts import beside, miscounts
from tests.pipeline.fleets import DAY, MINUTE, lived, reading

HOUR_MS = 3_600_000


def tops(rest_ma: float, fall_share: float, offset_ma: float, seed: int = 1, noise: float = 30) -> pl.DataFrame:
    """60 days of a module that is full once a day, of four cells; the counter errs by what is told."""
    rng = np.random.default_rng(seed)
    hours = 24 * np.arange(60) + rng.uniform(-3, 3, 60)
    rest, fall = np.cumsum(rng.uniform(4, 16, 60)), np.cumsum(rng.uniform(100, 600, 60))
    mah = offset_ma * hours + rest_ma * rest + fall_share * fall + noise * rng.standard_normal(60)
    cells = [
        pl.DataFrame({"ts": (hours * HOUR_MS).astype(np.int64), "mah": mah + 50 * c, "rest_h": rest, "fall_mah": fall})
        .with_columns(site=pl.lit("barn"), unit=pl.lit("u1"), cell=pl.lit(c, pl.Int16))
        for c in range(4)
    ]  # fmt: skip
    return pl.concat(cells)


@pytest.mark.parametrize(("rest_ma", "fall_share"), [(0.0, 0.0), (40.0, 0.0), (0.0, -1.0), (-40.0, -0.6)])
def test_rests_and_falls_are_told_from_the_offset(rest_ma: float, fall_share: float) -> None:
    found = offset(tops(rest_ma, fall_share, 80.0).lazy()).collect()
    assert found["rest_ma"][0] == pytest.approx(rest_ma, abs=10)
    assert found["fall_share"][0] == pytest.approx(fall_share, abs=0.2)
    assert found["offset_ma"][0] == pytest.approx(80, abs=8)


def test_left_alone_they_are_taken_for_an_offset() -> None:
    blind = tops(0.0, -1.0, 80.0).with_columns(rest_h=0.0, fall_mah=0.0)
    found = offset(blind.lazy()).collect()
    assert (found["rest_ma"][0], found["fall_share"][0]) == (0, 0)
    assert found["offset_ma"][0] < 70


@pytest.mark.parametrize("seed", range(4))
def test_where_every_loop_ends_elsewhere_little_is_taken_off(seed: int) -> None:
    found = offset(tops(0.0, 0.0, 80.0, seed, noise=6000).lazy()).collect()
    assert abs(found["rest_ma"][0]) < 50
    assert abs(found["fall_share"][0]) < 0.4


def test_too_few_moments_tell_nothing() -> None:
    few = tops(40.0, -1.0, 80.0).filter(pl.col("ts") < 3 * 24 * HOUR_MS)
    assert miscounts(few, 5).is_empty()
    assert offset(few.lazy()).collect().is_empty()


def test_a_day_counts_its_rests_and_half_an_interval_of_each_fall_near_full() -> None:
    amps = [0, 0, 20, 20, 16, 10, 0, -20, -10]
    volts = [3300, 3300, 3300, 3400, 3420, 3420, 3400, 3300, 3300]
    rows = [
        reading(n * MINUTE, (v,) * 4, current_ma=1000 * a) for n, (a, v) in enumerate(zip(amps, volts, strict=True))
    ]
    seen = lived(rows).collect()
    assert seen["rest_h"][-1] == pytest.approx(2 / 60, abs=1e-3)
    assert seen["fall_mah"].to_list()[3:7] == pytest.approx([0, 4000 / 120, 10_000 / 120, 20_000 / 120], abs=0.1)
    assert seen["fall_mah"][-1] == seen["fall_mah"][6]


def test_moments_are_joined_with_the_days_before_them() -> None:
    days = [DAY, DAY.replace(day=DAY.day + 1)]
    who = {"site": ["barn"] * 4, "unit": ["u1"] * 4, "day": [days[0], days[0], days[1], days[1]]}
    counted = pl.DataFrame(
        {**who, "ts": [5, None, 9, None], "rest_h": [1.0, 8.0, 2.0, 7.0], "fall_mah": [0.0, 3.0, 1.0, 4.0]}
    )
    events = counted.drop_nulls("ts").select("site", "unit", "day", "ts")
    found = beside(events.lazy(), counted.lazy()).collect()
    assert found["rest_h"].to_list() == [1, 10]
    assert found["fall_mah"].to_list() == [0, 4]
    assert beside(events.lazy(), counted.clear().lazy()).collect()["rest_h"].to_list() == [0, 0]
