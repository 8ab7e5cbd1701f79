"""A shunt beside each stack of a simulated fleet, current sensors whose gain is off, and the truth of it.

The fleet is simulated at a quick pace, and of it only what a slower one would have heard is kept: every battery and
every shunt is asked at a moment of its own, and what flows in between nobody sees.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import polars as pl

from pipeline.quality import Quality
from pipeline.schema import READING
from pipeline.simulation.fleet import Day
from pipeline.simulation.plan import FleetPlan
from pipeline.simulation.readings import place
from pipeline.simulation.seeds import stream
from pipeline.validation.spoiling import SPOILT, shown

GAIN = (0.04, 0.15)
"""By which the sum of every other stack is off, either way: one of its modules by as many times it as there are."""
ASKED, LEFT, CYCLES = 0.035, 0.025, 0.2
"""Off by the first a stack is asked for, on days with so many full cycles; off by less than the second it is sound."""
SIGMA, ZERO_MA = 0.002, 30.0
"""Of a shunt's gain and zero, standard deviations; it shows 10 mA. A SmartShunt's data sheet has 0.4 %."""
BESIDE = ("stack", "edge", "date", "ts", "clk", "arrival_ts", "driver", "voltage_mv")
"""What a shunt's reading has of one of its module's."""


def metered(days: Iterable[Day], plan: FleetPlan, every: int) -> Iterator[Day]:
    """The days with a reading in `every`, of modules and shunts, and `spoilt` (SPOILT) among their truth."""
    units = [place(plan, at)["unit"] for at in plan.numbers]
    factor = _of(dict(zip(units, (_factor(plan, at) for at in plan.numbers), strict=True)))
    phase = _of({unit: float(stream(plan.seed, "phase", unit).integers(every)) for unit in units})
    gain, zero = pl.col("gain"), pl.col("offset_ma")
    for day in days:
        errors = day.truth["module"].select("unit", "gain", "offset_ma")
        rows = day.readings.join(errors, on="unit", how="left", maintain_order="left")
        finer = pl.Series(stream(plan.seed, "finer", day.date.isoformat()).uniform(-50, 50, rows.height))
        known = rows.with_columns(nth=(pl.col("seq") - 1) % 100_000, true=(pl.col("current_ma") + finer - zero) / gain)
        heard = known.filter(pl.col("nth") % every == phase).with_columns(shown(pl.col("true") * gain * factor + zero))
        readings = pl.concat([heard.select(READING.keys()), _shunts(known, plan, every)])
        spoilt = _asked(day.truth["module"].with_columns(day=pl.lit(day.date)), factor)
        yield replace(day, readings=readings, truth={**day.truth, "spoilt": spoilt})


def _of(told: dict[str, float]) -> pl.Expr:
    return pl.col("unit").replace_strict(list(told), list(told.values()), return_dtype=pl.Float64)


def _factor(plan: FleetPlan, at: int) -> float:
    stack, nth = divmod(at, plan.stack_size)
    if stack % 2 or nth:
        return 1.0
    draw = stream(plan.seed, "gain", stack)
    return 1 + plan.stack_size * float(draw.uniform(*GAIN)) * (1 if draw.random() < 0.5 else -1)


def _shunts(known: pl.DataFrame, plan: FleetPlan, every: int) -> pl.DataFrame:
    """Their readings: what truly flows through the modules of a stack, at moments at which all of them spoke."""
    sums = known.group_by("site", "nth", maintain_order=True).agg(
        pl.col(BESIDE).first(), pl.len().alias("n"), pl.col("true").sum()
    )
    told = []
    for (site,), rows in sums.filter(pl.col("n") == plan.stack_size).group_by("site", maintain_order=True):
        draw = stream(plan.seed, "shunt", str(site))
        own, phase, off = 1 + draw.normal(0, SIGMA), int(draw.integers(every)), draw.normal(0, ZERO_MA)
        unit = pl.lit(f"shunt of {site}").alias("unit")
        said = {"stream": "5" * 32, "epoch": "5" * 16, "module": "shunt", "kind": "shunt"}
        mine = rows.filter(pl.col("nth") % every == phase).with_columns(
            unit, **{name: pl.lit(value) for name, value in said.items()},
            seq=pl.col("nth") + 1, current_ma=((pl.col("true") * own + off) / 10).round() * 10,
        )  # fmt: skip
        told.append(mine)
    both = pl.concat(told)
    missing = [pl.lit(None, kind).alias(name) for name, kind in READING.items() if name not in both.columns]
    return both.with_columns(missing).select(pl.col(name).cast(kind) for name, kind in READING.items())


def _asked(modules: pl.DataFrame, factor: pl.Expr) -> pl.DataFrame:
    """SPOILT: the modules of stacks whose sum is off, by their true gains and what they moved on the day."""
    moved = pl.col("cycles") * pl.col("rated_ah")
    wrong = (moved * pl.col("gain") * factor).sum().over("site") / moved.sum().over("site") - 1
    used = pl.col("cycles").mean().over("site") >= CYCLES
    known = modules.with_columns(bit=pl.lit(Quality.I_GAIN.name), wrong=wrong.abs(), used=used)
    off = known.with_columns(shows=pl.col("used") & (pl.col("wrong") >= ASKED)).filter(pl.col("wrong") >= LEFT)
    return off.select(SPOILT.keys())
