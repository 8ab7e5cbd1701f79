"""The simulated fleet: charge adds up, a plan always gives the same, what is planted shows in truth and readings."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer import Typer
from typer.testing import CliRunner

from cellherd.config import load_fleet
from cellherd.errors import CellherdError
from cellherd.faults import catalogue
from pipeline.commands_nightly import nightly
from pipeline.commands_simulate import simulate as command
from pipeline.schema import DEVICE_COUNTER, DEVICE_INFO, GAP, READING
from pipeline.simulation import Day, Flaw, FleetPlan, simulate, vectorised
from pipeline.simulation.chemistry import CHEMISTRIES, curve, protections
from pipeline.simulation.plan import KINDS, parts
from pipeline.simulation.seeds import TEST, TUNE, held_back

SUMMER = date(2026, 6, 10)


@cache
def flawed() -> list[Day]:
    """Three summer days of one module a flaw; stacks of one."""
    kinds = [kind for kind, about in KINDS.items() if not about.stacked]
    flaws = tuple(
        Flaw(kind=kind, module=n, size=KINDS[kind].sizes[1], cell=5 if KINDS[kind].scope == "cell" else None)
        for n, kind in enumerate(kinds)
    )
    return list(simulate(FleetPlan(modules=len(kinds), days=3, seed=TEST[0], start=SUMMER, flaws=flaws)))


def of(kind: str, days: list[Day] | None = None) -> pl.DataFrame:
    """Readings of the module with this flaw."""
    days = days or flawed()
    unit = days[0].truth["flaw"].filter(pl.col("kind") == kind)["unit"][0]
    return pl.concat([day.readings for day in days]).filter(pl.col("unit") == unit)


def lockouts(days: list[Day]) -> pl.DataFrame:
    return pl.concat([day.truth["lockout"] for day in days])


@pytest.mark.parametrize("name", CHEMISTRIES)
def test_an_open_circuit_voltage_rises_with_charge(name: str) -> None:
    assert (np.diff(curve(name)) > 0).all()


def test_limits_are_those_of_the_catalogue() -> None:
    for guard in protections(CHEMISTRIES["lfp"]):
        numbers = catalogue()[guard.fault].numbers
        if "trip_mv" in numbers:
            assert (numbers["trip_mv"], numbers["release_mv"]) == (guard.trip * 1000, guard.release * 1000)
        if "trip_dc" in numbers:
            assert (numbers["trip_dc"], numbers["release_dc"]) == (guard.trip * 10, guard.release * 10)


@pytest.mark.parametrize("chemistry", CHEMISTRIES)
def test_a_healthy_fleet_raises_no_protection_and_its_charge_adds_up(chemistry: str) -> None:
    plan = FleetPlan(modules=4, days=3, seed=TEST[1], start=SUMMER, chemistry=chemistry, polarisation="varied")
    days = list(simulate(plan))
    assert lockouts(days).height == 0
    assert {*pl.concat([day.readings for day in days])["faults"]} == {""}
    for before, after in pairwise(days):
        cells = before.truth["cell"].join(after.truth["cell"], on=["unit", "cell"], suffix="_after")
        gained = cells.group_by("unit").agg(
            ((pl.col("soc_after") - pl.col("soc")) * pl.col("capacity_ah")).mean().alias("ah"), pl.col("leak_ma").mean()
        )
        both = gained.join(after.truth["module"].select("unit", "net_ah"), on="unit")
        lost = both["net_ah"] - both["ah"] - 0.030 * 24 - both["leak_ma"] / 1000 * 24
        assert lost.is_between(-0.02, 0.8).all(), "beyond the BMS's own draw only the balancer takes charge"


def test_a_day_has_the_archives_columns_and_one_stream_a_module() -> None:
    day = flawed()[0]
    assert day.readings.schema == pl.Schema(READING)
    assert day.gaps.schema == pl.Schema(GAP)
    assert day.infos.schema == pl.Schema(DEVICE_INFO)
    assert day.counters.schema == pl.Schema(DEVICE_COUNTER)
    assert day.readings.select(pl.struct("stream", "epoch", "seq").is_unique().all()).item()
    assert set(day.readings["driver"]) == {"simulated"}


def test_parts_give_what_the_whole_gives() -> None:
    plan = FleetPlan(modules=4, days=1, seed=TEST[2], start=SUMMER, flaws=1.0, stack_size=2, period_s=300)
    (whole,) = simulate(plan)
    pieces = [next(simulate(part)) for part in parts(plan, 2)]
    assert pl.concat([piece.readings for piece in pieces]).equals(whole.readings)
    assert pl.concat([piece.truth["cell"] for piece in pieces]).equals(whole.truth["cell"])
    assert not next(simulate(replace(plan, seed=TEST[3]))).readings.equals(whole.readings)


def test_numba_and_numpy_tell_the_same() -> None:
    compiled = pytest.importorskip("pipeline.simulation.compiled", reason="pip install 'cellherd[sim]'")
    flaws = (Flaw(kind="reset_chain", module=0, size=3.7), Flaw(kind="leak", module=4, cell=2, size=0.05))
    plan = FleetPlan(modules=6, days=1, seed=TEST[4], start=SUMMER, flaws=flaws, stack_size=3, period_s=300)
    (fast,), (plain,) = simulate(plan, compiled.live), simulate(plan, vectorised.live)
    numbers = [name for name, dtype in READING.items() if dtype == pl.Int16]
    apart = (fast.readings.select(numbers) - plain.readings.select(numbers)).select(pl.all().abs().max())
    assert max(value or 0 for value in apart.row(0)) <= 1
    assert fast.truth["lockout"].equals(plain.truth["lockout"])


def test_every_flaw_has_its_row_of_truth() -> None:
    flaws = flawed()[0].truth["flaw"]
    assert set(flaws["kind"]) == {kind for kind, about in KINDS.items() if not about.stacked}
    assert flaws.filter(pl.col("kind") == "leak")["cell"].to_list() == [5]
    assert flawed()[1].truth["flaw"].height == 0


def test_cell_flaws_show_in_the_cell() -> None:
    empty = (Flaw(kind="low_capacity", module=0, cell=5, size=0.2),)
    winter = list(simulate(FleetPlan(modules=1, days=2, seed=TEST[7], start=date(2026, 1, 10), flaws=empty)))

    def ahead(kind: str, at: pl.Expr, days: list[Day] | None = None) -> float:
        others = pl.mean_horizontal(pl.col([f"c{i:02}" for i in range(16) if i != 5]).cast(pl.Int32))  # Int16 sums wrap
        value = of(kind, days).filter(at).select((pl.col("c05") - others).mean()).item()
        return float(value) if value is not None else 0.0

    charging, discharging = pl.col("current_ma") > 30_000, pl.col("current_ma") < -20_000
    plateau = pl.col("cell_min_mv").is_between(3200, 3390)
    assert ahead("high_resistance", charging & plateau) > 15
    assert ahead("high_resistance", discharging & plateau) < -10
    assert ahead("low_capacity", pl.col("cell_min_mv") < 3050, winter) < -50
    assert ahead("imbalance", pl.col("cell_max_mv") > 3420) < -20
    assert ahead("leak", pl.col("cell_max_mv") > 3420) < -5


def test_a_loose_sense_wire_moves_its_neighbour_the_other_way() -> None:
    steps = of("wire_jumps").select(a=pl.col("c05").diff(), b=pl.col("c06").diff(), c=pl.col("c09").diff())
    jumps = steps.filter((pl.col("a") - pl.col("c")).abs() > 30)
    assert 0.01 < jumps.height / steps.height < 0.08
    assert jumps.select(((pl.col("a") - pl.col("c")) * (pl.col("b") - pl.col("c")) < 0).mean()).item() > 0.95


def test_spoilt_readings_are_spoilt_in_the_stated_way() -> None:
    assert of("sensor_stuck")["t03"].n_unique() == 1
    assert of("gaps").height < 0.85 * 3 * 1440
    assert of("comm_bursts").height < 3 * 1440
    skewed = of("clock_skew")
    assert set(skewed["arrival_ts"] - skewed["ts"]) == {800 - 1_200_000}
    assert of("balancer_off")["balancing"].max() == 0
    gone = sum(day.gaps["slots"].sum() for day in flawed())
    heard = sum(day.readings.height for day in flawed())
    assert heard + gone == 3 * 1440 * len(flawed()[0].infos)


def test_lockouts_are_labelled_with_their_root_cause() -> None:
    found = set(lockouts(flawed()).select("fault", "root_cause", "ended_by").rows())
    assert ("cell_overvoltage_protection", "charger_high", "auto_release") in found
    assert ("cell_overvoltage_protection", "reset_chain", "reset") in found
    assert ("discharge_overcurrent_protection", "surge_loads", "auto_release") in found
    assert {row[:2] for row in found} >= {
        ("charge_undertemperature_protection", "cold_garage"),
        ("charge_overtemperature_protection", "hot_room"),
    }
    assert "use" not in {row[1] for row in found}
    trips = pl.concat([day.counters for day in flawed()])
    assert trips.select(pl.struct("stream", "epoch", "seq").is_unique().all()).item()


def test_a_bad_cable_a_small_module_and_a_missing_one_show_in_the_shares() -> None:
    flaws = (
        Flaw(kind="bad_connection", module=0, size=0.03),
        Flaw(kind="mixed_stack", module=2, size=0.5),
        Flaw(kind="missing_module", module=4, size=1.0),
    )
    day = next(simulate(FleetPlan(modules=6, days=1, seed=TEST[5], start=SUMMER, flaws=flaws, stack_size=2)))
    by_unit = day.readings.group_by("unit").agg(
        steps=pl.col("current_ma").sort_by("ts").diff().abs().mean(), amps=pl.col("current_ma").abs().mean()
    )
    steps, amps = by_unit.sort("unit")["steps"].to_list(), by_unit.sort("unit")["amps"].to_list()
    assert len(steps) == 5
    assert steps[0] < 0.6 * steps[1], "a change of load finds the easier way"
    assert 0.35 < amps[2] / amps[3] < 0.65


def test_surrogate_days_are_a_week_apart_and_the_cells_age_in_between() -> None:
    days = list(simulate(FleetPlan(modules=2, days=22, every=7, period_s=300, seed=TEST[6])))
    assert [(day.date - days[0].date).days for day in days] == [0, 7, 14, 21]
    aged = [day.truth["module"]["aged"].mean() for day in days]
    assert aged == sorted(aged)
    assert aged[0] < aged[-1]


def test_a_profile_is_followed() -> None:
    year = tuple(0.5 + 0.2 * np.sin(2 * np.pi * np.arange(52_560) / 144))
    day = next(simulate(FleetPlan(modules=1, days=1, profile=year, period_s=300, age_years=(0, 0))))
    assert abs(day.readings["soc_pm"][72] - 700) <= 20
    assert abs(day.readings["soc_pm"][216] - 300) <= 30


def test_held_back_seeds_are_no_others() -> None:
    assert not {*TUNE} & {*TEST}
    assert not {held_back(n) for n in range(100)} & {*TUNE, *TEST}


@pytest.mark.parametrize("wrong", [{"period_s": 7}, {"chemistry": "lead"}, {"kinds": ("leek",)}, {"stack_size": 3}])
def test_a_plan_that_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(CellherdError):
        FleetPlan(**wrong)


def test_the_command_can_be_run_again_and_nights_work_on_what_it_made(tmp_path: Path) -> None:
    app, night = Typer(), Typer()
    app.command()(command)
    night.command()(nightly)
    words = ["--out", str(tmp_path), "--modules", "2", "--days", "2", "--period-s", "300", "--start", "2026-06-10"]
    for _ in range(2):
        told = CliRunner().invoke(app, words)
        assert told.exit_code == 0, told.exception
    rows = pl.scan_delta(str(tmp_path / "archive" / "reading")).select(pl.len(), pl.col("unit").n_unique()).collect()
    assert rows.row(0) == (2 * 2 * 288, 2)
    assert load_fleet(tmp_path / "fleet.toml").simulated
    assert pl.read_parquet(tmp_path / "truth" / "cell").height == 2 * 2 * 16
    place = ["--config", str(tmp_path / "fleet.toml"), "--state", str(tmp_path), "--day", "2026-06-10"]
    assert "modules 2" in CliRunner().invoke(night, place).output
