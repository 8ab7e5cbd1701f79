"""The table of root causes: which triggers each explains, which evidence speaks for it, and what is then to be done.

Evidence is a number from 0 to 1, the product of ramps, so that a value just beside a limit counts half. Triggers and
rules after the makers' and guides' tables (docs/analyses/lockouts.md); thresholds are in pipeline/limits.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from pipeline.limits import Roots

OV, UV = ("OV_CELL", "OV_PACK"), ("UV_CELL", "UV_PACK", "DEEP_SLEEP", "SOC_LOW")
COLD, HOT = ("UT_CHG", "UT_DSG"), ("OT_CHG", "OT_DSG")
LINKS = ("COMM_CAN", "COMM_RS485", "COMM_LINK", "MASTER_MISSING")


@dataclass(frozen=True, slots=True)
class Root:
    """One root cause: the catalogue's fault that tells people what it is and what to do, and the cell that it names.

    `site`: it lies outside the battery, and is no finding about a module. `kin`: another root with the same remedy,
    whose evidence does not speak against this one.
    """

    triggers: tuple[str, ...]
    fault: str
    evidence: Callable[[Roots], pl.Expr]
    cell: str = ""
    site: bool = False
    kin: str = ""


def above(name: str, limit: float, width: float) -> pl.Expr:
    """0 below `limit - width`, 1 above `limit + width`, straight in between."""
    return ((pl.col(name) - limit) / (2 * width) + 0.5).clip(0.0, 1.0)


def below(name: str, limit: float, width: float) -> pl.Expr:
    """1 below, 0 above."""
    return 1.0 - above(name, limit, width)


def _rate(name: str, share: float) -> pl.Expr:
    """How far |current| is beyond a share of the capacity."""
    part = pl.col(name).abs() / pl.col("full_mah").fill_null(100_000)
    return ((part - share) / (0.4 * share) + 0.5).clip(0.0, 1.0)


def _of_limit(name: str, times: float) -> pl.Expr:
    part = pl.col(name).abs() / pl.col("limit_ma")
    return ((part - times) / 0.1 + 0.5).clip(0.0, 1.0)


def _brief() -> pl.Expr:
    return (pl.col("over_ms") <= pl.max_horizontal(pl.lit(15_000), 2 * pl.col("period_ms"))).cast(pl.Float64)


def _pushed(r: Roots) -> pl.Expr:
    """A charger still charges in earnest at the moment of the trip: one that heeds the BMS has long come down."""
    return (pl.col("i_last") > 0).cast(pl.Float64) * _rate("i_last", r.pushes_rate)


def _sustained() -> pl.Expr:
    """A current that was beyond the limit for longer than a poll or two; a surge is over before the next reading."""
    longer = _of_limit("i_peak", 1.0) * (1 - _brief())
    return pl.max_horizontal(_of_limit("i_mean", 0.95), longer)


def _shared(r: Roots) -> pl.Expr:
    """Far more than an even share of a stack's current; where a neighbour is missing, its share as well."""
    more = ((pl.col("share") * pl.col("stack_units") - r.share) / 0.2 + 0.5).clip(0, 1)
    uneven = (more * (pl.col("stack_units") > 1)).fill_null(0.0)
    return pl.max_horizontal(uneven, (pl.col("stack_missing") > 0).cast(pl.Float64).fill_null(0.0))


def _several() -> pl.Expr:
    """Half or more of the site's modules, at least two, locked out in the same minutes."""
    share = (pl.col("site_peers") + 1) / pl.max_horizontal("site_units", pl.lit(1))
    return (share.clip(0, 1) * (pl.col("site_peers") >= 1)).cast(pl.Float64)


def _alone() -> pl.Expr:
    return 1.0 - _several().fill_null(0.0)


def _sensor(r: Roots) -> pl.Expr:
    return pl.max_horizontal(above("t_apart", r.sensor_dc, 20), above("t_rise", r.sensor_dc_min, 10))


ROOTS: dict[str, Root] = {
    "cell_runs_away": Root(
        (*OV, "IMBALANCE", "EARLY_CUTOFF"),
        "cell_group_failing",
        lambda r: (
            above("spread", r.spread_mv, 20) * below("mean_hi", r.healthy_mv + 30, 30) * (1 - _pushed(r).fill_null(0.0))
        ),
        cell="high_at",
    ),
    "charge_voltage_high": Root(
        OV,
        "inverter_settings_mismatch",
        lambda r: above("mean_hi", r.overcharged_mv - 30, 20),
        kin="charger_ignores_limit",
    ),
    "charger_ignores_limit": Root(
        OV,
        "inverter_settings_mismatch",
        lambda r: (
            pl.max_horizontal(_rate("i_step", r.step_rate), _pushed(r)) * below("mean_hi", r.overcharged_mv - 30, 20)
        ),
        kin="charge_voltage_high",
    ),
    "weak_cell": Root(
        (*UV, "IMBALANCE"),
        "cell_capacity_mismatch",
        lambda r: above("others_lo", r.charged_mv, 30) * above("spread", r.spread_mv, 30),
        cell="low_at",
    ),
    "soc_drift": Root(
        UV,
        "soc_drift",
        lambda r: (
            below("mean_lo", r.empty_mv + 30, 50) * above("soc_pm", r.shown_pm + 20, 20) * below("idle_h", r.idle_h, 3)
        ),
    ),
    "idle_drain": Root(
        UV, "low_soc_warning", lambda r: above("idle_h", r.idle_h, 2) * below("others_lo", r.charged_mv + 100, 30)
    ),
    "emptied": Root(
        UV,
        "low_soc_warning",
        lambda r: (
            below("others_lo", r.charged_mv, 60) * below("soc_pm", r.shown_pm + 20, 20) * below("idle_h", r.idle_h, 3)
        ),
        site=True,
    ),
    "climate": Root(
        COLD,
        "charge_undertemperature_protection",
        lambda r: below("t_hi", r.cold_dc + 20, 20) * (1 - _sensor(r)),
        site=True,
    ),
    "load_heating": Root(
        HOT,
        "enclosure_overtemperature",
        lambda r: (
            ((pl.col("t_hi") - pl.col("t_least") - r.heating_dc) / 60 + 0.5).clip(0, 1)
            * _rate("i_rms", r.heating_rate)
            * (1 - _sensor(r))
        ),
    ),
    "hot_place": Root(
        HOT,
        "enclosure_overtemperature",
        lambda r: (1 - _rate("i_rms", r.heating_rate)) * (1 - _sensor(r)),
        site=True,
    ),
    "sensor": Root((*HOT, *COLD, "T_DIFF", "T_SENSOR"), "temperature_sensor_fault", _sensor),
    "surge": Root(
        ("OC_DSG",),
        "discharge_overcurrent_protection",
        lambda r: (0.8 + 0.2 * _of_limit("i_peak", r.surge)) * (1 - _sustained()) * (1 - _shared(r)),
    ),
    "sharing": Root(("OC_DSG", "OC_CHG"), "module_imbalance", _shared),
    "charge_limit": Root(
        ("OC_CHG",), "charge_overcurrent_protection", lambda r: (1 - _shared(r)) * pl.col("i_mean").is_not_null()
    ),
    "overload": Root(("OC_DSG",), "discharge_overcurrent_protection", lambda r: _sustained() * (1 - _shared(r))),
    "wiring_or_inverter": Root(("SHORT",), "short_circuit_protection", lambda _: pl.lit(1.0)),
    "imbalance": Root(
        ("IMBALANCE", "BAL_INACTIVE"), "cell_imbalance_protection", lambda r: 0.4 * above("spread", r.spread_mv, 30)
    ),
    "link": Root(LINKS, "comm_lost", lambda _: _alone()),
    "gateway": Root(LINKS, "collector_offline", lambda _: _several(), site=True),
    "firmware": Root(("INTERNAL_FW",), "firmware_outdated", lambda _: pl.col("firmware_old").cast(pl.Float64)),
    "bms": Root(
        ("INTERNAL_FW", "FET_FAULT"),
        "bms_internal_failure",
        lambda _: 1.0 - pl.col("firmware_old").cast(pl.Float64).fill_null(0.0),
    ),
}
"""In the order of docs/analyses/lockouts.md."""
