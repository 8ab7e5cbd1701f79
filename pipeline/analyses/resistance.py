"""Does one cell resist more than its neighbours, or the whole module more than when it was new?"""

from __future__ import annotations

import polars as pl

from pipeline.analyses.findings import as_json, finding, reason
from pipeline.analyses.ledger import UNIT
from pipeline.analyses.pulses import STEPS, WINDOWS
from pipeline.quality import CELLS_DOUBTFUL

WEAK, WEAK_IN_A_WEEK, GROWTH = 1.25, 1.40, 0.30
SIGMA_FLOOR, SIGMA_STEP = 0.015, 0.14
"""Of a ratio: what no number of steps takes away, and what one step has, as shares."""


def resistance(cells: pl.LazyFrame, grown: pl.LazyFrame, module_day: pl.LazyFrame) -> pl.LazyFrame:
    """A finding's row a unit of module_day: its worst cell's ratio (%), from `resistances` and `growth`.

    finding: above 1.25 over 30 days, or 1.4 over a week, or the module's growth above 30 % a year.
    """
    worst = cells.sort("ratio_30", descending=True, nulls_last=True).group_by(UNIT, maintain_order=True).first()
    rows = module_day.join(worst, on=UNIT, how="left").join(grown, on=UNIT, how="left")
    by_month = (pl.col("ratio_30") > WEAK) & (pl.col("steps_30") >= STEPS)
    by_week = (pl.col("ratio_7") > WEAK_IN_A_WEEK) & (pl.col("steps_7") >= STEPS)
    weak, grows = (by_month | by_week).fill_null(value=False), (pl.col("growth_a") > GROWTH).fill_null(value=False)
    status = (
        pl.when(pl.col("steps_30").fill_null(0) < STEPS).then(pl.lit("not_observable"))
        .when(pl.col("dq") & int(CELLS_DOUBTFUL) != 0).then(pl.lit("low_quality"))
        .when(weak | grows).then(pl.lit("finding"))
        .otherwise(pl.lit("ok"))
    )  # fmt: skip
    found = rows.with_columns(weak=weak, grows=grows, status=status).sort(UNIT)
    return finding(found.select(*UNIT, "status", **_told()), "resistance")


def _told() -> dict[str, pl.Expr]:
    bad = pl.col("status") == "finding"
    percent, steps = 100 * pl.col("ratio_30"), pl.col("steps_30").fill_null(0)
    half = 196 * pl.col("ratio_30") * (SIGMA_FLOOR**2 + SIGMA_STEP**2 / steps.clip(1)).sqrt()
    why = [
        pl.when(bad & pl.col("weak")).then(reason("cell_resists_more_than_its_neighbours", percent, "%", 100 * WEAK)),
        pl.when(bad & pl.col("grows")).then(
            reason("resistance_grows_in_a_year", 100 * pl.col("growth_a"), "%", 100 * GROWTH)
        ),
        pl.when(pl.col("status") == "not_observable").then(reason("current_steps_in_30_days", steps, "count", STEPS)),
    ]
    numbers = [*(f"{what}_{n}" for n in WINDOWS for what in ("r", "ratio", "steps")), "growth_a", "period_ms"]
    fault = pl.when(bad & pl.col("weak")).then(pl.lit("cell_group_failing")).when(bad).then(pl.lit("resistance_growth"))
    return {
        "cell": pl.when(bad & pl.col("weak")).then("cell"),
        "pattern": pl.lit("resistance"),
        "fault": fault,
        "value": percent,
        "lo": percent - half,
        "hi": percent + half,
        "threshold": pl.lit(100 * WEAK),
        "value_unit": pl.lit("%"),
        "confidence": steps / (steps + STEPS),
        "reasons": as_json(pl.concat_list(why).list.drop_nulls()),
        "action": as_json(pl.concat_list(fault).list.drop_nulls()),
        "evidence": as_json(pl.struct(pl.lit("cell_day").alias("table"), *numbers)),
    }
