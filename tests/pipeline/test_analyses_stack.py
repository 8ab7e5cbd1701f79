"""Modules in parallel share a current by their resistance and a charge by their capacity: which of them falls out?"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import polars as pl
import pytest

from pipeline.analyses.stack import stack
from pipeline.analyses.stack_month import stack_month
from pipeline.analyses.stack_sums import stack_sums
from pipeline.chemistry import LFP as CURVE
from pipeline.limits import LFP
from pipeline.nightly.stacks import out_of_line
from pipeline.nightly.store import Where
from pipeline.quality import Quality
from pipeline.schema import STACK_DAY, TABLES
from tests.pipeline.fleets import DAY, MINUTE, lived, reading

LIMITS = LFP.stack


def sums(shares: tuple[float, ...], silent: int | None = None, **said: Any) -> list[dict[str, Any]]:
    """A day of modules that take these shares of a current that comes and goes by half-hours."""
    rows = []
    for n in range(1440):
        current = 60_000 * (n // 30 % 3 - 1)
        for unit, share in enumerate(shares):
            if silent == unit and n < 600:
                continue
            soc = 800 if silent == unit else 500
            mv = (3300,) * 4
            rows.append(reading(n * MINUTE, mv, unit=f"u{unit}", current_ma=round(share * current), soc_pm=soc, **said))
    mates = pl.LazyFrame({"unit": [f"u{n}" for n in range(len(shares))], "heap": 1, "nominal": 100_000.0})
    return stack_sums(lived(rows), mates, LFP, CURVE).collect().to_dicts()


def test_the_shares_of_a_current_are_found_and_at_rest_there_is_none() -> None:
    first, second, third = sums((0.5, 0.3, 0.2))
    assert [row["sxy"] / row["sxx"] for row in (first, second, third)] == pytest.approx([0.5, 0.3, 0.2])
    assert [row["dxy"] / row["dxx"] for row in (first, second, third)] == pytest.approx([0.5, 0.3, 0.2])
    assert (first["members"], first["whole"], first["rest_ma"]) == (3, 288, 0.0)


def test_pieces_in_which_a_neighbour_was_silent_do_not_count() -> None:
    first, _, late = sums((0.4, 0.3, 0.3), silent=2)
    assert (first["bins"], first["whole"]) == (288, 168)
    assert late["back_pm"] == pytest.approx(300.0)


def day(unit: int, n: int = 0, /, **said: Any) -> dict[str, Any]:
    """A module's row of stack_day `n` days before DAY; nothing is wrong with it but what is said."""
    at = DAY - timedelta(days=n)
    row: dict[str, Any] = {
        "site": "barn",
        "stack": "s1",
        "module": f"m{unit}",
        "unit": f"u{unit}",
        "edge": "e",
        "kind": "module",
        "day": at,
        "code_version": 1,
        "members": 3,
        "bins": 288,
        "whole": 288,
        "sxy": 33.0,
        "sxx": 100.0,
        "dxy": 33.0,
        "dxx": 100.0,
        "steps": 40,
        "moved_mah": 50_000.0,
        "rests": 50,
        "rest_ma": 5_000.0,
        "last_ts": 1_000_000_000 - 86_400_000 * n,
        "heap_ts": 1_000_000_000 - 86_400_000 * n,
        "last_soc_pm": 500.0,
        "last_mv": 3300.0,
        "back_pm": None,
        "first_pm": 200.0,
        "tops": 1,
        "led_top": 0,
        "bottoms": 0,
        "led_bottom": 0,
        "apart": 0.01,
    }
    return row | said


def verdicts(
    wrong: dict[str, Any], days: int = 6, held: tuple[float, ...] = (95.0, 95.0, 95.0), **known: list[Any]
) -> dict[str, dict[str, Any]]:
    """Findings by unit, of a stack of three whose u1 is as `wrong` says."""
    rows = [day(unit, n, **(wrong if unit == 1 else {})) for n in range(days) for unit in range(3)]
    months = pl.DataFrame(rows, schema=STACK_DAY).lazy()
    units = {"site": ["barn"] * 3, "unit": ["u0", "u1", "u2"]}
    told = {"nominal_mah": [100_000.0] * 3, "model": ["A"] * 3, "firmware": ["1"] * 3, "ease": [1.0] * 3} | known
    capacity = pl.concat([pl.LazyFrame({**units, "cell": [0, 0, 0], "mah": [1000 * ah for ah in held]})] * 3)
    month = stack_month(months, capacity, pl.LazyFrame({**units, **told}), DAY, LIMITS)
    return {row["unit"]: row for row in stack(month, LIMITS).collect().to_dicts()}


def test_a_stack_that_pulls_together_raises_nothing() -> None:
    assert {row["status"] for row in verdicts({}).values()} == {"ok"}


def test_a_stack_without_steps_of_current_is_not_judged() -> None:
    assert verdicts({}, days=0) == {}
    assert verdicts({"steps": 2}, days=1)["u1"]["status"] == "not_observable"


@pytest.mark.parametrize(
    ("pattern", "fault", "wrong"),
    [
        ("poor_connection", "module_imbalance", {"dxy": 20.0}),
        ("charge_apart", "module_imbalance", {"apart": -0.15}),
        ("limiting_module", "module_imbalance", {"led_top": 1, "apart": -0.06}),
        ("circulating_current", "module_imbalance", {"rest_ma": 200_000.0}),
        ("reconnect_hazard", "parallel_reconnect_hazard", {"back_pm": -250.0}),
    ],
)
def test_each_way_to_fall_out_has_its_name(pattern: str, fault: str, wrong: dict[str, Any]) -> None:
    found = verdicts(wrong, days=12)
    assert {unit: row["status"] for unit, row in found.items()} == {"u0": "ok", "u1": "finding", "u2": "ok"}
    assert (found["u1"]["pattern"], found["u1"]["fault"]) == (pattern, fault)


def test_of_sound_modules_one_leads_the_first_ends_of_charge() -> None:
    assert verdicts({"led_top": 1, "apart": -0.06}, days=6)["u1"]["status"] == "ok"
    assert verdicts({"led_top": 1, "apart": -0.03}, days=12)["u1"]["status"] == "ok"


def test_a_module_that_comes_back_after_a_day_away_is_compared_with_the_others() -> None:
    rows = [day(unit, n) for n in range(4) for unit in range(3) if (unit, n) != (1, 1)]
    nobody = pl.LazyFrame(schema={"site": pl.String, "unit": pl.String, "cell": pl.Int16, "mah": pl.Float64})
    known = pl.LazyFrame(
        {"site": "barn", "unit": ["u0", "u1", "u2"], "nominal_mah": 1e5, "model": "A", "firmware": "1", "ease": 1.0}
    )
    month = stack_month(pl.DataFrame(rows, schema=STACK_DAY).lazy(), nobody, known, DAY, LIMITS).collect()
    assert month["back_pm"].to_list() == [None, 200.0, None]


def test_a_weak_module_is_told_with_what_the_stack_loses() -> None:
    weak = verdicts({"apart": 0.2}, held=(95.0, 70.0, 94.0))
    assert (weak["u1"]["pattern"], weak["u0"]["status"]) == ("weak_module", "ok")
    assert weak["u1"]["value"] == pytest.approx(100 * 70 / 95)
    assert '"id":"charge_the_stack_cannot_use","value":49000' in weak["u1"]["reasons"]


def test_mixed_sizes_and_mixed_models_are_told_of_the_odd_one() -> None:
    smaller = verdicts({"dxy": 27.0}, held=(95.0, 70.0, 95.0), nominal_mah=[100_000.0, 74_000.0, 100_000.0])
    other = verdicts({}, model=["A", "B", "A"])
    assert [found["u1"]["pattern"] for found in (smaller, other)] == ["mixed_stack"] * 2
    assert [found["u0"]["status"] for found in (smaller, other)] == ["ok"] * 2


def test_a_size_just_above_the_limit_may_as_well_lie_below_it() -> None:
    """Some BMS give what they have learnt as nominal: 115.05 % beside a limit of 115 % is no other model."""
    near = verdicts({}, nominal_mah=[115_050.0, 100_000.0, 115_050.0])
    beyond = verdicts({"dxy": 28.0}, held=(115.0, 95.0, 115.0), nominal_mah=[120_000.0, 100_000.0, 120_000.0])
    assert near["u1"]["status"] == "ok"
    assert beyond["u1"]["pattern"] == "mixed_stack"
    assert beyond["u1"]["lo"] > beyond["u1"]["threshold"]


def test_a_module_whose_cells_resist_more_is_not_said_to_have_a_poor_connection() -> None:
    """It takes two thirds of the others' current, and so it should by its cells; without them nobody can tell."""
    wrong = {"dxy": 25.0}
    batch, joint = (verdicts(wrong, ease=eases)["u1"] for eases in ([1.0, 0.72, 1.0], [1.0] * 3))
    unknown = verdicts(wrong, ease=[1.0, None, 1.0])["u1"]
    assert batch["status"] == "ok"
    assert [row["pattern"] for row in (joint, unknown)] == ["poor_connection"] * 2


class Month:
    """A store of six days of a stack of three, whose u1 seems to take a third of its due."""

    def __init__(self, dq: Quality) -> None:
        place = {"site": "barn", "stack": "s1"}
        rows = [day(unit, n, **({"dxy": 10.0} if unit == 1 else {})) for n in range(6) for unit in range(3)]
        modules = [place | {"unit": r["unit"], "day": r["day"], "nominal_mah": 1e5} for r in rows]
        doubted = [row | {"dq": int(dq) if row["unit"] == "u1" else 0} for row in modules]
        self.rows = {"stack_day": rows, "module_day": doubted}

    def scan(self, table: str, days: tuple[date, date] | None = None) -> pl.LazyFrame:
        return pl.LazyFrame(self.rows.get(table, []), schema=TABLES[table])

    def replace(self, table: str, frame: pl.DataFrame, *, where: Where) -> None:
        raise NotImplementedError


@pytest.mark.parametrize(("dq", "status"), [(Quality(0), "finding"), (Quality.CLOCK, "not_observable")])
def test_steps_under_a_wrong_clock_are_not_compared(dq: Quality, status: str) -> None:
    about = pl.LazyFrame({"site": "barn", "unit": ["u0", "u1", "u2"], "model": "A", "firmware": "1"})
    told = out_of_line(Month(dq), DAY, ("barn",), about, LIMITS).collect()
    assert dict(told.select("unit", "status").rows())["u1"] == status


def test_a_module_that_fell_silent_is_missing_and_one_that_was_exchanged_is_not() -> None:
    two = [day(unit, n, members=2) for n in range(3) for unit in (0, 2)]
    gone = [day(1, n) for n in (3, 4)]
    moved = [day(3, 0, module="m1", members=2)]
    known = pl.LazyFrame(
        {
            "site": ["barn"] * 4,
            "unit": [f"u{n}" for n in range(4)],
            "nominal_mah": 100_000.0,
            "model": "A",
            "firmware": "1",
            "ease": None,
        },
        schema_overrides={"ease": pl.Float64},
    )
    capacity = pl.LazyFrame(schema={"site": pl.String, "unit": pl.String, "cell": pl.Int16, "mah": pl.Float64})
    told = [
        stack(stack_month(pl.DataFrame(rows, schema=STACK_DAY).lazy(), capacity, known, DAY, LIMITS), LIMITS).collect()
        for rows in (two + gone, two + gone + moved)
    ]
    missing = told[0].filter(pl.col("pattern") == "missing_module").to_dicts()
    assert [(row["unit"], row["value"], row["value_unit"]) for row in missing] == [("u1", 72.0, "h")]
    assert told[1].filter(pl.col("unit") == "u1").is_empty()
