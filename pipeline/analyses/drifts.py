"""How fast does something of a cell grow over a month? Slopes that a few odd days do not move."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from pipeline.analyses.fillings import CELL
from pipeline.chemistry import Floats
from pipeline.limits import Mismatch
from pipeline.methods.slope import theil_sens

HOURS_PER_MS = 1 / 3.6e6
SCHEMA = {"site": pl.String, "unit": pl.String, "cell": pl.Int16}


def drifts(events: pl.LazyFrame, values: Mapping[str, pl.Expr], limits: Mismatch) -> pl.LazyFrame:
    """(site, unit, cell) and the slope of each value (mAh, or a share) over `ts` per hour, by its name."""
    rows = events.select(*CELL, "ts", **values).sort(*CELL, "ts").collect()
    cells = rows.group_by(CELL, maintain_order=True).len()
    ends = cells["len"].cum_sum()[:-1].to_numpy()
    hours, seen = HOURS_PER_MS * rows["ts"].to_numpy(), rows.select(*values).to_numpy().T
    each = zip(cells.drop("len").iter_rows(), np.split(hours, ends), np.split(seen, ends, axis=1), strict=True)
    slopes = [(*cell, *_slopes(at, of, limits)) for cell, at, of in each] if cells.height else []
    found = pl.LazyFrame(slopes, schema=SCHEMA | dict.fromkeys(values, pl.Float64), orient="row")
    return found.with_columns(pl.col(*values).fill_nan(None))


def _slopes(hours: Floats, values: Floats, limits: Mismatch) -> Floats:
    """Theil-Sen slope of each row of `values` over pairs two days apart; NaN for too few, or below a week."""
    if len(hours) < limits.events or hours[-1] - hours[0] < limits.drift_hours:
        return np.full(len(values), np.nan)
    return theil_sens(hours, values, limits.pair_hours)
