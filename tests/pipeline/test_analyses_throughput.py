from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from pipeline.analyses.steps import steps
from pipeline.analyses.throughput import throughput
from pipeline.days import local_day
from pipeline.limits import LFP
from pipeline.quality import Quality, said
from tests.pipeline.fleets import DAY, MINUTE, frame, reading

EVEN = (3300,) * 4


def day_of(rows: list[dict[str, Any]]) -> dict[str, Any]:
    answer = throughput(steps(frame(rows).lazy(), LFP), local_day(DAY, "UTC"), LFP)
    return answer.collect().row(0, named=True)


def whole_day(**said: Any) -> list[dict[str, Any]]:
    return [reading(n * MINUTE, EVEN, **said) for n in range(24 * 60)]


def test_an_hour_of_ten_amperes_is_ten_ampere_hours() -> None:
    rows = [reading(n * MINUTE, EVEN, current_ma=10_000 if n < 60 else -5_000) for n in range(120)]
    day = day_of(rows)
    assert day["charge_mah"] == pytest.approx(10_000 - 10_000 / 60)  # the first reading stands at midnight itself
    assert day["discharge_mah"] == pytest.approx(5_000)
    assert day["discharge_wh"] == pytest.approx(5 * 13.2)


def test_a_gap_adds_two_periods_and_no_more() -> None:
    rows = [reading(n * MINUTE, EVEN, current_ma=6_000) for n in (1, 2, 3, 4, 5, 300)]
    assert day_of(rows)["charge_mah"] == pytest.approx(6_000 / 60 * (5 + 2))


def test_order_of_the_rows_does_not_matter() -> None:
    rows = [reading(n * MINUTE, EVEN, current_ma=n * 10) for n in range(100)]
    assert day_of(rows) == day_of(rows[::-1])


def test_a_module_that_does_not_say_its_current_has_no_throughput_rather_than_none_moved() -> None:
    assert day_of(whole_day(current_ma=None))["charge_mah"] is None


def test_a_quiet_whole_day_has_every_reading_and_no_doubts() -> None:
    day = day_of(whole_day())
    assert (day["n"], day["expected"], day["max_gap_ms"], day["dq"]) == (1440, 1440, MINUTE, 0)


DOUBTS = {
    "readings missing": (whole_day()[:1300], Quality.GAP),
    "one long gap": (whole_day()[:700] + whole_day()[731:], Quality.GAP),
    "SOC jumping": ([*whole_day()[:-1], reading(1439 * MINUTE, EVEN, soc_pm=450)], Quality.SOC_JUMP),
    "full and yet not full": (
        [*whole_day()[:-1], reading(1439 * MINUTE, EVEN, soc_pm=1000, current_ma=5_000)],
        Quality.SOC_DRIFT,
    ),
    "full, at rest, and a sensor's zero that is none": (
        [*whole_day()[:-1], reading(1439 * MINUTE, EVEN, soc_pm=1000, current_ma=120)],
        Quality.SOC_JUMP,
    ),
    "cells and module disagree": (whole_day(voltage_mv=13_300), Quality.V_SUM),
    "a cell beyond belief": ([*whole_day()[:-1], reading(1439 * MINUTE, (3300, 3300, 3300, 4100))], Quality.V_OUT),
    "a temperature beyond belief": (whole_day(t00=-410), Quality.T_OUT),
    "a time twice": ([*whole_day(), reading(5 * MINUTE, EVEN)], Quality.CLOCK),
    "a reading from the future": (whole_day(arrival_ts=0), Quality.CLOCK),
    "a useless clock": (whole_day(clk="bad"), Quality.CLOCK),
    "a cell that goes": ([*whole_day()[:-1], reading(1439 * MINUTE, (3300, 3300, 3300, None))], Quality.N_CELLS),
}


@pytest.mark.parametrize("name", DOUBTS)
def test_each_doubt_has_its_bit(name: str) -> None:
    rows, bit = DOUBTS[name]
    dq = day_of(rows)["dq"]
    assert dq & bit, said(dq)
    assert not dq & ~(bit | Quality.SOC_JUMP), said(dq)  # a jump to 100 % is one as well


def test_a_negative_step_of_a_narrow_column_does_not_wrap_around() -> None:
    rows = [reading(n * MINUTE, EVEN, soc_pm=1000 - n % 2) for n in range(1440)]
    assert not day_of(rows)["dq"] & Quality.SOC_JUMP


def test_two_units_do_not_share_a_step() -> None:
    rows = [reading(n * MINUTE, EVEN, current_ma=6_000, unit=unit) for unit in ("u1", "u2") for n in range(1, 61)]
    both = throughput(steps(frame(rows).lazy(), LFP), local_day(DAY, "UTC"), LFP).collect()
    assert both["charge_mah"].to_list() == pytest.approx([6_000, 6_000])
    assert both["unit"].n_unique() == 2


def test_summaries_are_in_the_units_of_their_names() -> None:
    rows = [reading(n * MINUTE, (3300, 3310, 3320, 3300 + n), t00=200, t01=220 + n) for n in range(60)]
    day = day_of(rows)
    assert (day["temp_dc_min"], day["temp_dc_max"]) == (200, 279)
    assert day["spread_mv_max"] == 59
    assert pl.Series([day["temp_dc_mean"]]).is_between(200, 279).all()
