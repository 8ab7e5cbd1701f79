"""A cell is out of step in one of a few ways, and each has another remedy: charge, capacity, resistance, leak, wire."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from pipeline.analyses.balanced import balanced
from pipeline.analyses.cell_month import cell_month
from pipeline.analyses.cells import cells
from pipeline.analyses.charge_ends import early_ends, idle_balancers
from pipeline.analyses.fillings import fillings
from pipeline.analyses.gaps_of_charge import gaps_of_charge
from pipeline.analyses.mismatch import mismatch, without_doubles
from pipeline.analyses.patterns import patterns
from pipeline.chemistry import LFP as CURVE
from pipeline.limits import HOUR, LFP
from pipeline.schema import TABLES
from tests.pipeline.fleets import DAY, MINUTE, lived, reading

CELLS, DAYS, NOMINAL = 6, 20, 100_000.0
M = LFP.mismatch
Lacks = Callable[[int, int], float]


def crossings(lag: Lacks, lead: Lacks) -> pl.LazyFrame:
    """A filling and an emptying a day; `lag` and `lead` say by cell and day how much (mAh) each is late and early."""
    rows = []
    for day in range(DAYS):
        for cell in range(CELLS):
            for direction, at, gap in ((1, 12, lag(cell, day)), (-1, 22, lead(cell, day))):
                if not np.isnan(gap):
                    mah = 80_000 * (direction == 1) + gap
                    ts = (day * 24 + at) * HOUR + round(direction * gap * 100)
                    rows.append(("barn", "u1", cell, DAY + timedelta(days=day), direction, ts, mah))
    schema = ["site", "unit", "cell", "day", "direction", "ts", "mah"]
    return pl.LazyFrame(rows, schema=schema, orient="row").cast({"cell": pl.Int16, "direction": pl.Int8})


def worked(balancing_s: Lacks, filled_s: Lacks) -> pl.LazyFrame:
    """`balanced` of such cell_day rows; the functions say by cell and day how long each was balanced, and filled."""
    zeros = dict.fromkeys(("jumps", "quiet", "top_first", "top_last", "sxy", "sxx", "steps"), 0)
    rows = [
        {"site": "barn", "unit": "u1", "day": DAY + timedelta(days=day), "cell": cell, **zeros,
         "balancing_s": balancing_s(cell, day), "filled_s": filled_s(cell, day), "min_mv": 3101, "max_mv": 3457}
        for day in range(DAYS) for cell in range(CELLS)
    ]  # fmt: skip
    return balanced(pl.LazyFrame(rows, schema_overrides={"cell": pl.Int16}), M)


def gaps(lag: Lacks, lead: Lacks, work: pl.LazyFrame | None = None) -> dict[int, dict[str, Any]]:
    idle = worked(nothing, nothing) if work is None else work
    known = pl.LazyFrame([("barn", "u1", c) for c in range(CELLS)], schema=["site", "unit", "cell"], orient="row")
    passed = fillings(crossings(lag, lead), known.cast({"cell": pl.Int16}), M)
    nominal = pl.LazyFrame({"site": ["barn"], "unit": ["u1"], "nominal_mah": [NOMINAL]})
    return {row["cell"]: row for row in gaps_of_charge(passed, idle, nominal, M).collect().to_dicts()}


def nothing(_cell: int, _day: int) -> float:
    return 0.0


def of(cell: int, mah: Callable[[int], float]) -> Lacks:
    return lambda at, day: mah(day) if at == cell else 0.0


def test_what_a_cell_lacks_at_full_and_at_empty_alike_is_charge_and_no_capacity() -> None:
    lacking = gaps(of(2, lambda _: 4000.0), of(2, lambda _: 4000.0))[2]
    assert (lacking["lag"], lacking["lead"], lacking["deficit"]) == pytest.approx((0.04, 0.04, 0.0))


def test_empty_earlier_and_full_with_the_others_is_capacity() -> None:
    small = gaps(nothing, of(2, lambda _: 5000.0))[2]
    assert (small["deficit"], small["first_empty"]) == pytest.approx((0.05, 1.0))


def test_a_cell_that_a_balancer_heals_holds_as_much_as_the_others_all_along() -> None:
    healing = of(1, lambda day: 5000.0 - 250 * day)
    found = gaps(healing, healing)[1]
    assert found["deficit"] == pytest.approx(0.0)
    assert found["drift_full"] == pytest.approx(-250 / 24, rel=1e-3)


def test_a_filling_that_was_missed_is_not_taken_for_an_older_one() -> None:
    missed = gaps(of(3, lambda day: float("nan") if day >= 5 else 1000.0), of(3, lambda _: 6000.0))[3]
    assert (missed["unfilled"], missed["late_unfilled"]) == pytest.approx((0.75, 1.0))
    assert missed["pairs"] == 5


def test_one_cell_that_ends_every_emptying_alone_is_told_even_where_the_others_are_never_empty() -> None:
    alone = gaps(nothing, lambda cell, _: 0.0 if cell == 4 else float("nan"))[4]
    assert (alone["alone_empty"], alone["lead"]) == (1.0, None)


def month(**said: Any) -> pl.LazyFrame:
    """Six cells' rows of `cell_month`, all even but cell 2, of which `said` tells; `loses` is the drift and what
    balancing brought, if nothing else is said.
    """
    even: dict[str, Any] = {
        "site": "barn",
        "unit": "u1",
        "nominal_mah": NOMINAL,
        "days": 30,
        "tops": 20,
        "bottoms": 20,
        "pairs": 20,
        "rests": 0,
        **dict.fromkeys(("lag", "late_lag", "lead", "deficit", "unfilled", "unfilled_excess", "late_unfilled"), 0.0),
        "first_empty": 0.2,
        "alone_empty": 0.0,
        "rest_deficit": None,
        "drift": 0.0,
        "drift_from": "full",
        "loses": None,
        "bleed_ma": 0.0,
        "given_ma": 0.0,
        "moved": 0.0,
        "shuttles": False,
        "behind": 0.1,
        "ahead": 0.1,
        "ratio": 1.0,
        "steps": 500,
        "jump_rate": 0.0,
        "jumps": 0,
        "quiet": 9000,
        "beside_rate": 0.0,
        "beside": 1,
        "warmer_k": 0.5,
        "lags": 20,
        "lag_sd": 0.001,
        "lead_sd": 0.001,
        "said": 30,
        "balancing_s": 100.0,
    }
    rows = [even | {"cell": c, "at_end": c in (0, CELLS - 1)} | (said if c == 2 else {}) for c in range(CELLS)]
    for row in rows:
        if row["loses"] is None and row["drift"] is not None:
            row["loses"] = row["drift"] + row["bleed_ma"]
    unset = ("rest_deficit", "loses")
    floats = {name: pl.Float64 for name, value in even.items() if isinstance(value, float) or name in unset}
    return pl.LazyFrame(rows, schema_overrides={**floats, "cell": pl.Int16})


LATE = {"rest_deficit": 0.06, "first_empty": 1.0, "unfilled_excess": 0.9, "late_unfilled": 1.0}
SMALL = {"rest_deficit": 0.06, "first_empty": 0.7, "alone_empty": 0.4}
NEVER_FULL = {**SMALL, "tops": 0, **dict.fromkeys(("unfilled", "unfilled_excess", "late_unfilled", "lag", "late_lag")),
              "deficit": None}  # fmt: skip
CASES: tuple[tuple[str | None, dict[str, Any]], ...] = (
    (None, {}),
    ("erratic_reading", {"jump_rate": 0.02, "beside_rate": 0.018}),
    (None, {"jump_rate": 0.02, "beside_rate": 0.0}),
    ("weak_under_load", {"ratio": 1.4}),
    (None, {"ratio": 1.4, "steps": 20}),
    ("capacity_deficit", {"deficit": 0.05}),
    ("capacity_deficit", {"deficit": None, "rest_deficit": 0.06, "first_empty": 1.0}),
    ("lagging_cell", LATE),
    (None, {**LATE, "days": 5}),
    ("leaking_cell", {**LATE, "drift": 9.0}),
    ("leaking_cell", {"shuttles": True, "bleed_ma": 30.0}),
    (None, {"shuttles": True, "bleed_ma": 30.0, "days": 5}),
    ("possible_internal_short", {"shuttles": True, "bleed_ma": 40.0, "warmer_k": 4.0}),
    ("top_drift", {"lag": 0.008, "late_lag": 0.008}),
    ("top_drift", {"lag": 0.008, "late_lag": 0.008, "shuttles": True, "moved": 0.005}),
    (None, {"lag": 0.008, "late_lag": 0.008, "shuttles": True, "moved": 0.010}),  # it moves more than that in a day
    (None, {"lag": 0.008, "late_lag": 0.008, "days": 12}),  # no balancer is through yet
    (None, {"lag": 0.006, "late_lag": 0.006}),
    (None, {"lag": 0.008, "late_lag": 0.001}),
    ("lagging_cell", {"lag": 0.03, "late_lag": 0.03}),  # where every cell passes the mark, as on a sloped curve
    ("capacity_deficit", {**SMALL, "deficit": 0.0, "pairs": 3}),  # the pairs are of the days before it shrank
    (None, {**SMALL, "deficit": 0.0}),
    ("capacity_deficit", {**NEVER_FULL, "ahead": 0.4}),
    ("lagging_cell", {**NEVER_FULL, "ahead": 0.12}),
    ("lagging_cell", {**LATE, "drift": 4.0, "bleed_ma": 4.0}),  # 6 mA, if half of the balancer's part is assumed only
    ("lagging_cell", {**LATE, "drift": 6.0}),  # towards where the balancer holds it
    ("lagging_cell", {**LATE, "drift": 12.0, "loses": 1.0}),  # the balancer took it, and explains the drift
    ("leaking_cell", {**LATE, "drift": 1.0, "loses": 7.1}),  # the balancer hides the leak
    ("lagging_cell", {**LATE, "drift": 12.0, "loses": 7.0}),
    ("leaking_cell", {**LATE, "drift": 12.0, "given_ma": 49.0}),  # a tenth of it may be lost on the way
    ("lagging_cell", {**LATE, "drift": 12.0, "given_ma": 51.0}),
    (None, {"shuttles": True, "bleed_ma": 30.0, "lag": -0.009}),  # ahead at full, and fed all the same
    (None, {"lag": -0.017, "late_lag": -0.013, "lead": 0.001, "deficit": None}),  # at one end only
    ("capacity_deficit", {"alone_empty": 0.8, "deficit": None}),
)  # fmt: skip


@pytest.mark.parametrize(("pattern", "said"), CASES)
def test_the_first_rule_that_holds_names_the_pattern_and_no_other_cell(
    pattern: str | None, said: dict[str, Any]
) -> None:
    told = patterns(month(**said), M).collect()
    assert told["pattern"].to_list() == [pattern if cell == 2 else None for cell in range(CELLS)]


def verdict(rows: pl.LazyFrame, dq: int = 0) -> list[dict[str, Any]]:
    days = pl.LazyFrame({"site": ["barn"], "unit": ["u1"], "dq": [dq]})
    judged = patterns(rows, M).collect().lazy()
    hist = pl.LazyFrame({"site": ["barn"], "unit": ["u1"], "band": ["top"], "bin_mv": [40], "n": [100]})
    schema = {
        "site": pl.String,
        "unit": pl.String,
        "ts": pl.Int64,
        "cell": pl.Int16,
        "state": pl.String,
        "mv": pl.Float64,
    }
    ends = early_ends(pl.LazyFrame(schema=schema), M, CURVE)
    return mismatch(judged, idle_balancers(judged, hist, M), ends, days, M).collect().to_dicts()


def test_a_finding_names_cell_number_limit_and_action() -> None:
    (found,) = verdict(month(deficit=0.05))
    assert (found["status"], found["pattern"], found["cell"]) == ("finding", "capacity_deficit", 2)
    assert (found["value"], found["threshold"], found["value_unit"]) == (5.0, 3.0, "%")
    assert found["action"] == '["cell_capacity_mismatch"]'
    assert '"id":"holds_less_than_its_neighbours","value":5' in found["reasons"]


def test_even_cells_are_said_to_be_even_and_too_few_fillings_to_be_unseen() -> None:
    few = month().with_columns(tops=pl.lit(2))
    assert [verdict(rows)[0]["status"] for rows in (month(), few)] == ["ok", "not_observable"]


def test_a_balancer_that_never_worked_is_told_in_place_of_the_cell_that_lags_for_want_of_it() -> None:
    rows = month(**LATE)
    (found,) = verdict(rows.with_columns(balancing_s=pl.lit(0.0)))
    assert (found["pattern"], found["cell"], found["value"]) == ("balancer_inactive", 2, 45.0)


def test_a_charge_that_one_cell_ends_early_is_told_with_that_cell() -> None:
    mv = [3380.0] * 5 + [3600.0]
    rows = [("barn", "u1", end * HOUR, cell, "full", mv[cell]) for end in range(5) for cell in range(CELLS)]
    anchors = pl.LazyFrame(rows, schema=["site", "unit", "ts", "cell", "state", "mv"], orient="row")
    assert early_ends(anchors, M, CURVE).collect().to_dicts() == [
        {"site": "barn", "unit": "u1", "cell": 5, "early": 1.0, "ends": 5}
    ]
    assert early_ends(anchors.filter(pl.col("ts") > 0), M, CURVE).collect().is_empty()


def whole(gap: dict[int, dict[str, Any]], work: pl.LazyFrame) -> dict[int, dict[str, Any]]:
    """The rows of `cell_month` of a module that never rests low."""
    kinds = {"site": pl.String, "unit": pl.String, "day": pl.Date, "ts": pl.Int64, "cell": pl.Int16}
    rests = pl.LazyFrame(schema={**kinds, "state": pl.String, "soc": pl.Float64, "mv": pl.Float64})
    seen = pl.LazyFrame(list(gap.values()), schema_overrides={"cell": pl.Int16})
    rows = cell_month(seen, work, rests, DAY + timedelta(days=DAYS - 1), LFP).collect()
    return {row["cell"]: row for row in rows.to_dicts()}


def test_a_balancer_that_moves_charge_says_how_much_a_day_and_one_that_bleeds_moves_none() -> None:
    moving = worked(lambda cell, _: 3600.0 if cell < 2 else 0.0, of(1, lambda _: 3600.0))
    assert whole(gaps(nothing, nothing, moving), moving)[4]["moved"] == pytest.approx(M.shuttle_ma / NOMINAL)
    bleeding = worked(of(2, lambda _: 7200.0), of(2, lambda _: 60.0))
    assert whole(gaps(nothing, nothing, bleeding), bleeding)[2]["moved"] == 0.0


def test_a_cell_that_misses_the_charges_end_by_now_leaks_as_much_as_it_shows_at_empty() -> None:
    """What was seen of it at full is from before it began."""
    begun = gaps(of(3, lambda day: 0.0 if day < 9 else float("nan")), of(3, lambda day: 1000.0 * max(0, day - 8)))
    rows = whole(begun, worked(nothing, nothing))
    assert begun[3]["drift_full"] == pytest.approx(0.0)
    assert (rows[3]["drift_from"], rows[2]["drift_from"]) == ("empty", "full")
    assert rows[3]["drift"] > 20  # 1000 mAh a day are 42 mA, and the days before are of the slope too


def rested(step: int, below: int) -> dict[str, Any]:
    """Cell 2 of a month of rests near 20 %, so many mV below the others, of a device that counts in steps."""
    place = {"site": "barn", "stack": "s", "module": "m", "edge": "e", "kind": "module", "unit": "u1"}
    level = 3240 // step * step
    days, seen = [], []
    for cell in range(CELLS):
        mv = level - below * (cell == 2)
        days.append({**place, "day": DAY, "cell": cell, "min_mv": mv - step, "max_mv": mv + step, "n": 100})
        for n in range(6):
            soc = 0.2 - (level - mv) * 0.002
            at = {"ts": n * 24 * HOUR, "state": "rest", "mv": float(mv), "soc": soc}
            seen.append({**place, "day": DAY, "cell": cell, **at})
    zeros = dict.fromkeys(("jumps", "quiet", "top_first", "top_last", "steps", "bottom_first", "mid_far"), 0)
    cell_day = pl.DataFrame([zeros | row for row in days], schema=TABLES["cell_day"]).lazy()
    anchors = pl.DataFrame(seen, schema=TABLES["anchor"]).lazy()
    gap = pl.LazyFrame({"site": ["barn"], "unit": ["u1"], "nominal_mah": [NOMINAL]})
    names = ("drift_full", "drift_empty", "loses_full", "loses_empty", "late_unfilled")
    none = dict.fromkeys(names, pl.lit(None, pl.Float64))
    month = cell_month(cell_day.select("site", "unit", "cell").join(gap, on=["site", "unit"]).with_columns(**none),
                       balanced(cell_day, M), anchors, DAY, LFP)  # fmt: skip
    return {row["cell"]: row["rest_deficit"] for row in month.collect().to_dicts()}


def test_what_is_a_step_or_two_of_a_coarse_device_lacks_no_charge() -> None:
    assert rested(step=10, below=20)[2] == 0.0
    assert rested(step=10, below=40)[2] == pytest.approx(0.08)
    assert rested(step=1, below=20)[2] == pytest.approx(0.04)


def test_a_spread_that_a_pattern_explains_is_not_told_twice() -> None:
    rows = [
        ("mismatch", "finding", 2),
        ("imbalance", "finding", 2),
        ("imbalance", "finding", 4),
        ("imbalance", "ok", 2),
    ]
    found = pl.DataFrame(
        [("barn", "u1", *row) for row in rows], schema=["site", "unit", "analysis", "status", "cell"], orient="row"
    )
    assert without_doubles(found)["cell"].to_list() == [2, 4, 2]


def test_the_lowest_of_balanced_cells_is_filled_and_the_others_are_bled() -> None:
    rows = [reading(n * MINUTE, (3450, 3430, 3410), balancing=0b101) for n in range(60)]
    told = cells(lived(rows), LFP).collect()
    assert told["balancing_s"].to_list() == pytest.approx([3600.0, 0.0, 3600.0])
    assert told["filled_s"].to_list() == pytest.approx([0.0, 0.0, 3600.0])


def test_what_a_balancer_took_and_gave_back_is_no_leak_although_the_cell_fell_behind() -> None:
    """For ten days it takes 4 h a day from cell 2, then it rests: the cell falls behind, and stays there."""
    took = worked(of(2, lambda day: 14_400.0 if day < 10 else 0.0), nothing)
    behind = of(2, lambda day: 4 * M.balance_ma * min(day, 10))
    found = gaps(behind, behind, took)[2]
    assert found["drift_full"] > M.drift_ma
    assert found["loses_full"] == pytest.approx(0.0, abs=1e-6)


def test_a_leak_shows_beside_what_the_balancer_took_and_where_it_hides_it() -> None:
    """24 mA out of cell 2, from which the balancer takes besides; and of which it makes up for all by the others."""
    took = worked(of(2, lambda _: 3600.0), nothing)
    both = of(2, lambda day: (576 + M.balance_ma) * day)
    assert gaps(both, both, took)[2]["loses_full"] == pytest.approx(24.0, rel=0.01)
    others = worked(lambda cell, _: 0.0 if cell == 2 else 576 / M.balance_ma * 3600, nothing)
    hidden = gaps(nothing, nothing, others)[2]
    assert (hidden["drift_full"], hidden["loses_full"]) == pytest.approx((0.0, 24.0))


def test_a_cell_that_is_shuttled_to_and_fro_pays_for_the_way() -> None:
    """It gives as long as it is given: what is lost between is missing there, and not by a leak."""
    paid = worked(lambda cell, _: 7200.0 if cell == 2 else 0.0, of(2, lambda _: 3600.0)).collect()
    mine = paid.filter(pl.col("cell") == 2, pl.col("day") == DAY).to_dicts()[0]
    assert mine["shuttles"]
    assert mine["given_mah"] == pytest.approx(M.shuttle_ma)
    assert mine["bleed_mah"] == pytest.approx(-M.shuttle_ma * (1 / M.shuttle_yield - 1))
    assert paid.filter(pl.col("cell") == 2)["bleed_before_mah"].to_list()[:3] == pytest.approx(
        [day * mine["bleed_mah"] for day in range(3)]
    )


def test_a_bms_that_speaks_of_no_balancing_takes_nothing() -> None:
    silent = worked(nothing, nothing).with_columns(balancing_s=pl.lit(None, pl.Float64))
    rows = balanced(silent.drop("shuttles", "bleed_mah", "bleed_before_mah", "given_mah"), M).collect()
    assert rows["bleed_mah"].null_count() == rows.height
    assert set(rows["bleed_before_mah"]) == {0.0}
