"""Sound readings, spoilt on purpose: only where the truth says so, and the same each time."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest

from pipeline.quality import Quality
from pipeline.simulation.fleet import Day, simulate
from pipeline.simulation.plan import FleetPlan
from pipeline.simulation.seeds import stream
from pipeline.validation.metering import metered
from pipeline.validation.quality import sensors
from pipeline.validation.replay import Replayed
from pipeline.validation.spoiling import DAILY, SPOILT, Daily, Piece, spoilt

PLAN = FleetPlan(modules=6, days=2, seed=1, start=date(2026, 6, 1), cells=4)


@pytest.fixture(scope="module")
def days() -> list[Day]:
    return list(simulate(PLAN))


def piece(days: list[Day], seed: int, hours: float = 6.0) -> Piece:
    """A module's second day, to be spoilt from eight in the morning on."""
    rows = days[1].readings.filter(pl.col("unit") == days[1].readings["unit"][0])
    hour = (rows["ts"] - rows["ts"][0]).to_numpy() / 3_600_000
    return Piece(rows, (hour >= 8) & (hour < 8 + hours), stream(seed, "piece"))


@pytest.mark.parametrize("one", DAILY, ids=lambda one: one.bit.name)
def test_a_day_is_spoilt_within_its_stretch_and_nowhere_else(one: Daily, days: list[Day]) -> None:
    for seed in range(8):
        sound = piece(days, seed)
        rows, _ = one.spoil(sound)
        assert rows.schema == sound.rows.schema
        assert not rows.equals(sound.rows)
        early = rows["ts"] < sound.rows["ts"].to_numpy()[sound.within][0]
        if one.bit is not Quality.T_OUT:  # a sensor that is off all day is another way
            assert rows.filter(early).equals(sound.rows.head(int(early.sum())))
        assert one.spoil(piece(days, seed))[0].equals(rows)


def test_a_counter_is_asked_for_only_where_charge_passes(days: list[Day]) -> None:
    stands = next(one for one in DAILY if one.bit is Quality.STUCK_SOC)
    busy = piece(days, 1, hours=12)
    idle = Piece(busy.rows.with_columns(current_ma=pl.lit(200, pl.Int32)), busy.within, busy.draw)
    assert stands.spoil(busy)[1]
    assert not stands.spoil(idle)[1]
    assert stands.spoil(idle)[0].filter(pl.Series(idle.within))["soc_pm"].n_unique() == 1


def test_frozen_cells_are_asked_for_only_under_current(days: list[Day]) -> None:
    freezes = next(one for one in DAILY if one.bit is Quality.FROZEN)
    sound = piece(days, 1, hours=1)
    for current, asked in ((2_000, False), (4_000, True)):
        steady = Piece(sound.rows.with_columns(current_ma=pl.lit(current, pl.Int32)), sound.within, sound.draw)
        assert freezes.spoil(steady)[1] is asked


def test_a_third_of_a_fleet_stays_sound_and_the_same_plan_spoils_the_same(days: list[Day]) -> None:
    once, again = (list(spoilt(days, PLAN)) for _ in range(2))
    units = sorted(days[0].readings["unit"].unique())
    for before, day, other in zip(days, once, again, strict=True):
        assert day.readings.equals(other.readings)
        whose = pl.col("unit").is_in([units[0], units[3]])
        assert day.readings.filter(whose).equals(before.readings.filter(whose))
        assert day.truth["spoilt"].schema == pl.Schema(SPOILT)
        assert set(day.truth["spoilt"].filter(pl.col("bit") == "I_OFFSET")["unit"]) == {units[2], units[5]}
    here, there = (
        day.readings.filter(pl.col("unit") == units[2])["current_ma"].to_numpy() for day in (days[0], once[0])
    )
    assert 300 < abs(float(there.mean() - here.mean())) < 1_600


def test_shunts_meter_what_flows_and_every_other_stack_has_a_wrong_sensor() -> None:
    plan = FleetPlan(modules=4, days=1, seed=1, start=date(2026, 6, 1), period_s=10, cells=4, stack_size=2)
    (sound,) = simulate(plan)
    (day,) = metered([sound], plan, 6)
    assert day.readings.group_by("kind").len().sort("kind").rows() == [("module", 4 * 1440), ("shunt", 2 * 1440)]
    spread = day.readings.group_by("site", "kind", at=pl.col("ts") // 900_000).agg(pl.col("current_ma").mean())
    wide = spread.pivot("kind", index=["site", "at"], values="current_ma").sort("site", "at")
    ratio = wide.group_by("site", maintain_order=True).agg(of=2 * pl.col("module").std() / pl.col("shunt").std())
    far, near = np.abs(ratio["of"].to_numpy() - 1)
    assert near < 0.03 < far
    assert day.truth["spoilt"].select("bit", "shows").unique().rows() == [("I_GAIN", True)]
    assert day.truth["spoilt"]["site"].unique().to_list() == [wide["site"][0]]


def test_recall_counts_days_that_are_asked_for_and_false_ones_those_of_modules_never_spoilt() -> None:
    day, other = PLAN.start, date(2026, 6, 2)
    said = [
        ("bad", day, Quality.V_OUT), ("bad", other, Quality(0)), ("worse", day, Quality(0)),
        ("sound", day, Quality.GAP), ("sound", other, Quality(0)),
    ]  # fmt: skip
    module_day = pl.DataFrame([{"site": "barn", "unit": u, "day": d, "n": 9, "dq": int(q)} for u, d, q in said])
    planted = [("bad", day, True), ("bad", other, False), ("worse", day, True)]
    marks = [{"site": "barn", "unit": u, "day": d, "bit": "V_OUT", "shows": s} for u, d, s in planted]
    off = module_day.select("site", "unit", "day", soc_off=pl.lit(0.0), temp_range_c=pl.lit(0.0))
    truth = {"module": off, "spoilt": pl.DataFrame(marks, schema=SPOILT)}
    recall, *false = sensors(Replayed({"module_day": module_day}, truth, (day, other)))
    assert (recall.name, recall.figure) == ("data quality: V_OUT on days spoilt so", 0.5)
    assert {row.name.split()[2]: row.figure for row in false if row.figure} == {"GAP": 0.5}
