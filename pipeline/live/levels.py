"""Faults that one reading shows: for each the level at which it comes, the level at which it goes, and how long each.

Each row is a rule of docs/live.md. A row that is neither tripped nor cleared lies between its two numbers, or the
device does not say; either way what stood stands.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import polars as pl

from cellherd.faults import catalogue
from pipeline.limits import HOUR, MINUTE

Numbers = dict[str, Any]
SEEN_TWICE = 1
"""A hold of one millisecond: the next reading has to say it too."""


@dataclass(frozen=True, slots=True)
class Level:
    """One rule. `hold_ms` before it enters, `release_ms` before it leaves; value, limit and cell are sample columns.

    `beside_flags`: also for devices that report faults of their own; otherwise their word counts (a bit beats a
    threshold, so that one incident is told once).
    """

    fault: str
    trip: pl.Expr
    clear: pl.Expr
    hold_ms: int
    release_ms: int = MINUTE
    value: str = ""
    limit: str = ""
    unit: str = "mV"
    cell: str = ""
    beside_flags: bool = False


def col(name: str) -> pl.Expr:
    """A column of the reading, a feature of it (`pipeline.live.features`), or a limit of its module (`p_...`)."""
    return pl.col(name)


def number(fault: str, name: str) -> int:
    """A number of the catalogue, a single one."""
    return int(catalogue()[fault].numbers[name])


def hold(fault: str, name: str = "for_s") -> int:
    """A hold time of the catalogue in ms."""
    return 1000 * number(fault, name)


def _above(value: str, limit: str) -> tuple[pl.Expr, pl.Expr]:
    """Trip at or above a profile's trip number, clear below its release number."""
    there = col(f"p_{limit}_trip").is_not_null()
    return there & (col(value) >= col(f"p_{limit}_trip")), col(value) <= col(f"p_{limit}_release")


def _below(value: str, limit: str) -> tuple[pl.Expr, pl.Expr]:
    there = col(f"p_{limit}_trip").is_not_null()
    return there & (col(value) <= col(f"p_{limit}_trip")), col(value) >= col(f"p_{limit}_release")


CHARGING, DISCHARGING, IDLE = col("dir") == 1, col("dir") == -1, col("dir") == 0
PATH_OFF = (col("charge_on") == 0) & (col("discharge_on") == 0)
MIDDLE = col("rest") & col("soc_pm").is_between(300, 800) & col("flat")
MIRRORED = (
    ((col("lo_at") - col("hi_at")).abs() == 1)
    & ((col("hi") + col("lo") - 2 * col("med")).abs() < (col("hi") - col("lo")) * 3 // 10)
    & (col("med") > col("p_uv_release"))
)
"""One cell as far below the others, which are well, as its neighbour is above: their shared measuring lead."""


@cache
def levels() -> tuple[Level, ...]:
    """Every rule; its place in this tuple is its bit."""
    found = (*_of_cells(), *_of_cells_apart(), *_of_charge(), *_of_temperature(), *_of_paths())
    if len(found) > 62:
        raise AssertionError("a mask has 62 bits")
    return found


def _of_cells() -> tuple[Level, ...]:
    over, under = _above("hi", "ov"), _below("lo", "uv")
    warn_high = col("hi") >= col("p_ov_trip") - number("cell_overvoltage_warning", "trip_below_limit_mv")
    safe_high = col("hi") < col("p_ov_trip") - number("cell_overvoltage_warning", "release_below_limit_mv")
    warn_low = col("lo") <= col("p_uv_trip") + number("cell_undervoltage_warning", "trip_above_limit_mv")
    safe_low = col("lo") > col("p_uv_trip") + number("cell_undervoltage_warning", "release_above_limit_mv")
    extreme = (col("hi") > col("p_extreme_high")) | (col("lo") < col("p_extreme_low"))
    sane = (col("hi") < col("p_extreme_high") - 50) & (col("lo") > col("p_extreme_low") + 100)
    high: Numbers = {"value": "hi", "cell": "hi_at"}
    low: Numbers = {"value": "lo", "cell": "lo_at"}
    return (
        Level("cell_overvoltage_protection", *over, SEEN_TWICE, limit="p_ov_trip", **high),
        Level("cell_undervoltage_protection", *under, SEEN_TWICE, limit="p_uv_trip", **low),
        Level("cell_overvoltage_warning", warn_high & CHARGING & ~over[0], safe_high, 10_000, limit="p_ov_trip",
              **high),
        Level("cell_undervoltage_warning", warn_low & DISCHARGING & ~under[0], safe_low, 10_000, limit="p_uv_trip",
              **low),
        Level("pack_overvoltage_protection", *_above("voltage_mv", "pack_high"), SEEN_TWICE,
              value="voltage_mv", limit="p_pack_high_trip"),
        Level("pack_undervoltage_protection", *_below("voltage_mv", "pack_low"), SEEN_TWICE,
              value="voltage_mv", limit="p_pack_low_trip"),
        Level("cell_extreme_voltage_lockout", extreme & ~MIRRORED & ~col("dead"), sane, 30_000,
              value="worst", limit="p_extreme_low", cell="far_at", beside_flags=True),
        Level("sense_wire_fault", extreme & MIRRORED, sane, 30_000, value="lo", cell="lo_at", beside_flags=True),
        Level("afe_fault", col("dead") & ~col("p_zero_is_missing"), ~col("dead"), hold("afe_fault"),
              value="hi", beside_flags=True),
    )  # fmt: skip


def _of_cells_apart() -> tuple[Level, ...]:
    """Cells apart, at rest in the middle of the charge only: near full and near empty a spread says little."""
    failing = MIDDLE & (col("off") >= col("p_failing_trip")) & (col("others") <= 50)
    apart = MIDDLE & (col("spread") >= col("p_imbalance_trip")) & ~failing
    times: Numbers = {
        "hold_ms": hold("cell_imbalance_warning"),
        "release_ms": hold("cell_imbalance_warning", "release_for_s"),
    }
    asked = IDLE & (col("hi") >= col("p_balance_from") + number("balancing_inactive", "above_start_mv"))
    unbalanced = asked & (col("spread") >= col("p_balance_trip"))
    together = asked & (col("spread") < col("p_balance_release"))
    quiet = CHARGING | DISCHARGING | IDLE
    jumped = quiet & (col("jump").abs() >= number("cell_reading_erratic", "noise_mv"))
    return (
        Level("cell_group_failing", failing, MIDDLE & (col("off") < col("p_failing_release")), **times,
              value="off", limit="p_failing_trip", cell="far_at", beside_flags=True),
        Level("cell_imbalance_warning", apart, MIDDLE & (col("spread") < col("p_imbalance_release")), **times,
              value="spread", limit="p_imbalance_trip", cell="far_at"),
        Level("balancing_inactive", unbalanced & (col("balancing") == 0), together | (col("balancing") > 0),
              hold("balancing_inactive", "after_charge_s"), 10 * MINUTE,
              value="spread", limit="p_balance_trip", cell="hi_at", beside_flags=True),
        Level(JUMP, jumped, ~jumped, 0, 0, value="jump", cell="far_at", beside_flags=True),
    )  # fmt: skip


JUMP = "_jump"
"""No fault by itself: `pipeline.live.memory` counts these."""


def _of_charge() -> tuple[Level, ...]:
    soc, drift = col("soc_pm"), "soc_drift"
    full, empty = number(drift, "false_full_pm"), number(drift, "false_empty_pm")
    false_charge = IDLE & (soc >= number(drift, "false_charge_pm")) & (col("hi") <= col("p_empty"))
    false_full = CHARGING & (soc >= full) & (col("hi") < col("p_not_full"))
    false_empty = IDLE & (soc > 0) & (soc <= empty) & (col("lo") > col("p_not_empty"))
    off = false_full | false_empty | false_charge
    low, jump = number("low_soc_warning", "trip_pm"), number("soc_jump", "jump_pm")
    early = (col("discharge_on") == 0) & (soc > number("early_discharge_cutoff", "soc_pm"))
    early &= (col("lo") <= col("p_uv_trip") + 50) & (col("current_ma") <= 0)
    weak = col("med") - col("lo") >= number("early_discharge_cutoff", "cell_below_others_mv")
    limited = (col("discharge_on") == 0) & (soc <= low) & (col("lo") > number("low_soc_cutoff", "cells_not_empty_mv"))
    return (
        Level("low_soc_warning", (soc <= low) & (soc > 0) & ~CHARGING, soc >= number("low_soc_warning", "release_pm"),
              MINUTE, value="soc_pm", unit="0.1 %"),
        Level("low_soc_cutoff", limited & (col("charge_on") != 0), (col("discharge_on") == 1) | (soc > low), 30_000,
              value="soc_pm", unit="0.1 %"),
        Level("soc_zero", (soc == 0) & IDLE & (col("lo") > col("p_not_empty")), soc > 0, hold("soc_zero"), 0,
              value="lo", limit="p_not_empty", beside_flags=True),
        Level(drift, off, ~off & soc.is_not_null(), hold(drift), number(drift, "release_for_h") * HOUR, value="soc_pm",
              unit="0.1 %", beside_flags=True),
        Level("soc_jump", col("soc_step").abs() >= jump, col("soc_step").abs() < jump, 0, MINUTE,
              value="soc_step", unit="0.1 %", beside_flags=True),
        Level("early_discharge_cutoff", early & weak, col("discharge_on") == 1, SEEN_TWICE,
              value="lo", limit="med", cell="lo_at", beside_flags=True),
        *_of_current(),
    )  # fmt: skip


def _of_current() -> tuple[Level, ...]:
    into, out = col("current_ma"), -col("current_ma")
    kept: Numbers = {"value": "current_ma", "unit": "mA"}

    def pair(side: str, flows: pl.Expr) -> tuple[Level, Level]:
        limit, trip = col(f"p_{side}_ma"), flows > col(f"p_{side}_ma")
        near = flows * 1000 >= limit * number(f"{side}_overcurrent_warning", "trip_of_limit_pm")
        far = flows * 1000 < limit * number(f"{side}_overcurrent_warning", "release_of_limit_pm")
        return (
            Level(f"{side}_overcurrent_protection", trip, flows <= limit, 2000, limit=f"p_{side}_ma", **kept),
            Level(f"{side}_overcurrent_warning", near & ~trip, far, 10_000, limit=f"p_{side}_ma", **kept),
        )

    return (*pair("charge", into), *pair("discharge", out))


def _of_temperature() -> tuple[Level, ...]:
    hot, cold, of = col("tmax"), col("tmin"), "0.1 degC"
    near = number("charge_overtemperature_warning", "trip_below_limit_dc")
    safe = number("charge_overtemperature_warning", "release_below_limit_dc")
    top: Numbers = {"value": "tmax", "unit": of}
    bottom: Numbers = {"value": "tmin", "unit": of}
    over, over_charge = _above("tmax", "hot"), _above("tmax", "hot_charge")
    frozen = cold <= col("p_cold_trip")
    blocked, warm = frozen & (col("charge_on") == 0), cold >= col("p_cold_release")
    spread, sensor = "temperature_spread_protection", "temperature_sensor_fault"
    odd = col("t_odd") | (col("t_off") >= number(sensor, "differs_dc"))
    return (
        Level("discharge_overtemperature_protection", *over, SEEN_TWICE, limit="p_hot_trip", **top),
        Level("charge_overtemperature_protection", over_charge[0] & CHARGING & ~over[0], over_charge[1], SEEN_TWICE,
              limit="p_hot_charge_trip", **top),
        Level("charge_overtemperature_warning", CHARGING & (hot >= col("p_hot_charge_trip") - near) & ~over_charge[0],
              hot < col("p_hot_charge_trip") - safe, 10_000, limit="p_hot_charge_trip", **top),
        Level("discharge_overtemperature_warning", ~CHARGING & (hot >= col("p_hot_trip") - near) & ~over[0],
              hot < col("p_hot_trip") - safe, 10_000, limit="p_hot_trip", **top),
        Level("charge_undertemperature_protection", blocked, warm | (col("charge_on") == 1), SEEN_TWICE,
              limit="p_cold_trip", beside_flags=True, **bottom),
        Level("charge_undertemperature_warning", CHARGING & (cold <= col("p_cold_release")) & ~blocked,
              cold >= col("p_cold_release") + 20, 10_000, limit="p_cold_release", **bottom),
        Level(spread, (hot - cold >= number(spread, "trip_dc")) & ~odd, hot - cold <= number(spread, "release_dc"),
              hold(spread), hold(spread, "release_for_s"), value="tspread", unit="K*10"),
        Level(sensor, odd, ~odd & hot.is_not_null(), hold(sensor), value="t_off", unit=of, beside_flags=True),
        Level("overheating_without_load", IDLE & (hot >= number("overheating_without_load", "hot_dc")),
              hot < number("overheating_without_load", "hot_dc") - 50, MINUTE, 10 * MINUTE, beside_flags=True, **top),
    )  # fmt: skip


def _of_paths() -> tuple[Level, ...]:
    cut, blown = "output_disconnected", "fuse_blown"
    no_volts = (col("voltage_mv") * 1000 < col("cell_sum") * number(cut, "terminals_of_cells_pm")) & (
        col("lo") > number(cut, "cell_at_least_mv")
    )
    paths_on = (col("charge_on") == 1) & (col("discharge_on") == 1)
    volts = col("voltage_mv") * 1000 >= col("cell_sum") * 500
    off = (col("voltage_mv") - col("cell_sum")).abs() * 1000 > col("cell_sum") * number("config_mismatch", "sum_off_pm")
    stuck = "charge_mosfet_fault"
    flows, back = number(stuck, "flows_ma"), "discharge_mosfet_fault"
    silent = col("faults") == ""
    shorted = col("faults").str.contains(r"\bshort_circuit_protection\b") & (col("dir") == 0)
    beside: Numbers = {"beside_flags": True}
    return (
        Level(cut, no_volts & ~paths_on, volts, hold(cut), value="voltage_mv", **beside),
        Level(blown, no_volts & paths_on, volts, hold(cut), value="voltage_mv", **beside),
        Level("config_mismatch", off & ~no_volts & col("whole"), ~off, hold("config_mismatch"), value="voltage_mv",
              limit="cell_sum", **beside),
        Level(stuck, (col("charge_on") == 0) & (col("current_ma") > flows), col("current_ma") <= flows // 2,
              hold(stuck), value="current_ma", unit="mA", **beside),
        Level(back, (col("discharge_on") == 0) & (col("current_ma") < -flows), col("current_ma") >= -flows // 2,
              hold(back), value="current_ma", unit="mA", **beside),
        Level("software_lock", silent & ((col("charge_on") == 0) ^ (col("discharge_on") == 0)) & ~col("reasoned"),
              (col("charge_on") == 1) & (col("discharge_on") == 1), 10 * MINUTE, **beside),
        Level("protection_shutdown", PATH_OFF & IDLE & silent & ~col("reasoned"), ~PATH_OFF, MINUTE, **beside),
        Level("short_circuit_release_failed", shorted, col("faults").is_not_null() & ~shorted,
              hold("short_circuit_release_failed", "after_s"), **beside),
    )  # fmt: skip
