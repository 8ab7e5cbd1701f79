"""By which numbers is a module compared with others of its kind? One table of features, and where each is found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import polars as pl

from pipeline.analyses.step_sums import exact_mean, exact_sum
from pipeline.quality import Quality

UNIT = ["site", "unit"]
LYING = ~(Quality.GAP | Quality.SOC_JUMP | Quality.RATE)
LONG = [*UNIT, "feature", "value"]


@dataclass(frozen=True, slots=True)
class Feature:
    """One number: which side of the cohort is bad, the least spread that counts (MAD floor), its weight and unit."""

    bad: Literal["high", "low"]
    floor: float
    weight: float
    unit: str


FEATURES: dict[str, Feature] = {
    "soh_slope": Feature("low", 0.7, 0.6, "%/a"),
    "resistance_growth": Feature("high", 10.0, 0.6, "%/a"),
    "resistance_ratio": Feature("high", 0.04, 0.8, ""),
    "capacity_deficit": Feature("high", 0.7, 0.8, "%"),
    "spread_top": Feature("high", 15.0, 0.6, "mV"),
    "spread_bottom": Feature("high", 25.0, 0.6, "mV"),
    "spread_mid": Feature("high", 5.0, 0.6, "mV"),
    "drift": Feature("high", 3.0, 0.8, "mA"),
    "out_of_step": Feature("high", 10.0, 0.6, "% sure"),
    "jump_rate": Feature("high", 0.1, 0.7, "%"),
    "efficiency": Feature("low", 1.0, 0.5, "%"),
    "lockouts": Feature("high", 0.02, 0.7, "a day"),
    "warmer": Feature("high", 2.0, 0.4, "K"),
    "soc_reset": Feature("high", 3.0, 0.4, "%"),
    "gap_share": Feature("high", 3.0, 0.3, "%"),
    "doubtful_days": Feature("high", 10.0, 0.5, "%"),
}
"""What is absent for a module is left out of its score: it is not zero."""

FINDINGS = {
    ("trend", "soh"): "soh_slope",
    ("resistance", "growth"): "resistance_growth",
    ("efficiency", "loop"): "efficiency",
    ("mismatch", "capacity_deficit"): "capacity_deficit",
    ("mismatch", "leaking_cell"): "drift",
}
"""Findings whose value is a feature, by analysis and pattern; others come from the daily tables below."""
PATTERNS = ("mismatch", "stack")
"""Analyses that say what a module has."""
HARMLESS = ("limiting_module", "charge_apart", "circulating_current", "top_drift", "lagging_cell", "early_cut_off")
"""Patterns that a sound module shows as well: one of a stack comes to its end first, and a long charge heals a lag."""


def of_days(module_day: pl.LazyFrame) -> pl.LazyFrame:
    """warmer (mean temperature), gap_share, doubtful_days (a sensor or a counter lies) and soc_reset, as LONG."""
    sums = module_day.group_by(UNIT).agg(
        warmer=exact_mean(pl.col("temp_dc_mean")) / 10,
        gap_share=100 * (1 - (pl.col("n").sum() / pl.col("expected").sum()).clip(0.0, 1.0)),
        doubtful_days=100 * (pl.col("dq") & int(LYING) != 0).mean(),
        soc_reset=(pl.col("soc_jump_pm").max() / 10 if _has(module_day, "soc_jump_pm") else pl.lit(None, pl.Float64)),
    )
    return _long(sums)


def of_cells(cell_day: pl.LazyFrame) -> pl.LazyFrame:
    """resistance_ratio (largest of the cells to their median) and jump_rate (% of readings), as LONG."""
    sums = cell_day.group_by(*UNIT, "cell").agg(
        pl.col("jumps", "n").sum(), sxy=exact_sum(pl.col("sxy")), sxx=exact_sum(pl.col("sxx"))
    )
    cells = sums.with_columns(r=pl.when(pl.col("sxx") > 0).then(pl.col("sxy") / pl.col("sxx")))
    known = pl.col("r").count() >= 3
    return _long(
        cells.group_by(UNIT).agg(
            resistance_ratio=pl.when(known & (pl.col("r").median() > 0)).then(pl.col("r").max() / pl.col("r").median()),
            jump_rate=100 * (pl.col("jumps") / pl.col("n")).max(),
        )
    )


def of_spread(hist: pl.LazyFrame) -> pl.LazyFrame:
    """spread_top, spread_mid, spread_bottom: what 95 % of the readings stay below, mV, as LONG."""
    by = [*UNIT, "band"]
    ordered = hist.group_by(*by, "bin_mv").agg(pl.col("n").sum()).sort(*by, "bin_mv")
    reached = ordered.with_columns(upto=pl.col("n").cum_sum().over(by), all=pl.col("n").sum().over(by)).filter(
        pl.col("upto") >= 0.95 * pl.col("all")
    )
    p95 = reached.group_by(by).agg(value=pl.col("bin_mv").min().cast(pl.Float64))
    return p95.select(*UNIT, pl.concat_str(pl.lit("spread_"), "band").alias("feature"), "value")


def of_findings(findings: pl.LazyFrame) -> pl.LazyFrame:
    """The largest value of each finding that is a feature, as LONG; drift and deficit without their sign."""
    told = pl.concat_str("analysis", "pattern", separator="/").replace_strict(
        {"/".join(key): name for key, name in FINDINGS.items()}, default=None, return_dtype=pl.String
    )
    rows = findings.with_columns(feature=told).drop_nulls(["feature", "value", "unit"])
    return rows.group_by(*UNIT, "feature").agg(pl.col("value").max()).select(LONG)


def out_of_step(findings: pl.LazyFrame) -> pl.LazyFrame:
    """out_of_step: how sure the surest pattern is that no charge heals, of its cells or of it in its stack, in %; 0 for
    a module that was judged and has none. As LONG.
    """
    judged = findings.filter(pl.col("analysis").is_in(PATTERNS) & pl.col("status").is_in(["ok", "finding"]))
    lasts = (pl.col("status") == "finding") & ~pl.col("pattern").is_in(HARMLESS)
    sure = pl.when(lasts).then(100 * pl.col("confidence")).otherwise(0.0)
    rows = judged.with_columns(out_of_step=sure).drop_nulls("unit")
    return _long(rows.group_by(UNIT).agg(pl.col("out_of_step").max()))


def _long(wide: pl.LazyFrame) -> pl.LazyFrame:
    names = [name for name in wide.collect_schema().names() if name not in UNIT]
    return wide.unpivot(names, index=UNIT, variable_name="feature").drop_nulls().filter(pl.col("value").is_finite())


def _has(frame: pl.LazyFrame, name: str) -> bool:
    return name in frame.collect_schema()
