"""Counted charge beside the state of charge shown, at readings so far apart that much happens between them."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from pipeline.analyses.doubts import doubts
from pipeline.analyses.steps import steps
from pipeline.limits import LFP
from pipeline.quality import Quality
from pipeline.schema import READING
from tests.pipeline.fleets import MIDNIGHT, frame, reading

DAY_S, LOAD_S = 86_400, 300
Numbers: TypeAlias = NDArray[Any]


def flowing(seed: int = 1) -> Numbers:
    """A, in each second of a day: out and in again, and another load every five minutes."""
    rng = np.random.default_rng(seed)
    slots = np.r_[-rng.uniform(0, 6, 96), rng.uniform(0, 30, 36), rng.uniform(-20, 20, 108), -rng.uniform(0, 10, 48)]
    return np.repeat(slots, LOAD_S)


def drifts(amps: Numbers, period_s: int, at: Numbers | None = None, *, off: float = 0.0, sets: int = 0) -> bool:
    """Whether SOC_DRIFT comes, of a counter that goes by the seconds' current and, over the day, is `off` by a share
    and sets itself right by 4 % so many times. `at`: seconds at which it is asked.
    """
    asked = np.arange(period_s - 1, DAY_S, period_s) if at is None else at.astype(int)
    seconds = np.arange(DAY_S)
    counted = 40 + np.cumsum(amps) / 3600 + 100 * off * seconds / DAY_S
    counted += 4 * np.floor(seconds * (sets + 1) / DAY_S) - 2 * sets
    return told(asked, amps, counted)


def told(asked: Numbers, amps: Numbers, percent: Numbers) -> bool:
    """Whether SOC_DRIFT comes, of a module that is asked at these seconds."""
    known = {"current_ma": np.round(amps[asked] * 10) * 100, "soc_pm": np.round(percent[asked]) * 10}
    said = pl.DataFrame({"ts": MIDNIGHT + 1000 * asked, **known})
    assert said["soc_pm"].is_between(0, 1000).all()
    quiet = frame([reading(0, (3300, 3301))]).drop(said.columns)
    rows = said.join(quiet, how="cross").select(pl.col(name).cast(kind) for name, kind in READING.items())
    return bool(doubts(steps(rows.lazy(), LFP), LFP).collect()["dq"][0] & int(Quality.SOC_DRIFT))


@pytest.mark.parametrize("into_the_load_s", [0, 60, 150, 240, 299])
@pytest.mark.parametrize("seed", range(3))
def test_polls_that_do_not_begin_with_the_load_are_no_drift_and_hide_none(into_the_load_s: int, seed: int) -> None:
    at = np.arange(into_the_load_s, DAY_S, LOAD_S)
    assert not drifts(flowing(seed), LOAD_S, at)
    assert drifts(flowing(seed), LOAD_S, at, off=0.16)


@pytest.mark.parametrize("seed", range(4))
def test_polls_at_no_fixed_moment_are_no_drift(seed: int) -> None:
    at = np.arange(0, DAY_S, LOAD_S) + np.random.default_rng(seed).integers(0, LOAD_S, DAY_S // LOAD_S)
    assert not drifts(flowing(seed), LOAD_S, at)


@pytest.mark.parametrize("period_s", [10, 60, 300])
def test_a_counter_that_sets_itself_right_has_not_drifted_so_far(period_s: int) -> None:
    assert not drifts(flowing() / 3, period_s, sets=4)


@pytest.mark.parametrize(("period_s", "off", "drifted"), [
    (10, 0.06, False), (10, 0.11, True), (60, 0.06, False), (60, -0.11, True), (300, 0.06, False), (300, -0.16, True),
])  # fmt: skip
def test_what_is_sure_is_told_and_the_finer_the_surer(period_s: int, off: float, drifted: bool) -> None:
    assert drifts(flowing() / 3, period_s, off=off) is drifted


def test_a_line_that_loses_readings_now_and_then_hides_no_drift_and_an_hour_without_any_is_none() -> None:
    polled = np.arange(0, DAY_S, 10)
    often, once = polled[polled % 3600 >= 60], polled[(polled < 41_000) | (polled > 44_600)]
    assert not drifts(flowing() / 3, 10, often)
    assert drifts(flowing() / 3, 10, often, off=0.11)
    assert not drifts(flowing(), 10, once)


@pytest.mark.parametrize("period_s", [60, 300])
def test_a_counter_that_stands_at_full_while_much_flows_in_has_drifted(period_s: int) -> None:
    hour = np.arange(DAY_S) / 3600
    amps = np.where(hour < 8, -5.0, np.where(hour < 11, 30.0, 0.0))
    shown = np.minimum(85 + np.cumsum(amps) / 3600, 100)
    asked = np.arange(period_s - 1, DAY_S, period_s)
    assert told(asked, amps, shown)
