"""Which cause of a lockout does a fault of the catalogue stand for? One table for all analyses."""

from __future__ import annotations

import polars as pl

from cellherd.faults import catalogue

FAULTS_OF: dict[str, tuple[str, ...]] = {
    "SHORT": ("short_circuit_protection", "short_circuit_release_failed", "reverse_polarity_fault", "insulation_fault"),
    "T_SENSOR": ("temperature_sensor_fault",),
    "OV_CELL": ("cell_overvoltage_protection", "cell_extreme_voltage_lockout"),
    "UV_CELL": ("cell_undervoltage_protection",),
    "OV_PACK": ("pack_overvoltage_protection",),
    "UV_PACK": ("pack_undervoltage_protection",),
    "OT_CHG": ("charge_overtemperature_protection",),
    "OT_DSG": (
        *("discharge_overtemperature_protection", "mosfet_overtemperature_protection"),
        *("enclosure_overtemperature", "overheating_without_load", "cooling_fault"),
    ),
    "UT_CHG": ("charge_undertemperature_protection",),
    "UT_DSG": ("discharge_undertemperature_protection",),
    "T_DIFF": ("temperature_spread_protection",),
    "OC_CHG": ("charge_overcurrent_protection",),
    "OC_DSG": ("discharge_overcurrent_protection",),
    "IMBALANCE": ("cell_imbalance_protection", "cell_group_failing"),
    "BAL_INACTIVE": ("balancing_inactive", "balancing_circuit_fault"),
    "MASTER_MISSING": ("stack_master_missing",),
    "COMM_CAN": ("comm_lost_can",),
    "COMM_RS485": ("comm_lost_rs485",),
    "COMM_LINK": ("stack_link_fault", "comm_lost"),
    "INTERNAL_FW": ("bms_internal_failure", "bms_comm_internal", "afe_fault", "memory_or_clock_fault"),
    "FET_FAULT": (
        *("charge_mosfet_fault", "discharge_mosfet_fault", "contactor_fault", "precharge_failure", "fuse_blown"),
    ),
    "EARLY_CUTOFF": ("early_charge_cutoff", "early_discharge_cutoff", "charge_timeout"),
    "SOC_LOW": ("low_soc_cutoff",),
    "DEEP_SLEEP": ("deep_sleep",),
    "UNKNOWN": ("protection_shutdown", "swollen_or_damaged_cell"),
}
"""Analysis causes, the most telling first: of faults that came with one reading the first here is the trigger."""

CAUSE = {fault: cause for cause, faults in FAULTS_OF.items() for fault in faults}
BIT = {fault: 1 << place for place, fault in enumerate(CAUSE)}
"""A set of faults as one number; there are fewer than 63."""
PRECEDENCE = {cause: place for place, cause in enumerate(FAULTS_OF)}
FAMILY = {
    **dict.fromkeys(("OV_CELL", "OV_PACK", "UV_CELL", "UV_PACK", "DEEP_SLEEP", "SOC_LOW", "EARLY_CUTOFF"), "voltage"),
    **dict.fromkeys(("OT_CHG", "OT_DSG", "UT_CHG", "UT_DSG", "T_DIFF", "T_SENSOR"), "temperature"),
    **dict.fromkeys(("OC_CHG", "OC_DSG", "SHORT"), "current"),
    **dict.fromkeys(("IMBALANCE", "BAL_INACTIVE"), "imbalance"),
    **dict.fromkeys(("COMM_CAN", "COMM_RS485", "COMM_LINK", "MASTER_MISSING", "INTERNAL_FW", "FET_FAULT"), "comm"),
    "UNKNOWN": "unknown",
}
DANGER = frozenset(fault.id for fault in catalogue().values() if fault.category == "safety") | {
    *FAULTS_OF["SHORT"],
    "cell_extreme_voltage_lockout",
}
"""Faults after which nobody should simply switch on again."""
_WEIGHT = {"warning": 0.2, "protection": 1.0, "fault": 1.0, "lockout": 2.0}
WEIGHT = {fault: 5.0 if cause == "SHORT" else _WEIGHT[catalogue()[fault].severity] for fault, cause in CAUSE.items()}
"""How much a session with this fault counts towards the risk of the next."""


def lockout_runs(runs: pl.LazyFrame) -> pl.LazyFrame:
    """Runs (.., fault, start, end) of faults that lock a battery out, with `cause`, `place`, `weight` and `bit`."""
    kinds = [(fault, cause, PRECEDENCE[cause], WEIGHT[fault], BIT[fault]) for fault, cause in CAUSE.items()]
    names = {"fault": pl.String, "cause": pl.String, "place": pl.Int32, "weight": pl.Float64, "bit": pl.Int64}
    return runs.join(pl.LazyFrame(kinds, schema=names, orient="row"), on="fault")
