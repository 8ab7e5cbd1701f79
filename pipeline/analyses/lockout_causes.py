"""What is behind the day's lockouts, did they come back, and were they only reset? A finding a module and root."""

from __future__ import annotations

import polars as pl

from pipeline.analyses.evidence import ROOTS
from pipeline.analyses.findings import as_json, finding, reason
from pipeline.limits import Limits

KEY = ["site", "unit", "root"]
NUMBERS = {
    "spread": ("cells_apart", "mV"),
    "mean_hi": ("mean_cell_at_most", "mV"),
    "mean_lo": ("mean_cell_at_least", "mV"),
    "i_peak": ("largest_current", "mA"),
    "t_hi": ("warmest_sensor", "0.1 degC"),
    "t_lo": ("coldest_sensor", "0.1 degC"),
    "soc_pm": ("charge_shown", "0.1 %"),
}
"""Numbers of the window that are told, as reasons."""
TOLD = {
    "cell_runs_away": ("spread", "mean_hi"),
    "weak_cell": ("spread", "mean_lo"),
    "charge_voltage_high": ("mean_hi", "spread"),
    "charger_ignores_limit": ("mean_hi", "i_peak"),
    "soc_drift": ("mean_lo", "soc_pm"),
    "idle_drain": ("mean_lo", "soc_pm"),
    "emptied": ("mean_lo", "soc_pm"),
    "climate": ("t_lo", "t_hi"),
    "load_heating": ("t_hi", "i_peak"),
    "hot_place": ("t_hi", "i_peak"),
    "sensor": ("t_lo", "t_hi"),
    "imbalance": ("spread", "mean_hi"),
}
"""Which of them speak for which root; all others tell the largest current."""


def lockout_causes(today: pl.LazyFrame, limits: Limits) -> pl.LazyFrame:
    """A finding's row a unit and root of the day's sessions (with `recurrence` and the window's numbers).

    A root outside the battery (climate, an empty battery after use, the gateway) is `ok`; an unknown one is
    `low_quality` and names its two best; any other is a finding. The value is how often it came in its chain.
    """
    outside = [name for name, root in ROOTS.items() if root.site]
    last = pl.all().sort_by("start").last()
    rows = today.group_by(KEY).agg(
        last, sessions=pl.len(), resets=pl.col("after_reset").sum(), since=pl.col("start").min()
    )
    found = ~pl.col("root").is_in([*outside, "unknown"])
    status = (
        pl.when(found)
        .then(pl.lit("finding"))
        .when(pl.col("root") == "unknown")
        .then(pl.lit("low_quality"))
        .otherwise(pl.lit("ok"))
    )
    return finding(
        rows.sort(KEY).select("site", "unit", "cell", status=status, **_verdict(found, limits)), "lockout_cause"
    )


def _verdict(found: pl.Expr, limits: Limits) -> dict[str, pl.Expr]:
    meant = pl.col("root").replace_strict({n: r.fault for n, r in ROOTS.items()}, default=None, return_dtype=pl.String)
    returned = pl.col("resets") > 0
    again = pl.when(pl.col("chain_n") > 1).then(reason("came_again_within_7_days", pl.col("chain_n"), "count"))
    reset = pl.when(returned).then(reason("back_within_a_day_of_a_reset", pl.col("chain_resets"), "count"))
    unsure = [
        pl.when(~found & (pl.col("root") == "unknown") & pl.col(name).is_not_null()).then(
            reason(pl.concat_str(pl.lit("perhaps_"), name), pl.lit(None, pl.Float64), "")
        )
        for name in ("likeliest", "second")
    ]
    action = pl.concat_list(pl.when(returned).then(pl.lit("repeat_lockout")), pl.coalesce(meant, "fault"), "fault")
    return {
        "pattern": pl.col("root"),
        "fault": pl.coalesce(meant, "fault"),
        "value": pl.col("chain_n"),
        "value_unit": pl.lit("count"),
        "confidence": pl.col("confidence"),
        "reasons": as_json(pl.concat_list(*_numbers(), again, reset, *unsure).list.drop_nulls()),
        "action": as_json(action.list.drop_nulls().list.unique(maintain_order=True)),
        "evidence": as_json(
            pl.struct(
                table=pl.lit("lockout"),
                from_ts=pl.col("start") - limits.lockouts.before_ms,
                to_ts=pl.col("start") + limits.lockouts.after_ms,
                trigger="cause",
                causes="causes",
                ended_by="ended_by",
                sessions="sessions",
                chain="chain_n",
                chain_days="chain_days",
                resets="chain_resets",
                second="second",
            )
        ),
    }


def _numbers() -> list[pl.Expr]:
    """The window's numbers that speak for the root, out of the session's evidence."""
    kind = pl.Struct(dict.fromkeys(NUMBERS, pl.Float64))
    said = pl.col("evidence").str.json_decode(kind).struct
    return [
        pl.when(said.field(name).is_not_null() & _speaks(name)).then(reason(why, said.field(name), unit))
        for name, (why, unit) in NUMBERS.items()
    ]


def _speaks(name: str) -> pl.Expr:
    mine = [root for root, names in TOLD.items() if name in names]
    return pl.col("root").is_in(mine) | (~pl.col("root").is_in(list(TOLD)) & (name == "i_peak"))
