"""Exact tails, risk, survival, clusters, bursts, cohorts and ranking on fleets made by hand."""

from __future__ import annotations

import math
from typing import Any

import polars as pl
import pytest

from pipeline.analyses.bursts import bursts
from pipeline.analyses.clusters import clusters
from pipeline.analyses.cohorts import cohorts
from pipeline.analyses.features import out_of_step
from pipeline.analyses.ranking import distances
from pipeline.analyses.rare import binomial_tail, chi2_quantile, false_discovery, poisson_tail
from pipeline.analyses.recurrence import recurrence
from pipeline.analyses.risk import risk
from pipeline.analyses.survival import median_days, survival
from pipeline.limits import DAY, LFP
from tests.pipeline.test_analyses_sessions import SESSION

YEAR = 365


def test_tails_are_those_of_the_tables() -> None:
    assert poisson_tail(3, 1.0) == pytest.approx(1 - 2.5 / math.e)
    assert poisson_tail(60, 1.0) == pytest.approx(4.5e-83, rel=0.05)
    assert binomial_tail(8, 10, 0.5) == pytest.approx(56 / 1024)
    assert [chi2_quantile(0.95, n) for n in (1, 5, 250)] == pytest.approx([5.991, 18.307, 553.127], rel=1e-4)
    assert false_discovery([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.16 / 3, 0.16 / 3, 0.5])


def linked(rows: list[tuple[str, float]], cause: str = "OV_CELL", weight: float = 1.0) -> pl.LazyFrame:
    """Sessions of an hour, given as (unit, day); each ends by itself."""
    said = [
        ("barn", u, cause, round(d * DAY), round(d * DAY) + 3_600_000, "auto_release", 0, weight, False)
        for u, d in rows
    ]
    return recurrence(pl.LazyFrame(said, schema=SESSION, orient="row"), LFP.lockouts)


def fleet(units: int, **more: Any) -> pl.LazyFrame:
    rows = [
        {"site": "barn", "unit": f"u{n}", "cohort": "all", "from_ts": 0, "linked": 0.0, "near": 0, **more}
        for n in range(units)
    ]
    return pl.LazyFrame(rows)


def risks(rows: list[tuple[str, float]], units: int = 20) -> dict[str, dict[str, Any]]:
    found = risk(linked(rows), fleet(units), YEAR * DAY, LFP.risk).collect()
    return {row["unit"]: row for row in found.to_dicts()}


def test_who_locked_out_lately_is_likelier_to_again_than_who_did_long_ago_or_never() -> None:
    said = risks([*(("u1", 330.0 + 10 * n) for n in range(4)), *(("u2", 10.0 * n) for n in range(1, 5))])
    assert said["u1"]["p30"] > 2 * said["u2"]["p30"] > 0
    assert said["u2"]["p30"] == pytest.approx(said["u3"]["p30"], rel=0.1)
    assert all(0 <= row["p7"] < row["p30"] < 1 for row in said.values())


def test_two_that_lock_out_daily_say_little_of_those_beside_them_that_never_did() -> None:
    """All come near a limit often; in ten days two tripped four times a day, and two never."""
    daily = [(unit, n / 4) for unit in ("u0", "u1") for n in range(40)]
    said = risk(linked(daily), fleet(4, near=9), 10 * DAY, LFP.risk).collect()
    p30 = dict(said.select("unit", "p30").iter_rows())
    assert p30["u0"] > 0.99
    assert p30["u2"] < 0.7


def test_a_quiet_fleet_has_a_small_risk_and_no_score() -> None:
    said = risks([])
    assert max(row["p30"] for row in said.values()) < 0.1
    assert {row["score"] for row in said.values()} == {0}


def test_getting_worse_needs_more_than_a_few_lockouts_by_chance() -> None:
    worse = risks([("u1", YEAR - 200 * 0.7**n) for n in range(12)])["u1"]
    even = risks([("u1", 30.0 * n) for n in range(1, 12)])["u1"]
    assert worse["beta_lo"] > 1 > even["beta_lo"]
    assert worse["getting_worse"] == 0.5
    assert even["getting_worse"] == 0


def test_a_wait_that_has_not_ended_does_not_count_as_one_that_has() -> None:
    rows = linked([("u1", 0), ("u1", 10), ("u2", 0), ("u2", 30)])
    curve = survival(rows, fleet(2), 100 * DAY, ["cause"]).collect()
    assert curve["at_risk"].to_list() == [4, 3]
    assert curve["free"].to_list() == pytest.approx([0.75, 0.5])
    assert median_days(curve.lazy(), ["cause"]).collect()["days"].item() == pytest.approx(30 - 1 / 24)


def test_a_firmware_that_locks_out_is_found_and_chance_is_not() -> None:
    old = pl.int_range(pl.len()) < 12
    version = pl.when(old).then(pl.lit("1.2")).otherwise(pl.lit("1.3"))
    units = fleet(60).with_columns(days=pl.lit(365.0), firmware=version)
    bad = linked(
        [(f"u{n}", 40.0 * k + n) for n in range(12) for k in range(1, 7)] + [(f"u{n}", 100.0) for n in range(12, 30)]
    )
    (found,) = clusters(bad, units, LFP.risk).to_dicts()
    assert (found["attribute"], found["value"], found["units"]) == ("firmware", "1.2", 12)
    chance = linked([(f"u{n}", 40.0 * k + n) for n in range(60) for k in range(1, 7)])
    assert clusters(chance, units, LFP.risk).is_empty()
    one = linked([("u1", 8.0 * k) for k in range(1, 40)])
    assert clusters(one, units, LFP.risk).is_empty()


def test_many_at_once_are_a_burst_and_a_steady_rate_is_none() -> None:
    steady = [(f"u{n}", 9.0 * n + 0.5) for n in range(40)]
    assert bursts(linked(steady), 365 * DAY, 365.0, LFP.risk).is_empty()
    storm = bursts(linked(steady + [(f"v{n}", 364.5) for n in range(8)]), 365 * DAY, 365.0, LFP.risk)
    assert 1 in storm["days"].to_list()


def compared(
    values: dict[str, float], feature: str = "drift", models: dict[str, str] | None = None
) -> dict[str, dict[str, Any]]:
    models = models or {}
    said = [
        {"site": "barn", "unit": u, "model": models.get(u, "m"), "age_days": 5, "temp_dc": 200.0, "chemistry": "lfp"}
        for u in values
    ]
    units = cohorts(pl.LazyFrame(said), LFP.cohorts)
    long = [{"site": "barn", "unit": u, "feature": "drift", "value": v} for u, v in values.items()]
    return {row["unit"]: row for row in distances(pl.LazyFrame(long), units, LFP.cohorts).collect().to_dicts()}


CALM = {f"u{n}": 1.0 + 0.1 * n for n in range(10)}


def test_only_the_bad_side_counts_and_a_small_spread_is_not_blown_up() -> None:
    assert compared(CALM | {"odd": 40.0})["odd"]["part"] > 0.5
    assert compared(CALM | {"odd": -40.0})["odd"]["part"] == 0
    assert compared(CALM | {"odd": 4.0})["odd"]["part"] == 0


def test_too_few_of_a_model_are_compared_with_all_of_them_and_too_few_at_all_with_nobody() -> None:
    lone = compared(CALM | {"odd": 40.0, "odder": 41.0}, models={"odd": "rare", "odder": "rare"})
    assert (lone["odd"]["n"], lone["odd"]["part"] > 0.5) == (12, True)
    assert compared(dict(list(CALM.items())[:7])) == {}


def test_a_pattern_that_no_charge_heals_sets_a_module_apart_and_one_that_a_charge_heals_does_not() -> None:
    said = [
        ("u1", "stack", "poor_connection", "finding", 0.99),
        ("u1", "mismatch", "even_spread", "ok", 0.8),
        ("u2", "mismatch", "leaking_cell", "finding", 0.7),
        ("u3", "mismatch", "top_drift", "finding", 0.9),
        ("u3", "stack", "limiting_module", "finding", 0.9),
        ("u4", "mismatch", "even_spread", "not_observable", 0.0),
    ]
    schema = ["unit", "analysis", "pattern", "status", "confidence"]
    rows = pl.LazyFrame(said, schema=schema, orient="row").with_columns(site=pl.lit("barn"))
    told = out_of_step(rows).collect()
    assert dict(told.select("unit", "value").rows()) == {"u1": 99.0, "u2": 70.0, "u3": 0.0}
    assert told["feature"].unique().to_list() == ["out_of_step"]
