"""Validation of capacity and resistance: what the nights say of simulated modules against what they truly hold."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from statistics import NormalDist

import numpy as np
import polars as pl

from pipeline.chemistry import Floats
from pipeline.simulation.draw import GAIN
from pipeline.validation.bars import frozen
from pipeline.validation.replay import Replayed
from pipeline.validation.row import Row, judged, rmse

SETTLED = 30
"""Days from the record's begin on which a 30-day figure is judged."""
LONG = 100
"""Days between two SOH values whose difference is judged."""
CELL_KEY, KEY = ["site", "unit", "day", "cell"], ["site", "unit", "day"]


@dataclass(frozen=True, slots=True)
class Setting:
    """What the fleet was: the level of its bars, the sampling period, and the time constant of its slow part."""

    level: str = "base"
    period_s: float = 60.0
    tau_s: float = 90.0  # a step's pulse has 1 - exp(-period / tau) of the slow part


def degradation(done: Replayed, setting: Setting) -> list[Row]:
    """Rows on SOH, cell capacity and resistance. Modules without a planted flaw count for relative capacity."""
    level, tables = setting.level, done.tables
    modules, cells = done.truth["module"], done.truth["cell"]
    said = covered(_said(tables["finding"], modules))
    held = _cells(tables["capacity"], cells, done.truth["flaw"].select("unit").unique())
    ratios = _ratios(tables["cell_day"], cells, setting)
    return [
        judged(*frozen("SOH, 30 days, RMSE", level), _by_unit(said, "off"), rmse),
        judged(*frozen("SOH within its 95 % interval", level), _by_unit(said, "covered"), _mean, ""),
        judged(*frozen("change of SOH over 100 days, RMSE", level), _by_unit(_changes(said), "off"), rmse),
        judged(*frozen("relative cell capacity, RMSE", level), held, rmse),
        judged(*frozen("relative cell resistance, 30 days, RMSE", level), ratios, rmse),
    ]


def _mean(shares: Floats) -> float:
    return float(np.mean(shares))


def _by_unit(frame: pl.DataFrame, column: str) -> list[Floats]:
    return [g[column].cast(pl.Float64).to_numpy() for _, g in frame.group_by("site", "unit", maintain_order=True)]


def covered(said: pl.DataFrame) -> pl.DataFrame:
    """`said` (lo, hi, true, gain) with `covered`: the share of all sensors by which the interval holds the truth.

    What a module counts goes with its sensor's gain, and value, lo and hi with it. The gain, drawn once a module, is
    most of the error, and of few modules a count says more about the draw than about the interval: all 20 are held
    in a third of the fleets whose intervals are right. So the gain is averaged over (Rao-Blackwell), and the modules
    differ by what else their estimates err by. It misses both bars: 0.67 at half of the right width, 1.00 at twice it.
    """
    sensor = NormalDist(1.0, GAIN)
    lo, hi, true, gain = (said[name].to_numpy() for name in ("lo", "hi", "true", "gain"))
    least, most = gain * true / hi, gain * true / np.maximum(lo, 1e-9)
    shares = [sensor.cdf(above) - sensor.cdf(below) for below, above in zip(least, most, strict=True)]
    return said.with_columns(covered=pl.Series(shares, dtype=pl.Float64))


def _said(finding: pl.DataFrame, modules: pl.DataFrame) -> pl.DataFrame:
    """Published SOH beside the true one, points."""
    health = finding.filter((pl.col("analysis") == "health") & pl.col("status").is_in(["ok", "finding"]))
    begin = modules.group_by("site", "unit").agg(begin=pl.col("day").min())
    both = health.join(modules.select(*KEY, "soh", "gain"), on=KEY).join(begin, on=["site", "unit"])
    late = both.filter(pl.col("day") >= pl.col("begin") + timedelta(days=SETTLED))
    true = 100 * pl.col("soh")
    return late.with_columns(true=true, off=pl.col("value") - true).sort(KEY)


def _changes(said: pl.DataFrame) -> pl.DataFrame:
    """Difference of the last and first SOH of a module, where they lie far apart, against the true one."""
    ends = said.group_by("site", "unit").agg(
        span=(pl.col("day").max() - pl.col("day").min()).dt.total_days(),
        off=(pl.col("off").last() - pl.col("off").first()),
    )
    return ends.filter(pl.col("span") >= LONG)


def _cells(capacity: pl.DataFrame, cells: pl.DataFrame, flawed: pl.DataFrame) -> list[Floats]:
    """Error of each cell's capacity relative to its module's median, %, over the last 30 days of marks."""
    last = pl.col("day").max() - timedelta(days=SETTLED)
    marks = capacity.filter((pl.col("method") != "anchors") & (pl.col("day") > last)).join(
        flawed, on="unit", how="anti"
    )
    held = marks.group_by("site", "unit", "cell").agg(pl.col("mah").median())
    true = cells.filter(pl.col("day") > last).group_by("site", "unit", "cell").agg(pl.col("capacity_ah").median())
    both = held.join(true, on=["site", "unit", "cell"])
    share = [pl.col(name) / pl.col(name).median().over("site", "unit") for name in ("mah", "capacity_ah")]
    return _by_unit(both.with_columns(off=100 * (share[0] / share[1] - 1)).sort("site", "unit", "cell"), "off")


def _ratios(cell_day: pl.DataFrame, cells: pl.DataFrame, setting: Setting) -> list[Floats]:
    """Error of each cell's pulse resistance relative to its module's median, %. Steps are as long as the period."""
    last = pl.col("day").max() - timedelta(days=SETTLED)
    key = ["site", "unit", "cell"]
    seen = cell_day.filter(pl.col("day") > last).group_by(key).agg(r=pl.col("sxy").sum() / pl.col("sxx").sum())
    pulse = pl.col("fast_mohm") + (1 - math.exp(-setting.period_s / setting.tau_s)) * pl.col("slow_mohm")
    true = cells.filter(pl.col("day") > last).group_by(key).agg(pulse.median().alias("pulse"))
    both = seen.join(true, on=key).drop_nulls()
    share = [pl.col(name) / pl.col(name).median().over("site", "unit") for name in ("r", "pulse")]
    return _by_unit(both.with_columns(off=100 * (share[0] / share[1] - 1)).sort(key), "off")
