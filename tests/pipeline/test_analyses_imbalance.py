from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl
import pytest

from cellherd.settings import Module
from pipeline.analyses.cells import cells
from pipeline.analyses.spread import percentile, spread
from pipeline.limits import LFP, limits_for
from pipeline.nightly.site_day import Site, nightly
from tests.pipeline.fleets import DAY, MINUTE, Shelf, frame, lived, reading

BARN = Site("barn", "acme", "UTC")
TOP, MID, BOTTOM = 3450, 3300, 3050


def cycle(top: Sequence[int] = (0,) * 8, mid: Sequence[int] = (0,) * 8, bottom: Sequence[int] = (0,) * 8) -> Any:
    """A day of 8 cells: the middle, an hour full, an hour empty; the lists say how far each cell is off there."""
    for n in range(1440):
        level, off, soc = (TOP, top, 1000) if 600 <= n < 660 else (BOTTOM, bottom, 60) if n >= 1380 else (MID, mid, 500)
        yield reading(n * MINUTE, [level + o for o in off], soc_pm=soc)


def verdicts(rows: Any, site: Site = BARN) -> dict[str, dict[str, Any]]:
    found = nightly(Shelf(frame(rows)), DAY, [site]).findings.filter(pl.col("analysis") == "imbalance")
    return {row["pattern"].removeprefix("spread_"): row for row in found.to_dicts()}


def statuses(rows: Any, site: Site = BARN) -> dict[str, str]:
    return {band: row["status"] for band, row in verdicts(rows, site).items()}


def test_a_healthy_battery_raises_nothing_even_full_and_empty() -> None:
    full = (0, 40, -30, 70, 10, -40, 20, 60)  # the curve is steep up there: 110 mV is a few tenths of a percent
    assert statuses(cycle(top=full, mid=(0, 3, 5, -2, 1, 0, 4, 2), bottom=(0, -60, 20, 40, 0, -30, 10, 50))) == {
        "top": "ok",
        "mid": "ok",
        "bottom": "ok",
    }


def test_a_cell_that_runs_ahead_only_near_full_is_named() -> None:
    found = verdicts(cycle(top=(0, 0, 280, 0, 0, 0, 5, 0)))
    assert [found[band]["status"] for band in ("top", "mid", "bottom")] == ["finding", "ok", "ok"]
    top = found["top"]
    assert (top["cell"], top["fault"], top["value"], top["threshold"]) == (2, "top_of_charge_drift", 285, 250)
    assert '"id":"same_cell_highest_near_full","value":100' in top["reasons"]
    assert top["confidence"] == pytest.approx(60 / 80)
    assert (top["since_day"], top["rank"]) == (DAY, 1)


def test_a_cell_that_lags_near_full_is_named_too() -> None:
    top = verdicts(cycle(top=(0, 5, 0, 0, 0, -260, 0, 3)))["top"]
    assert (top["status"], top["cell"]) == ("finding", 5)
    assert "same_cell_lowest_near_full" in top["reasons"]


def test_a_weak_cell_shows_at_the_bottom_and_the_severity_follows_the_spread() -> None:
    weak = verdicts(cycle(bottom=(0, 0, 0, -350, 0, 0, 0, 0)))["bottom"]
    failing = verdicts(cycle(bottom=(0, 0, 0, -450, 0, 0, 0, 0)))["bottom"]
    assert (weak["status"], weak["cell"], weak["fault"]) == ("finding", 3, "cell_capacity_mismatch")
    assert (failing["cell"], failing["fault"], failing["severity"]) == (3, "cell_group_failing", "fault")
    assert failing["score"] > weak["score"]


def test_cells_that_take_turns_are_uneven_but_none_is_blamed() -> None:
    rows = [reading(n * MINUTE, [MID + (80 if n % 8 == cell else 0) for cell in range(8)]) for n in range(1440)]
    mid = verdicts(rows)["mid"]
    assert (mid["status"], mid["cell"]) == ("finding", None)


def test_what_was_not_seen_is_not_judged() -> None:
    rows = [reading(n * MINUTE, (MID,) * 8) for n in range(1440)]
    assert statuses(rows) == {"top": "not_observable", "mid": "ok", "bottom": "not_observable"}


def test_cells_that_do_not_add_up_are_not_judged_either() -> None:
    rows = [row | {"voltage_mv": 27_000} for row in cycle(top=(0, 0, 280, 0, 0, 0, 0, 0))]
    assert set(statuses(rows).values()) == {"low_quality"}


def test_swapping_two_cells_swaps_the_verdict_and_nothing_else() -> None:
    one = verdicts(cycle(top=(290, 0, 0, 5, 0, 0, 0, 0)))["top"]
    other = verdicts(cycle(top=(0, 0, 0, 5, 0, 0, 0, 290)))["top"]
    changed = {key for key in one if one[key] != other[key]}
    assert changed == {"cell", "finding_id"}


def test_nmc_at_four_volts_is_not_full_lfp() -> None:
    rows = [reading(n * MINUTE, (3800, 3800, 3820, 3790), soc_pm=600) for n in range(1440)]
    nmc = Site("barn", "acme", "UTC", {("s1", "m1"): "nmc"})
    assert statuses(rows, nmc) == {"top": "not_observable", "mid": "ok", "bottom": "not_observable"}
    assert limits_for("something new") is LFP


def test_a_module_that_says_only_lowest_and_highest_has_a_spread_but_no_cells() -> None:
    rows = [reading(n * MINUTE, cell_min_mv=3290, cell_max_mv=3380) for n in range(1440)]
    found = verdicts(rows)["mid"]
    assert (found["status"], found["cell"], found["value"]) == ("finding", None, 95)


def test_histograms_of_two_halves_add_up_to_the_whole() -> None:
    rows = frame(cycle(top=(0, 0, 280, 0, 0, 0, 5, 0))).lazy()
    whole = spread(rows, LFP).collect()
    halves = pl.concat([spread(rows.head(630), LFP), spread(rows.slice(630), LFP)])
    added = halves.group_by("unit", "band", "bin_mv").agg(pl.col("n").sum()).sort("unit", "band", "bin_mv").collect()
    assert added.equals(whole)
    assert (
        percentile(halves, 0.95, ["unit", "band"]).filter(pl.col("band") == "top").collect()["spread_mv"].item() == 285
    )


def test_steps_of_current_tell_each_cells_resistance() -> None:
    ohm = (0.001, 0.001, 0.002)
    rows = []
    for n in range(200):
        ampere = 10 if n % 2 else -10
        rows.append(reading(n * MINUTE, [3300 + round(1000 * ampere * r) for r in ohm], current_ma=1000 * ampere))
    day = cells(lived(rows), LFP).collect()
    assert (day["sxy"] / day["sxx"]).to_list() == pytest.approx([1, 1, 2])  # mOhm
    assert day["jumps"].sum() == 0


def test_a_jumping_wire_is_counted_and_balancing_is_timed() -> None:
    rows = [
        reading(n * MINUTE, (3300, 3360 if n % 10 == 5 else 3300, 3300, 3300), balancing=0b100 if n < 30 else 0)
        for n in range(100)
    ]
    day = cells(lived(rows), LFP).collect()
    assert day["jumps"].to_list() == [0, 20, 0, 0]  # up and down again
    assert day["balancing_s"].to_list() == [0, 0, 30 * 60, 0]


def test_what_a_device_of_coarse_steps_says_below_its_noise_is_no_spread() -> None:
    def rows(unit: str, off: int, step: int) -> Any:
        for n in range(60):
            level = [3300 + (n % 2) * 10, 3300 + off + (n % 2) * 10, *[3300] * 6]
            yield reading(n * MINUTE, [mv + step * (at == 7) for at, mv in enumerate(level)], soc_pm=500, unit=unit)

    said = pl.concat([frame(rows(*each)) for each in (("noise", 10, 0), ("apart", 40, 0), ("fine", 10, 3))])
    found = spread(said.lazy(), LFP).collect()
    least = dict(found.group_by("unit").agg(pl.col("bin_mv").min()).iter_rows())
    most = dict(found.group_by("unit").agg(pl.col("bin_mv").max()).iter_rows())
    assert most == {"noise": 0, "apart": 50, "fine": 20}, "20 mV of a device that counts in 10 are nothing"
    assert least == {"noise": 0, "apart": 40, "fine": 10}


def test_the_odd_one_out_of_a_coarse_device_is_none_below_its_noise() -> None:
    def seen(step: int, below: int) -> list[int]:
        base = [3300] * 4
        rows = [reading(n * MINUTE, [base[0], base[1] - below, *base[2:]], soc_pm=500) for n in range(60)]
        return list(cells(lived(rows), LFP).collect()["mid_far"])

    assert seen(10, 20) == [0, 0, 0, 0]
    assert seen(10, 40)[1] > 0
    assert seen(3, 21)[1] > 0


def test_an_older_river_is_nmc_by_its_model() -> None:
    def chemistry(**told: str) -> str:
        return Module.model_validate({"site": "barn", "stack": "s", "id": "m", **told}).chemistry

    assert [chemistry(model=name) for name in ("RIVER Pro", "EcoFlow River Max", "RIVER 2 Pro", "DELTA Pro", "")] == [
        *("nmc", "nmc", "lfp", "lfp", "lfp")
    ]
    assert chemistry(model="River Pro", chemistry="lfp") == "lfp", "what a person says counts"


def test_what_one_percent_of_charge_shows_at_the_ends_of_a_flat_curve_is_no_finding() -> None:
    ends = cycle(top=(0, 0, 190, 0, 0, 0, 5, 0), bottom=(0, 0, 0, -240, 0, 0, 20, 0))
    assert statuses(ends) == {"top": "ok", "mid": "ok", "bottom": "ok"}


def test_a_full_module_whose_counter_says_half_is_not_judged_as_half_full() -> None:
    apart = [0, 0, 60, 0, 0, 0, 0, 0]
    rested = [row | {"soc_pm": 790} | {f"c{n:02}": 3350 + mv for n, mv in enumerate(apart)} for row in cycle()]
    assert statuses(rested)["mid"] == "not_observable"
