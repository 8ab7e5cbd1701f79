"""Trend, siblings, remaining life, warranty and round trip, on courses whose answer is known."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from cellherd.warranty import Warranty, warranty
from pipeline.analyses.fading import fading
from pipeline.analyses.life import lives
from pipeline.analyses.loops import efficiency, loops
from pipeline.analyses.promises import margin, remaining
from pipeline.analyses.siblings import leaning, named
from pipeline.analyses.soh import daily, monthly
from pipeline.analyses.trend import bend, trends, unseen, weekly
from pipeline.limits import DAY as DAY_MS
from pipeline.methods.forecast import Course
from pipeline.nightly.ageing import ageing
from pipeline.schema import TABLES
from tests.pipeline.fleets import Shelf

DAY = date(2026, 6, 1)
LOSS = 0.03
NAMES = {"site": "barn", "unit": "u1"}


def table(name: str, rows: list[dict[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=TABLES[name])


def course(days: int, *, unit: str = "u1", loss: float = LOSS, warm: float = 0.0, seed: int = 1) -> pl.DataFrame:
    """Rows of soh up to DAY: a straight loss, scatter of 0.3 points, and what warmth adds for each 10 K."""
    draw = np.random.default_rng(seed)
    said = []
    for ago in range(days - 1, -1, -1):
        temp = 200 + 80 * np.sin(ago / 58) + draw.normal(0, 10)
        value = 1 - loss * (days - ago) / 365 + warm * (temp - 200) / 100 + draw.normal(0, 0.003)
        known = {"method": "crossings", "n": 1, "sigma": 0.004, "known": 1, "cell": 0, "least": value}
        amps = draw.normal(15_000, 3000)
        said.append({**NAMES, "unit": unit, "day": DAY - timedelta(days=ago), "soh": value, "temp_dc": temp,
                     "current_ma": amps, **known})  # fmt: skip
    return table("soh", said)


def of(days: int, **how: float) -> dict[str, Any]:
    rows = trends(weekly(course(days, **how).lazy(), DAY).collect()).to_dicts()  # type: ignore[arg-type]
    assert len(rows) == 1
    return rows[0]


def test_a_slope_is_told_from_the_eighth_week_on_and_its_interval_holds_the_truth() -> None:
    assert trends(weekly(course(48).lazy(), DAY).collect()).height == 0
    told = of(200)
    assert told["method"] == "weekly"
    assert told["slope"] == pytest.approx(-LOSS, abs=0.004)
    assert told["lo"] < -LOSS < told["hi"]
    assert told["p"] < 0.001
    assert told["knee_days"] is None


def test_warmth_that_leaks_into_capacity_is_not_taken_for_ageing() -> None:
    told = of(300, warm=0.01)
    assert told["lo"] < -LOSS < told["hi"]
    blind = course(300, warm=0.01).with_columns(temp_dc=200.0)
    fooled = trends(weekly(blind.lazy(), DAY).collect()).to_dicts()[0]
    assert fooled["hi"] - fooled["lo"] > 1.3 * (told["hi"] - told["lo"])  # and it knows that it is unsure


def test_what_bends_is_told_with_an_interval_that_holds_it_before_a_knee_is_told_and_after() -> None:
    """A night decides that there is a knee, the one before it did not: neither may rule the other's slope out."""
    days, draw = np.arange(0.0, 360, 7) - 360, np.random.default_rng(3)
    seen = np.where(days < -270, 0.98, 0.98 - 0.30 * (days + 270) / 365) + draw.normal(0, 0.003, len(days))
    flat = {"temp_dc": 200.0, "current_ma": 15_000.0, "site": "mill", "unit": "u1"}
    told = trends(pl.DataFrame({"at": days, "soh": seen}).with_columns(**{k: pl.lit(v) for k, v in flat.items()}))
    whole = trends(
        pl.DataFrame({"at": days[:40], "soh": seen[:40]}).with_columns(**{k: pl.lit(v) for k, v in flat.items()})
    )
    assert told["knee_days"][0] is not None
    assert whole["knee_days"][0] is None
    assert whole["lo"][0] < -0.30 < whole["hi"][0]
    assert told["lo"][0] < -0.30 < told["hi"][0]


def test_eight_weeks_that_agree_are_no_sure_trend() -> None:
    """What drifts with the season does not scatter: 0.12 points in nine weeks are 0.7 points a year."""
    told = trends(weekly(course(60).with_columns(soh=pl.lit(0.99)).lazy(), DAY).collect()).to_dicts()[0]
    assert told["hi"] - told["lo"] > 2 * 1.96 * 0.007


def test_what_makes_weeks_scatter_makes_a_records_ends_unsure_as_well() -> None:
    """Rare readings miss the same at each emptying, and another amount in summer than in spring."""
    draw = np.random.default_rng(4).normal(0, 1, 170)
    calm, wild = (
        trends(weekly(course(170).with_columns(soh=0.95 + size * pl.Series(draw)).lazy(), DAY).collect()).to_dicts()[0]
        for size in (0.0005, 0.02)
    )
    assert calm["unseen"] == pytest.approx(unseen(calm["span_days"]))
    assert wild["unseen"] > 4 * calm["unseen"]
    assert wild["error"] > wild["unseen"]


def test_warmth_that_explains_nothing_does_not_widen_an_interval() -> None:
    """Over half a year warmth and time say nearly the same; only what surely leaks is to be told from ageing."""
    season = course(170)
    sound, leaking = (course(170, warm=w) for w in (0.0, 0.01))
    told, mixed, line = (
        trends(weekly(rows.lazy(), DAY).collect()).to_dicts()[0]
        for rows in (sound, leaking, season.with_columns(temp_dc=200.0))
    )
    assert told["hi"] - told["lo"] == pytest.approx(line["hi"] - line["lo"])
    assert (told["lo"] + told["hi"]) / 2 == pytest.approx(told["slope"])
    assert mixed["lo"] < -LOSS < mixed["hi"]


def test_from_the_second_year_on_a_year_is_held_against_the_one_before() -> None:
    told = of(3 * 365, warm=0.01)
    assert told["method"] == "year_on_year"
    assert told["slope"] == pytest.approx(-LOSS, abs=0.002)
    assert told["lo"] < -LOSS < told["hi"]


def test_a_knee_is_seen_and_the_slope_is_that_behind_it() -> None:
    at = 7.0 * np.arange(-200, 0)
    soh = np.where(at < -400, 0.9 - 0.01 * (at + 400) / 365, 0.9 - 0.08 * (at + 400) / 365)
    noisy = soh + np.random.default_rng(1).normal(0, 0.003, len(at))
    found = bend(at, noisy)
    assert found is not None
    assert found[0] == pytest.approx(-400, abs=60)
    blank = np.zeros(len(at))
    weeks = pl.DataFrame({"site": "barn", "unit": "u1", "at": at, "soh": noisy, "temp_dc": blank, "current_ma": blank})
    told = trends(weeks).to_dicts()[0]
    assert told["slope"] == pytest.approx(-0.08, abs=0.012)
    assert told["knee_days"] == pytest.approx(400, abs=60)
    assert bend(at, 0.9 - 0.03 * at / 365) is None


def circle(count: int, slope: float = -0.02) -> pl.DataFrame:
    """Rows of trend of like modules, whose losses are half of the years and half of the cycles."""
    draw = np.random.default_rng(2)
    calendar, cyclic = draw.uniform(0.01, 0.05, count), draw.uniform(0.01, 0.05, count)
    rows = [
        {"site": "mill", "unit": f"k{n}", "day": DAY - timedelta(days=1), "model": "m", "cohort": "m/mild/0",
         "slope": slope + draw.normal(0, 0.003), "error": 0.003, "soh": 1 - 0.5 * calendar[n] - 0.5 * cyclic[n],
         "calendar": calendar[n], "cyclic": cyclic[n]}
        for n in range(count)
    ]  # fmt: skip
    return table("trend", rows)


def alone(alike: float = 0.0, **said: Any) -> pl.DataFrame:
    row = {**NAMES, "model": "m", "cohort": "m/mild/0", "slope": -0.06, "error": 0.03, "soh": 0.93, **said}
    return table("trend", [row]).drop("shrunk", "shrunk_error", "siblings").with_columns(unseen=pl.lit(alike))


def test_an_uncertain_slope_leans_on_its_siblings_and_they_tell_years_from_cycles() -> None:
    told = leaning(alone(), circle(20)).to_dicts()[0]
    assert told["siblings"] == 20
    assert -0.03 < told["shrunk"] < -0.015
    assert told["shrunk_error"] < 0.01
    assert told["share_lo"] < 0.5 < told["share_hi"]
    short = leaning(alone(unseen(73.0)), circle(20)).to_dicts()[0]
    alike = math.hypot(told["shrunk_error"], unseen(73.0))  # the seasons lead all siblings astray
    assert short["shrunk_error"] == pytest.approx(alike)
    assert alike > 1.4 * told["shrunk_error"]
    sure = leaning(alone(error=0.0005), circle(20)).to_dicts()[0]
    assert sure["shrunk"] == pytest.approx(-0.06, abs=0.002)


def test_fewer_than_eight_siblings_leave_a_slope_alone_and_nobody_is_its_own() -> None:
    few = leaning(alone(), circle(7)).to_dicts()[0]
    assert (few["siblings"], few["shrunk"], few["share"]) == (7, -0.06, None)
    mine = pl.concat([circle(7), circle(1).with_columns(**{k: pl.lit(v) for k, v in NAMES.items()})])
    assert leaning(alone(), mine).to_dicts()[0]["siblings"] == 7


def test_cohorts_are_model_climate_and_age() -> None:
    rows = pl.LazyFrame({"model": ["m"] * 3, "temp_dc": [50.0, 200.0, 300.0], "age_days": [10.0, 800.0, 4000.0]})
    assert named(rows).collect()["cohort"].to_list() == ["m/cold/0", "m/mild/1", "m/warm/2"]


def standing(**said: Any) -> pl.DataFrame:
    usual = {"shrunk": -0.02, "shrunk_error": 0.003, "soh_sigma": 0.01, "age_days": 1825.0, "span_days": 1000.0,
             "siblings": 20, "percent": 70.0, "term_years": 10.0, "warranty_cycles": None, "warranty_mwh": None,
             "used_cycles": 1000.0, "used_mwh": 5.0, "use_years": 5.0, "knee_days": None}  # fmt: skip
    return alone().with_columns(**{k: pl.lit(v) for k, v in {**usual, **said}.items()})


def life_of(**said: Any) -> dict[str, Any]:
    return lives(standing(**said), {}, []).to_dicts()[0]


def test_life_is_an_interval_that_holds_the_straight_answer() -> None:
    told = life_of(soh=0.86, shrunk=-0.03)
    assert told["why"] is None
    assert told["p10"] < (0.86 - 0.80) / 0.03 < told["p90"]
    assert life_of(soh=0.79, shrunk=-0.03)["p50"] == 0.0


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"soh": None}, "no_trend_yet"),
        ({"shrunk": 0.01}, "no_loss_to_go_by"),
        ({"soh": 0.98, "shrunk": -0.005, "span_days": 100.0}, "too_far_beyond_what_was_seen"),
        ({"soh": 0.86, "shrunk": -0.03, "siblings": 3}, "too_few_like_modules"),
    ],
)
def test_life_is_not_told_where_nobody_knows_and_the_reason_is(said: dict[str, Any], why: str) -> None:
    told = life_of(**said)
    assert (told["why"], told["p50"]) == (why, None)


def test_siblings_that_have_ended_correct_the_forecast() -> None:
    age = np.linspace(0.1, 8, 80)
    ended = [Course(age * pace, 0.2 * (age / 8) ** 2) for pace in np.linspace(0.9, 1.1, 12)]
    own = {("barn", "u1"): Course(age[:60], 0.2 * (age[:60] / 8) ** 2)}
    told = lives(standing(soh=0.88, shrunk=-0.04), own, ended).to_dicts()[0]
    assert told["by"] == "siblings"
    assert told["p50"] == pytest.approx(2, abs=0.4)
    assert told["p10"] < told["p50"] < told["p90"]


def test_the_warranty_ends_with_the_first_of_its_terms() -> None:
    assert life_of()["warranty_years"] == pytest.approx(5.0)
    assert life_of(warranty_cycles=1200.0)["warranty_years"] == pytest.approx(1.0)
    assert life_of(warranty_mwh=7.0)["warranty_years"] == pytest.approx(2.0)
    assert life_of(warranty_cycles=900.0)["p_breach"] is None  # it has ended
    assert life_of(percent=None)["p_breach"] is None


def test_a_breach_to_come_is_a_finding_with_its_chance_and_a_sound_module_is_none() -> None:
    both = [standing(soh=soh, shrunk=rate).join(lives(standing(soh=soh, shrunk=rate), {}, []), on=["site", "unit"])
            for soh, rate in ((0.80, -0.05), (0.97, -0.01))]  # fmt: skip
    bad, good = (margin(rows.lazy()).collect().to_dicts()[0] for rows in both)
    assert (bad["status"], good["status"]) == ("finding", "ok")
    assert bad["fault"] == "capacity_fade"
    assert bad["lo"] < bad["value"] < bad["hi"]
    assert json.loads(bad["reasons"])[0]["id"] == "below_the_warranty_before_its_end"
    assert json.loads(bad["evidence"])["p_breach"] > 0.9
    assert json.loads(good["reasons"]) == []
    soon = remaining(both[0].lazy()).collect().to_dicts()[0]
    assert (soon["status"], soon["value_unit"]) == ("finding", "years")


def test_a_fast_trend_is_a_finding_with_points_a_year() -> None:
    rows = leaning(alone(slope=-0.09, error=0.004, p=0.001, weeks=30), circle(0))
    units = pl.LazyFrame({k: [v] for k, v in NAMES.items()})
    told = fading(rows.lazy(), units).collect().to_dicts()[0]
    assert (told["status"], told["value_unit"]) == ("finding", "% a year")
    assert told["lo"] < told["value"] < told["hi"] < -5
    unseen = fading(rows.lazy().clear(), units).collect().to_dicts()[0]
    assert unseen["status"] == "not_observable"
    assert json.loads(unseen["reasons"])[0]["threshold"] == 8


def full(day: int, out_mah: float) -> dict[str, Any]:
    at = DAY - timedelta(days=day)
    counted = {"in_mah": 50_000.0, "out_mah": out_mah, "in_wh": 2700.0, "out_wh": 0.05 * out_mah}
    return {**NAMES, "day": at, "cell": 0, "state": "full", "ts": -day * DAY_MS, "temp_dc": 200.0, **counted}


def closed(out: float) -> pl.DataFrame:
    """Ten days of one loop each: 100 Ah in a day, of which `out` comes back, at 54 and 50 V."""
    fulls = table("anchor", [full(n, 50_000 * out) for n in range(10)])
    moved = {"charge_mah": 1e5, "discharge_mah": 1e5 * out, "charge_wh": 5400.0, "discharge_wh": 5000.0 * out}
    days = table("module_day", [{**NAMES, "day": DAY - timedelta(days=n), "nominal_mah": 1e5, **moved}
                                for n in range(10)])  # fmt: skip
    return pl.concat(loops(fulls.lazy(), days.lazy(), DAY - timedelta(days=n)).collect() for n in range(9))


def test_energy_that_comes_back_is_told_from_full_to_full_and_a_wrong_sensor_is_named() -> None:
    units = pl.LazyFrame({k: [v] for k, v in NAMES.items()})
    good = efficiency(closed(1.0).lazy(), units).collect().to_dicts()[0]
    assert (good["status"], good["value"]) == ("ok", pytest.approx(100 * 50 / 54))
    wrong = efficiency(closed(0.9).lazy(), units).collect().to_dicts()[0]
    assert (wrong["status"], wrong["value"]) == ("low_quality", pytest.approx(100 * 50 / 54))
    assert json.loads(wrong["reasons"])[0]["id"] == "charge_that_comes_back"
    none = efficiency(closed(1.0).clear().lazy(), units).collect().to_dicts()[0]
    assert none["status"] == "not_observable"


def test_a_night_tells_trend_life_and_warranty_of_a_year_and_the_same_when_done_again() -> None:
    units = [f"u{n}" for n in range(12)]
    soh = pl.concat(course(365, unit=unit, loss=0.02 + 0.002 * n, seed=n) for n, unit in enumerate(units))
    usual = {"nominal_mah": 1e5, "charge_mah": 8e4, "discharge_mah": 8e4, "discharge_wh": 4000.0, "soc_pm_mean": 500.0,
             "soc_pm_min": 100.0, "soc_pm_max": 950.0, "temp_dc_mean": 200.0}  # fmt: skip
    days = table("module_day", [{**NAMES, "unit": unit, "day": DAY - timedelta(days=ago), **usual}
                                for unit in units for ago in range(365)])  # fmt: skip
    store, today = Shelf(pl.DataFrame()), pl.col("day") == DAY
    store.tables |= {"soh": soh.filter(~today), "module_day": days.filter(~today)}
    tables = {"soh": soh.filter(today), "module_day": days.filter(today), "anchor": table("anchor", [])}
    roster = tables["module_day"].select("site", "unit", model=pl.lit("m"), chemistry=pl.lit("lfp"),
                                         installed=pl.lit(DAY - timedelta(days=1000)),
                                         warranty=pl.lit("10 years, 70 %"))  # fmt: skip
    first, second = (ageing(store, DAY, tables, roster) for _ in range(2))
    assert first[0]["trend"].equals(second[0]["trend"])
    assert all(a.equals(b) for a, b in zip(first[1], second[1], strict=True))
    assert first[0]["trend"].height == len(units)
    said = {frame["analysis"][0]: frame["status"].to_list() for frame in first[1]}
    assert said["trend"] == ["ok"] * len(units)
    held = pl.concat(first[1]).filter(pl.col("pattern") == "warranty")
    assert held.height == len(units)
    assert (held["lo"] < held["hi"]).all()


@pytest.mark.parametrize("text", ["ten years", "10 years", "70 %", "10 years, 0 %", "10 years, 9 years, 70 %"])
def test_a_warranty_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"warranty|needs"):
        warranty(text)


def test_a_warranty_is_read_as_it_is_spoken() -> None:
    assert warranty("10 years, 6000 cycles, 20 MWh, 70 %") == Warranty(70, 10, 6000, 20)
    assert warranty("") is None


def emptying(*came: tuple[int, float, int], cells: int = 5) -> pl.DataFrame:
    """soh of a module of 100 Ah: (cell, what it holds in Ah, hours after 20:00 of DAY) of each that came down."""
    begin, columns = datetime.combine(DAY, time(20), UTC), ("day", "ts", "cell", "mah")
    at = [begin + timedelta(hours=hours) for _, _, hours in came]
    rows = [(t.date(), round(1000 * t.timestamp()), c, 1000 * ah) for t, (c, ah, _) in zip(at, came, strict=True)]
    others = {"sigma": 300.0, "temp_dc": 200.0, "current_ma": -9000.0, "offset_ma": 5.0}
    frame = pl.LazyFrame(rows, schema=columns, orient="row").with_columns(
        site=pl.lit("s"), unit=pl.lit("u1"), method=pl.lit("crossings"), **{n: pl.lit(v) for n, v in others.items()}
    )
    modules = pl.LazyFrame({"site": "s", "unit": "u1", "nominal_mah": 100_000, "n_cells": cells})
    return daily(frame, modules).collect()


def test_cells_that_come_down_on_both_sides_of_midnight_are_one_stretch_of_the_day_of_the_third() -> None:
    both = emptying((0, 90.0, 0), (1, 94.0, 3), (2, 95.0, 5), (3, 96.0, 5), (4, 97.0, 6))
    assert both.select("day", "n", "soh", "cell", "least").rows() == [(DAY + timedelta(days=1), 1, 0.95, 0, 0.9)]


def test_the_median_cell_is_told_although_the_strongest_did_not_come_and_not_from_the_weakest_alone() -> None:
    assert emptying((0, 90.0, 0), (1, 94.0, 1), (2, 95.0, 2))["soh"].to_list() == [0.95]
    assert emptying((0, 90.0, 0), (1, 94.0, 1)).is_empty()


def test_two_emptyings_of_a_day_are_two() -> None:
    twice = emptying(*((cell, 95.0, at) for cell in range(5) for at in (-19, 1)))
    assert twice.select("n", "soh").rows() == [(2, 0.95)]


def month(*health: float) -> dict[str, float]:
    """`monthly` of a module with one stretch a day, each sure to half a point."""
    days = [DAY + timedelta(days=n) for n in range(len(health))]
    fixed = {"site": "s", "unit": "u1", "method": "crossings", "n": 1, "sigma": 0.005}
    rows = pl.DataFrame({"day": days, "soh": health}).with_columns(pl.lit(v).alias(n) for n, v in fixed.items())
    return monthly(rows.lazy(), days[-1]).collect().row(0, named=True)


def test_three_days_that_happen_to_agree_are_no_sure_number_and_thirty_are() -> None:
    few, many = month(0.9, 0.9, 0.9), month(*[0.9] * 30)
    assert few["own"] > 1.3 * 0.005
    assert many["own"] == pytest.approx(0.005, rel=0.02)
    assert few["own"] < month(0.88, 0.9, 0.92)["own"] < month(0.9)["own"] * 1.2
