"""The columns of every table of the archive, written once (design A.4, A.5). Signed integers: Delta has no others.

Times are ms since 1970, UTC; `day` is the site's local date, `date` the UTC date that an archive partition holds.
"""

from __future__ import annotations

from typing import TypeAlias

import polars as pl

from cellherd.reading import CELLS, SCALARS, TEMPS
from pipeline.schema_ageing import LOOP, MISCOUNT, RESISTANCE, SOH, TREND

Schema: TypeAlias = dict[str, "pl.DataType | type[pl.DataType]"]

_WIDTH: dict[int, type[pl.DataType]] = {8: pl.Int8, 16: pl.Int16, 32: pl.Int32, 64: pl.Int64}

CELL_COLUMNS = tuple(f"c{i:02}" for i in range(CELLS))
TEMP_COLUMNS = tuple(f"t{i:02}" for i in range(TEMPS))
SCALAR_COLUMNS = tuple(q.name for q in SCALARS)

PLACE: Schema = dict.fromkeys(("edge", "site", "stack", "module", "unit", "kind"), pl.String)
IDENTITY: Schema = {"stream": pl.String, "epoch": pl.String, "seq": pl.Int64}

READING: Schema = {
    **IDENTITY,
    **PLACE,
    "date": pl.Date,
    "ts": pl.Int64,
    "clk": pl.String,
    "arrival_ts": pl.Int64,
    "driver": pl.String,
    **{q.name: _WIDTH[q.bits] for q in SCALARS},
    **dict.fromkeys((*CELL_COLUMNS, *TEMP_COLUMNS), pl.Int16),
    "faults": pl.String,  # sorted ids, space-separated; "" = the BMS says none, null = it does not say
    "raw": pl.String,
    "extra": pl.String,
}

EXTREMES = {
    "voltage_mv_min": pl.Int32,
    "voltage_mv_max": pl.Int32,
    "current_ma_min": pl.Int32,
    "current_ma_max": pl.Int32,
    "spread_mv_max": pl.Int16,
}
READING_60S: Schema = {
    **PLACE,
    "date": pl.Date,
    "ts": pl.Int64,  # the minute's begin
    "n": pl.Int32,  # readings in it
    **{q.name: _WIDTH[q.bits] for q in SCALARS},  # means; what counts or is a mask: the last one said
    **EXTREMES,
    **dict.fromkeys((*CELL_COLUMNS, *TEMP_COLUMNS), pl.Int16),
    "faults": pl.String,  # all of the minute, as in READING
}

EVENT: Schema = {
    "event_id": pl.String,
    **PLACE,
    "date": pl.Date,
    "ts": pl.Int64,
    "phase": pl.String,
    "episode": pl.String,
    "fault": pl.String,
    "severity": pl.String,
    "priority": pl.Int8,
    "cuts": pl.String,
    "origin": pl.String,
    "vendor": pl.String,
    "interface": pl.String,
    "code": pl.String,
    "cell": pl.Int16,
    "value": pl.Float64,
    "threshold": pl.Float64,
    "value_unit": pl.String,
    "evidence": pl.String,
    **IDENTITY,
}

GAP: Schema = {
    **IDENTITY,
    **PLACE,
    "date": pl.Date,
    "from_ts": pl.Int64,
    "to_ts": pl.Int64,
    "from_seq": pl.Int64,
    "to_seq": pl.Int64,
    "of_epoch": pl.String,  # the epoch that from_seq..to_seq count in; null = the record's own
    "reason": pl.String,
    "slots": pl.Int64,
}

_RECORD: Schema = {**IDENTITY, **PLACE, "date": pl.Date, "ts": pl.Int64}

DEVICE_INFO: Schema = {
    **_RECORD,
    "serial": pl.String,
    "model": pl.String,
    "firmware": pl.String,
    "hardware": pl.String,
    "n_cells": pl.Int16,
    "nominal_mah": pl.Int64,
    "limits": pl.String,  # JSON: cell_max_mv, cell_min_mv, charge_ma, discharge_ma, charge_mv, ...
    "other": pl.String,  # JSON: what the device said of itself beyond these
}
DEVICE_COUNTER: Schema = {**_RECORD, "name": pl.String, "value": pl.Int64}
DEVICE_LOG: Schema = {**_RECORD, "device_ts": pl.Int64, "code": pl.String, "text": pl.String, "hex": pl.String}
EDGE_EVENT: Schema = {**_RECORD, "code": pl.String, "text": pl.String}

_DAILY: Schema = {**PLACE, "day": pl.Date, "code_version": pl.Int32}

MODULE_DAY: Schema = {
    **_DAILY,
    "n": pl.Int64,
    "expected": pl.Int64,
    "max_gap_ms": pl.Int64,
    "charge_mah": pl.Float64,
    "discharge_mah": pl.Float64,
    "charge_wh": pl.Float64,
    "discharge_wh": pl.Float64,
    **{f"{q}_{s}": pl.Float64 for q in ("soc_pm", "temp_dc", "current_ma") for s in ("min", "mean", "max")},
    "warmer_dc": pl.Float64,  # mean of the warmest sensor above the mean of the others; null below three
    "spread_mv_mean": pl.Float64,
    "spread_mv_max": pl.Float64,
    "dq": pl.Int64,
    "period_ms": pl.Int64,
    "full_mah": pl.Float64,  # what the BMS says of its capacity, and of its health
    "soh_pm": pl.Float64,
    "nominal_mah": pl.Float64,  # of the registry, else full_mah
}

CELL_DAY: Schema = {
    **_DAILY,
    "cell": pl.Int16,
    "min_mv": pl.Int16,
    "max_mv": pl.Int16,
    "top_first": pl.Int64,  # readings near full in which it is farthest from the mean, above
    "top_last": pl.Int64,  # ... below
    "bottom_first": pl.Int64,  # readings near empty in which it is the lowest
    "mid_far": pl.Int64,  # readings in between in which it is farthest from the mean
    "jumps": pl.Int64,
    "quiet": pl.Int64,  # readings in which a jump would have shown
    "balancing_s": pl.Float64,
    "filled_s": pl.Float64,  # the part of it in which the cell was the lowest: a balancer filled it
    "sxy": pl.Float64,  # of current steps brought to 25 degC; sxy / sxx is mOhm
    "sxx": pl.Float64,
    "steps": pl.Int64,
    "n": pl.Int64,
}

SPREAD_HIST: Schema = {**_DAILY, "band": pl.String, "bin_mv": pl.Int32, "n": pl.Int64}

LOCKOUT: Schema = {
    **_DAILY,
    "start": pl.Int64,
    "end": pl.Int64,
    "fault": pl.String,  # the first
    "cause": pl.String,
    "faults": pl.String,  # all, space-separated
    "causes": pl.String,
    "n_chatter": pl.Int64,
    "weight": pl.Float64,
    "danger": pl.Boolean,
    "ended_by": pl.String,  # auto_release, reset, power_cycle, manual, unknown
    "root": pl.String,
    "confidence": pl.Float64,
    "likeliest": pl.String,  # also where the root is unknown
    "second": pl.String,
    "cell": pl.Int16,
    "evidence": pl.String,  # JSON: the numbers of the window
}

STEP_SUM: Schema = {
    **_DAILY,
    # Sums over current steps: dI, d(low-passed I) in A at 25 degC, d(mean cell) in mV.
    **dict.fromkeys(("s11", "s12", "s22", "sy1", "sy2"), pl.Float64),
    "n": pl.Int64,
    "period_ms": pl.Int64,  # a resistance is one of this sampling period
    "lagged_ma": pl.Float64,  # low-passed current at the day's end: the next day goes on from it
}

_COUNTED: Schema = {  # what had passed since the day's start: sums of days before are added where it is needed
    "ts": pl.Int64,
    "in_mah": pl.Float64,
    "out_mah": pl.Float64,
}

CROSSING: Schema = {
    **_DAILY,
    "cell": pl.Int16,
    "direction": pl.Int8,  # 1 up while charging, -1 down while discharging
    **_COUNTED,
    "current_ma": pl.Float64,
    "lagged_ma": pl.Float64,
    "temp_dc": pl.Float64,
    "fast_mohm": pl.Float64,  # with which the voltage was compensated
    "slow_mohm": pl.Float64,
}

ANCHOR: Schema = {
    **_DAILY,
    "cell": pl.Int16,
    "state": pl.String,  # full, or rest
    **_COUNTED,
    "in_wh": pl.Float64,
    "out_wh": pl.Float64,
    "mv": pl.Float64,
    "soc": pl.Float64,  # 0..1 by the rest voltage
    "soc_sigma": pl.Float64,
    "temp_dc": pl.Float64,
}

CAPACITY: Schema = {
    **_DAILY,
    "cell": pl.Int16,
    "method": pl.String,  # crossings, full_cycle, anchors
    "ts": pl.Int64,  # end of the stretch over which charge was counted
    "from_ts": pl.Int64,
    "mah": pl.Float64,
    "sigma": pl.Float64,  # mAh, without the gain of the current sensor
    "offset_ma": pl.Float64,  # that was taken off the current; null before it was known
    "current_ma": pl.Float64,
    "temp_dc": pl.Float64,
}
"""One row a cell and stretch."""

STACK_DAY: Schema = {
    **_DAILY,
    "members": pl.Int64,  # modules of its stack that spoke today
    "bins": pl.Int64,  # pieces of five minutes in which it spoke, and in which all did
    "whole": pl.Int64,
    # A, sums over whole pieces: own and stack's current, and changes of them.
    **dict.fromkeys(("sxy", "sxx", "dxy", "dxx"), pl.Float64),
    "steps": pl.Int64,
    "moved_mah": pl.Float64,
    "rests": pl.Int64,
    "rest_ma": pl.Float64,  # sum of its current while the stack has none
    "last_ts": pl.Int64,
    "heap_ts": pl.Int64,  # the same of the stack
    "last_soc_pm": pl.Float64,
    "last_mv": pl.Float64,
    "back_pm": pl.Float64,  # SOC beside the others' when it came back
    "first_pm": pl.Float64,  # ... in its first piece of the day
    **dict.fromkeys(("tops", "led_top", "bottoms", "led_bottom"), pl.Int64),
    "apart": pl.Float64,  # charge gone since all were full, beside the median module
}
"""Of modules that are not alone in their stack."""

FINDING: Schema = {
    "finding_id": pl.String,
    "day": pl.Date,
    "since_day": pl.Date,
    "analysis": pl.String,
    "pattern": pl.String,
    **PLACE,
    "cell": pl.Int16,
    "status": pl.String,  # finding, ok, not_observable, low_quality
    "fault": pl.String,
    "severity": pl.String,
    "priority": pl.Int8,
    **dict.fromkeys(("value", "lo", "hi", "threshold"), pl.Float64),
    "value_unit": pl.String,
    "confidence": pl.Float64,
    **dict.fromkeys(("reasons", "action", "evidence"), pl.String),  # JSON: catalogue ids and numbers, never prose
    "rank": pl.Int32,
    "score": pl.Float64,
    "code_version": pl.Int32,
}

TABLES: dict[str, Schema] = {
    "reading": READING,
    "reading_60s": READING_60S,
    "event": EVENT,
    "gap": GAP,
    "device_info": DEVICE_INFO,
    "device_counter": DEVICE_COUNTER,
    "device_log": DEVICE_LOG,
    "edge_event": EDGE_EVENT,
    "module_day": MODULE_DAY,
    "cell_day": CELL_DAY,
    "spread_hist": SPREAD_HIST,
    "lockout": LOCKOUT,
    "step_sum": STEP_SUM,
    "miscount": {**_DAILY, **MISCOUNT},
    "crossing": CROSSING,
    "anchor": ANCHOR,
    "capacity": CAPACITY,
    "soh": {**_DAILY, **SOH},
    "resistance": {**_DAILY, **RESISTANCE},
    "loop": {**_DAILY, **LOOP},
    "trend": {**_DAILY, **TREND},
    "stack_day": STACK_DAY,
    "finding": FINDING,
}
PARTITIONED = frozenset(
    {"reading", "reading_60s", "event", "gap", "device_info", "device_counter", "device_log", "edge_event"}
)
"""Tables with a `date` column that is the partition; the daily ones are small and whole."""
