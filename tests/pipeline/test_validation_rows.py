"""What a validation says of figures that are known by hand."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from math import isnan

import polars as pl
import pytest

from pipeline.simulation.truth import FLAW, LOCKOUT
from pipeline.validation.bars import target
from pipeline.validation.classes import scored
from pipeline.validation.degradation import covered
from pipeline.validation.false_alarms import SETTLES, complaints
from pipeline.validation.repeat import repeat
from pipeline.validation.replay import Replayed
from pipeline.validation.row import rate, share

DAY = date(2026, 6, 1)
DAYS = tuple(DAY + timedelta(days=n) for n in range(61))


def test_a_share_has_wilsons_interval_and_is_judged_on_its_side() -> None:
    row = share("x", (0.9, 1.0), 45, 50)
    assert (row.figure, row.ok) == (0.9, True)
    assert [row.lo, row.hi] == pytest.approx([0.786, 0.957], abs=1e-3)
    assert not share("x", (0.0, 0.01), 1, 50).ok
    nothing = share("x", (0.9, 1.0), 0, 0)
    assert isnan(nothing.figure)
    assert not nothing.ok


def test_a_class_that_is_never_told_pulls_the_mean_down() -> None:
    pairs = [("a", "a"), ("a", "a"), ("b", "a")]
    row = scored("x", (0.5, 1.0), {"u1": pairs[:2], "u2": pairs[2:]})
    assert row.figure == pytest.approx((0.8 + 0.0) / 2)
    assert not row.ok
    assert row.lo <= row.figure <= row.hi


def test_a_rate_of_false_alarms_has_garwoods_interval() -> None:
    row = rate("x", (0.0, 2.0), 3, 100.0)
    assert (row.figure, row.ok) == (3.0, False)
    assert [row.lo, row.hi] == pytest.approx([0.619, 8.767], abs=1e-3)
    assert rate("x", (0.0, 0.0), 0, 100.0).ok


def stated(gain: float, off: float, wide: float) -> float:
    """Share of sensors with which an interval `wide` times its gain's holds a truth of 90 %, `off` points beside it."""
    value, half = gain * (90 + off), wide * 1.96 * 0.01 * gain * (90 + off)
    return float(
        covered(pl.DataFrame([{"true": 90.0, "gain": gain, "lo": value - half, "hi": value + half}]))["covered"][0]
    )


@pytest.mark.parametrize("gain", [0.97, 1.0, 1.02])
def test_an_interval_of_health_is_judged_over_all_sensors_whatever_the_drawn_one_is(gain: float) -> None:
    low, high = target("SOH within its 95 % interval")
    assert stated(gain, 0.0, 1.0) == pytest.approx(0.95, abs=2e-3)
    assert stated(gain, 0.0, 0.5) == pytest.approx(0.67, abs=5e-3)
    assert stated(gain, 0.0, 2.0) > high
    assert stated(gain, 1.5, 1.0) < low
    assert stated(gain, 1.5, 1.0) == pytest.approx(stated(1.0, 1.5, 1.0), abs=1e-6)


def finding(day: int, since: int, fault: str = "cell_group_failing") -> dict[str, object]:
    told = {"status": "finding", "analysis": "imbalance", "pattern": "spread_top", "fault": fault}
    return told | {"day": DAYS[day], "since_day": DAYS[since]}


def test_a_complaint_counts_once_and_one_of_the_first_days_when_it_still_stands() -> None:
    rows = [finding(n, 0) for n in range(SETTLES + 3)] + [finding(SETTLES + 2, SETTLES + 2)]
    done = Replayed({"finding": pl.DataFrame(rows)}, {}, DAYS)
    assert complaints(done) == {"imbalance spread_top": 2}
    assert complaints(done, frozenset({"cell_group_failing"})) == {}
    assert complaints(Replayed({"finding": pl.DataFrame(rows[:SETTLES])}, {}, DAYS)) == {}


def lockout(unit: str, day: int, days: float = 0.1) -> dict[str, object]:
    start = int(datetime.combine(DAYS[day], datetime.min.time(), UTC).timestamp() * 1000)
    span = {"start": start, "end": start + int(days * 86_400_000)}
    return {"site": "barn", "unit": unit, "fault": "cell_overvoltage_protection", "root_cause": "use", **span}


def risks(**p30: float) -> pl.DataFrame:
    told = {"site": "barn", "analysis": "lockout_risk"}
    return pl.DataFrame([told | {"unit": u, "day": day, "confidence": p} for u, p in p30.items() for day in DAYS])


def test_a_risk_is_judged_by_what_came_and_a_standing_lockout_asks_nothing() -> None:
    came = [lockout("bad", n) for n in range(0, 61, 2)] + [lockout("stands", 0, days=61.0)]
    truth = {"lockout": pl.DataFrame(came, schema_overrides=LOCKOUT), "flaw": pl.DataFrame(schema=FLAW)}
    done = Replayed({"finding": risks(bad=0.9, stands=0.8, sound=0.1)}, truth, DAYS)
    area, brier, lead, _ = repeat(done)
    assert (area.figure, area.ok) == (1.0, True)
    assert brier.figure == pytest.approx(0.01)
    assert lead.figure == pytest.approx(31, abs=1)


def test_days_before_a_flaw_are_told_apart() -> None:
    late = {"site": "barn", "unit": "late", "kind": "charger_high", "onset": DAYS[20]}
    truth = {
        "lockout": pl.DataFrame([lockout("late", n) for n in range(20, 61)], schema_overrides=LOCKOUT),
        "flaw": pl.DataFrame([late], schema_overrides=FLAW),
    }
    night = pl.col("day") >= DAYS[20]
    told = risks(late=0.05, sound=0.1).with_columns(
        confidence=pl.when((pl.col("unit") == "late") & night).then(0.9).otherwise("confidence")
    )
    area, _, _, with_all = repeat(Replayed({"finding": told}, truth, DAYS))
    assert area.figure == 1.0
    assert with_all.figure < 0.5
