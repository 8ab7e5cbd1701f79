"""Each row of the table of root causes on hand-made numbers, and what must not be told."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from pipeline.analyses.evidence import ROOTS
from pipeline.analyses.roots import roots
from pipeline.limits import limits_for

CALM: dict[str, Any] = {
    "mean_hi": 3300.0,
    "mean_lo": 3290.0,
    "low": 3280,
    "high": 3310,
    "spread": 20,
    "others_lo": 3291.0,
    "low_at": 2,
    "high_at": 5,
    "i_peak": -5_000,
    "i_mean": -4_000.0,
    "i_rms": 4_000.0,
    "i_step": 2_000,
    "i_last": 2_000,
    "over_ms": 300_000,
    "soc_pm": 500,
    "t_lo": 180,
    "t_hi": 200,
    "t_apart": 20,
    "t_rise": 0.0,
    "t_least": 150,
    "full_mah": 100_000,
    "idle_h": 0.2,
    "site_peers": 0,
    "site_units": 4,
    "share": 0.25,
    "stack_units": 4,
    "stack_missing": 0,
    "limit_ma": 100_000,
    "period_ms": 10_000,
    "firmware_old": False,
}
ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "cell_runs_away": ("OV_CELL", {"mean_hi": 3420.0, "high": 3655, "spread": 250}),
    "charge_voltage_high": ("OV_CELL", {"mean_hi": 3590.0, "high": 3655, "spread": 60}),
    "charger_ignores_limit": ("OV_PACK", {"mean_hi": 3480.0, "i_step": 35_000, "spread": 60}),
    "weak_cell": ("UV_CELL", {"others_lo": 3150.0, "low": 2490, "spread": 650, "mean_lo": 3110.0}),
    "soc_drift": ("UV_CELL", {"mean_lo": 2600.0, "others_lo": 2610.0, "low": 2490, "soc_pm": 300, "spread": 100}),
    "idle_drain": ("DEEP_SLEEP", {"mean_lo": 2800.0, "others_lo": 2810.0, "soc_pm": 0, "idle_h": 70.0}),
    "emptied": ("UV_CELL", {"mean_lo": 2600.0, "others_lo": 2610.0, "low": 2490, "soc_pm": 10, "spread": 100}),
    "climate": ("UT_CHG", {"t_lo": -40, "t_hi": -20, "t_apart": 20}),
    "load_heating": ("OT_DSG", {"t_hi": 510, "t_lo": 490, "t_least": 250, "i_rms": 70_000.0}),
    "hot_place": ("OT_CHG", {"t_hi": 460, "t_lo": 450, "t_least": 400, "i_rms": 9_000.0}),
    "sensor": ("UT_CHG", {"t_lo": -390, "t_hi": 200, "t_apart": 590}),
    "surge": ("OC_DSG", {"i_peak": -160_000, "over_ms": 10_000}),
    "sharing": ("OC_DSG", {"i_peak": -105_000, "i_mean": -102_000.0, "share": 0.5}),
    "overload": ("OC_DSG", {"i_peak": -110_000, "i_mean": -106_000.0}),
    "charge_limit": ("OC_CHG", {"i_peak": 115_000, "i_mean": 90_000.0}),
    "wiring_or_inverter": ("SHORT", {}),
    "imbalance": ("IMBALANCE", {"spread": 250, "mean_hi": 3560.0, "others_lo": 2900.0}),
    "link": ("COMM_RS485", {}),
    "gateway": ("COMM_RS485", {"site_peers": 3}),
    "firmware": ("INTERNAL_FW", {"firmware_old": True}),
    "bms": ("INTERNAL_FW", {}),
}


def judged(cause: str, said: dict[str, Any], chemistry: str = "lfp") -> dict[str, Any]:
    row = CALM | said | {"unit": 1, "cause": cause}
    numbers = dict.fromkeys(CALM, pl.Float64) | {"firmware_old": pl.Boolean}
    return (
        roots(pl.LazyFrame([row], schema_overrides=numbers), limits_for(chemistry).roots).collect().row(0, named=True)
    )


def test_every_row_of_the_table_is_tried() -> None:
    assert ROWS.keys() == ROOTS.keys()


@pytest.mark.parametrize("name", ROWS)
def test_evidence_tells_the_root_from_the_trigger(name: str) -> None:
    told = judged(*ROWS[name])
    assert told["root"] == name, told
    assert told["confidence"] >= 0.5
    assert told["cell"] == {"high_at": 5, "low_at": 2, "": None}[ROOTS[name].cell]


@pytest.mark.parametrize(
    "cause", ["OV_CELL", "UV_CELL", "UT_CHG", "OT_CHG", "OC_CHG", "BAL_INACTIVE", "UNKNOWN", "EARLY_CUTOFF"]
)
def test_a_flag_without_any_evidence_is_not_explained(cause: str) -> None:
    silent = dict.fromkeys(CALM)
    told = judged(cause, silent | {"full_mah": 100_000})
    assert (told["root"], told["confidence"], told["likeliest"]) == ("unknown", 0.0, None)


def test_two_roots_that_fit_alike_leave_it_open_and_are_both_named() -> None:
    told = judged("OV_CELL", {"mean_hi": 3420.0, "spread": 250, "i_step": 40_000, "high": 3655})
    assert told["root"] == "unknown"
    assert {told["likeliest"], told["second"]} == {"charger_ignores_limit", "cell_runs_away"}


def test_two_roots_with_one_remedy_do_not_weaken_one_another() -> None:
    said = {"mean_hi": 3520.0, "spread": 60, "high": 3655, "i_last": 30_000}
    told = judged("OV_CELL", said)
    assert told["root"] in {"charge_voltage_high", "charger_ignores_limit"}
    assert told["confidence"] > 0.75


def test_with_a_silent_neighbour_an_overcurrent_is_no_surge() -> None:
    said = {"i_peak": -96_000, "share": None, "stack_units": None}
    assert judged("OC_DSG", said | {"stack_missing": 0})["root"] == "surge"
    assert judged("OC_DSG", said | {"stack_missing": 1})["root"] == "sharing"


def test_what_overcharges_lfp_is_daily_life_for_nmc() -> None:
    said = {"mean_hi": 4210.0, "high": 4255, "spread": 60}
    assert judged("OV_CELL", said, "nmc")["root"] == "charge_voltage_high"
    assert judged("OV_CELL", {"mean_hi": 3900.0, "high": 4255, "spread": 350}, "nmc")["root"] == "cell_runs_away"


def test_roots_do_not_depend_on_other_sessions() -> None:
    rows = [CALM | said | {"unit": n, "cause": cause} for n, (cause, said) in enumerate(ROWS.values())]
    together = roots(pl.LazyFrame(rows, infer_schema_length=None), limits_for("lfp").roots).collect()
    assert together["root"].to_list() == list(ROWS)
