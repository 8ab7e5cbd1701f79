"""Own columns of the tables that trend and remaining life come from; pipeline/schema.py adds whose they are."""

from __future__ import annotations

import polars as pl

Columns = dict[str, "pl.DataType | type[pl.DataType]"]

MISCOUNT: Columns = {
    "ts": pl.Int64,  # of a row of crossing or anchor; null: the whole day
    "rest_h": pl.Float64,  # hours without current
    "fall_mah": pl.Float64,  # half an interval of every slow fall of the current: what readings at its end leave out
}
"""Since the day's start: where counted charge errs otherwise than by the sensor's offset."""

SOH: Columns = {
    "method": pl.String,  # crossings, anchors
    "n": pl.Int64,  # stretches that ended this day
    "soh": pl.Float64,  # share of nominal: the median cell, the median stretch
    "sigma": pl.Float64,
    "known": pl.Int8,  # whether the current's offset was known
    "temp_dc": pl.Float64,
    "current_ma": pl.Float64,
    "cell": pl.Int16,  # the weakest, and the share of nominal that it holds
    "least": pl.Float64,
}
"""One row a module, day and method on days with a stretch: what trend and remaining life are worked out from."""

RESISTANCE: Columns = {"r_mohm": pl.Float64, "sxx": pl.Float64, "steps": pl.Int64, "period_ms": pl.Int64}
"""The median cell's pulse resistance at 25 degC of one day, with the weight and number of its current steps."""

LOOP: Columns = {
    "ts": pl.Int64,  # full again
    "from_ts": pl.Int64,
    **dict.fromkeys(("in_mah", "out_mah", "in_wh", "out_wh"), pl.Float64),
    "rate": pl.Float64,  # mean discharging and charging current, C
    "temp_dc": pl.Float64,
}
"""From full to full: what went in and came out again."""

TREND: Columns = {
    "model": pl.String,
    "cohort": pl.String,
    "method": pl.String,  # weekly, year_on_year
    "weeks": pl.Int64,
    "span_days": pl.Float64,
    "age_days": pl.Float64,
    **dict.fromkeys(("soh", "soh_sigma", "slope", "error", "lo", "hi", "p"), pl.Float64),  # slopes: share a year
    **dict.fromkeys(("shrunk", "shrunk_error"), pl.Float64),
    "siblings": pl.Int64,
    **dict.fromkeys(("cycles", "mwh", "calendar", "cyclic"), pl.Float64),  # stresses: docs/analyses/life.md
    "knee_days": pl.Float64,
    "knee_loss": pl.Float64,
}
"""One row a module and day from the eighth week on; tomorrow's cohorts are made of them."""
