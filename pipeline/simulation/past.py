"""A past for a simulated fleet: what its cells held in the months before its first reading, aged by law and not lived.

Nothing is stepped through here. Each module ages day by day under the law of `pipeline.simulation.ageing`, and a
stretch from full to empty every few days tells what its cells hold, with the error that such a stretch has. Rows say
so by `code_version` 0: no analysis worked them out.
"""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline.analyses.soh import daily
from pipeline.limits import DAY
from pipeline.schema import CAPACITY, PLACE, TABLES
from pipeline.simulation import ageing
from pipeline.simulation.draw import Works, works
from pipeline.simulation.plan import FleetPlan
from pipeline.simulation.seeds import stream
from pipeline.simulation.state import Floats
from pipeline.simulation.usage import habit, season

CODE_VERSION = 0
MET = {**PLACE, "nominal_mah": pl.Float64, "cells": pl.Int64, "until": pl.Date}
"""Who is given a past: place, rated charge, number of cells, and the first day that is not of the past."""
KNEE_AFTER, STEEPER = 0.25, 24.0
"""Of a worn module: the share of the past after which it ages so many times as fast, as cells behind their knee do."""
STRETCHES = 0.4
"""From full to empty, a day."""
COUNTING, CELL_NOISE = 0.006, 0.001
"""Error of a stretch's charge, shared by the cells, and of each cell's crossing, as shares (one sigma)."""
CYCLES = 0.8
"""Full ones, a day."""


def past(met: pl.DataFrame, days: int, seed: int, worn: frozenset[int]) -> pl.DataFrame:
    """Rows of `capacity` for `days` days before each module's `until`; `met` has the columns MET.

    `worn` are rows of `met` whose module is behind its knee. The same arguments give the same rows.
    """
    if met.is_empty():
        return pl.DataFrame(schema=CAPACITY)
    last: date = met["until"].max()  # type: ignore[assignment]
    cells: int = met["cells"].max()  # type: ignore[assignment]
    plan = FleetPlan(modules=met.height, days=days, seed=seed, cells=cells, start=last - timedelta(days=days))
    built, draw = works(plan), stream(seed, "past")
    temp = _temperatures(plan, met)
    held = _held(plan, built, temp, np.isin(np.arange(plan.modules), list(worn)))
    rated = met["nominal_mah"].to_numpy() / built.build.rated
    error = 1 + draw.normal(0, COUNTING, (days, met.height, 1)) + draw.normal(0, CELL_NOISE, held.shape)
    told = held * (rated * built.build.gain)[:, None] * error
    came = draw.random((days, met.height)) < STRETCHES
    return _stretches(plan, met, (told, temp, came))


def _temperatures(plan: FleetPlan, met: pl.DataFrame) -> Floats:
    """degC by day and module: a site's mean, and its seasons a month late."""
    sites = met["site"].unique(maintain_order=True).to_list()
    mean = np.array([habit(plan, sites.index(site)).mean_c for site in met["site"]])
    summer = [season(plan.start + timedelta(days=day - 30)) for day in range(plan.days)]
    warm: Floats = mean + 3 * np.array(summer)[:, None]
    return warm


def _held(plan: FleetPlan, built: Works, temp: Floats, worn: NDArray[np.bool_]) -> Floats:
    """What each cell truly holds, Ah by day, module and cell, of a module as it was built."""
    days, same = [], np.ones(plan.modules)
    for day in range(plan.days):
        days.append(built.build.ah * (1 - np.minimum(built.age.loss[:, None] * built.cell_pace, 0.9)))
        wear = ageing.Wear(temp[day], 0.55 * same, 0.85 * same, 0.15 * same, CYCLES * same)
        faster = np.where(worn & (day > KNEE_AFTER * plan.days), STEEPER, 1.0)
        ageing.wear_out(built.age, wear, 1.0, built.pace * faster, plan.ageing)
    return np.stack(days)


def _stretches(plan: FleetPlan, met: pl.DataFrame, lived: tuple[Floats, Floats, NDArray[np.bool_]]) -> pl.DataFrame:
    """A row a cell and stretch that came, days outside."""
    told, temp, came = lived
    dates = pl.DataFrame({"day": [plan.start + timedelta(days=day) for day in range(plan.days)]})
    rows = dates.join(met, how="cross").with_columns(
        pl.Series("mah", told.reshape(-1, plan.cells)),
        pl.Series("temp_dc", 10 * temp.ravel()),
        cell=pl.lit(list(range(plan.cells))),
    )
    kept = rows.filter(pl.Series(came.ravel()), pl.col("day") < pl.col("until")).explode("mah", "cell")
    evening = pl.col("day").cast(pl.Datetime("ms")).dt.epoch("ms") + DAY * 5 // 6
    full = kept.filter(pl.col("cell") < pl.col("cells")).with_columns(
        method=pl.lit("crossings"),
        ts=evening,
        from_ts=evening - DAY // 3,
        sigma=pl.col("mah") * COUNTING,
        offset_ma=pl.lit(0.0),
        current_ma=-0.15 * pl.col("nominal_mah"),
        code_version=pl.lit(CODE_VERSION),
    )
    return full.select(pl.col(name).cast(kind) for name, kind in CAPACITY.items())


def daily_health(stretches: pl.DataFrame, met: pl.DataFrame) -> pl.DataFrame:
    """Rows of `soh` from those of `capacity`, by the night's own analysis."""
    days = daily(stretches.lazy(), met.lazy().select("site", "unit", "nominal_mah", n_cells="cells")).collect()
    placed = days.join(met.select(*PLACE), on=["site", "unit"]).with_columns(code_version=pl.lit(CODE_VERSION))
    return placed.select(pl.col(name).cast(kind) for name, kind in TABLES["soh"].items())
