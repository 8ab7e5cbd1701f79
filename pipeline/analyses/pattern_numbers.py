"""A pattern's finding in numbers: value and interval, what was exceeded, how sure, and the evidence behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import polars as pl

from pipeline.analyses.findings import as_json, reason
from pipeline.analyses.patterns import ASSUMED, CELLS, MODULES, Pattern
from pipeline.analyses.resistance import SIGMA_FLOOR, SIGMA_STEP
from pipeline.limits import Mismatch

LEAKS = ("leaking_cell", "possible_internal_short")
EMPTY_FIRST = ("capacity_deficit", "lagging_cell", "leaking_cell")
REASONS = (
    ("jump_rate", "readings_that_jump", "%", 100.0, "jump_rate", ("erratic_reading",)),
    ("beside_rate", "its_neighbour_jumps_too", "%", 100.0, None, ("erratic_reading",)),
    ("ratio", "cell_resists_more_than_its_neighbours", "%", 100.0, "resists", ("weak_under_load",)),
    ("deficit", "holds_less_than_its_neighbours", "%", 100.0, "deficit", ("capacity_deficit",)),
    ("rest_deficit", "lacks_charge_in_low_rests", "%", 100.0, "deficit", ("capacity_deficit", "lagging_cell")),
    ("alone_empty", "is_empty_while_the_others_are_not", "%", 100.0, "alone", ("capacity_deficit",)),
    ("first_empty", "is_empty_first", "%", 100.0, "first_empty", EMPTY_FIRST),
    ("unfilled", "is_not_full_when_the_others_are", "%", 100.0, "unfilled", ("lagging_cell", *LEAKS)),
    ("drift", "falls_behind_the_others_by", "mA", 1.0, "drift_ma", LEAKS),
    ("bleed_ma", "the_others_are_bled_more_by", "mA", 1.0, None, LEAKS),
    ("warmer_k", "one_sensor_is_warmer_than_the_others", "K", 1.0, "short_k", ("possible_internal_short",)),
    ("late_lag", "lacks_charge_at_full", "%", 100.0, "top_far", ("top_drift",)),
    ("top_mv", "cells_apart_near_full", "mV", 1.0, "balance_mv", ("balancer_inactive",)),
    ("early", "charges_that_ended_with_one_cell_at_its_limit", "%", 100.0, "cut_off", ("early_cut_off",)),
)
"""Column, id, unit, factor, limit, and the patterns whose reason it is."""
AT_LEAST = ("capacity_deficit", "lagging_cell")
"""The stronger cells rest on the plateau, so what is seen is a lower bound."""
EVIDENCE = (
    *("tops", "bottoms", "rests", "steps", "lag", "late_lag", "lead", "deficit", "rest_deficit", "unfilled"),
    *(
        "unfilled_excess",
        "first_empty",
        "drift",
        "drift_from",
        "loses",
        "bleed_ma",
        "given_ma",
        "shuttles",
        "ratio",
        "jump_rate",
        "beside",
    ),
)


def numbers(limits: Mismatch) -> dict[str, pl.Expr]:
    """The columns of a finding for rows of `cell_month` with pattern, status, most_tops and most_bottoms."""
    found, unseen = pl.col("pattern").is_not_null(), pl.col("status") == "not_observable"
    fault = pl.when(found).then(chosen(lambda r: pl.lit(r.fault)))
    n = (
        pl.when(found)
        .then(chosen(lambda r: pl.col(r.counts)))
        .otherwise(pl.min_horizontal("most_tops", "most_bottoms"))
    )
    sure, value, bound = n.fill_null(0), worth(), pl.col("pattern").is_in(AT_LEAST)
    half = _half(value)
    action = pl.coalesce(
        pl.when(pl.col("pattern") == r.name).then(pl.concat_list(pl.lit(a) for a in r.actions))
        for r in (*CELLS, *MODULES)
    )
    return {
        "fault": fault.otherwise(pl.when(pl.col("status") == "ok").then(pl.lit("cell_spread_normal"))),
        "value": value,
        "lo": pl.when(bound).then(value).otherwise(value - half),
        "hi": pl.when(~bound).then(value + half),
        "threshold": chosen(lambda r: pl.lit(r.factor * float(getattr(limits, r.limit)))),
        "value_unit": chosen(lambda r: pl.lit(r.unit)),
        "confidence": pl.when(unseen).then(0.0).otherwise(sure / (sure + limits.events)),
        "reasons": as_json(pl.concat_list(*_why(limits), *_missing(limits)).list.drop_nulls()),
        "action": as_json(pl.coalesce(action, pl.concat_list(pl.lit("capacity_fade")).list.head(unseen.cast(pl.Int8)))),
        "evidence": as_json(pl.struct(pl.lit("crossing").alias("table"), sure.alias("n"), *EVIDENCE)),
        "pattern": pl.col("pattern").fill_null("even_spread"),
    }


def chosen(of: Callable[[Pattern], pl.Expr], rules: tuple[Pattern, ...] = (*CELLS, *MODULES)) -> pl.Expr:
    """What `of` says of the row's own pattern."""
    return pl.coalesce(pl.when(pl.col("pattern") == rule.name).then(of(rule)) for rule in rules)


def worth(rules: tuple[Pattern, ...] = (*CELLS, *MODULES)) -> pl.Expr:
    """The number that the row's pattern tells, in its unit."""
    return chosen(lambda rule: rule.factor * pl.col(rule.value).cast(pl.Float64), rules)


def _half(value: pl.Expr) -> pl.Expr:
    """Half of the 95 % interval, in the value's unit."""
    steps, quiet = pl.col("steps").clip(1), pl.col("quiet").clip(1)
    resists = value * (SIGMA_FLOOR**2 + SIGMA_STEP**2 / steps).sqrt()
    jumps = 100 * (pl.col("jump_rate") * (1 - pl.col("jump_rate")) / quiet).sqrt()
    lag = 100 * pl.col("lag_sd") / pl.col("lags").clip(1).sqrt()
    by_pattern = {"weak_under_load": resists, "erratic_reading": jumps, "top_drift": lag}
    by_pattern |= dict.fromkeys(LEAKS, ASSUMED / 1.96 * value)
    return 1.96 * pl.coalesce(pl.when(pl.col("pattern") == name).then(e) for name, e in by_pattern.items())


def _why(limits: Mismatch) -> Iterator[pl.Expr]:
    for column, name, unit, factor, limit, whose in REASONS:
        beyond = factor * float(getattr(limits, limit)) if limit else None
        told = (
            pl.col("pattern").is_in(whose) & pl.col(column).is_not_null() & pl.col(column).cast(pl.Float64).is_finite()
        )
        yield pl.when(told).then(reason(name, (factor * pl.col(column).cast(pl.Float64)).round(2), unit, beyond))


def _missing(limits: Mismatch) -> Iterator[pl.Expr]:
    for column, name in (("most_tops", "fillings_in_30_days"), ("most_bottoms", "emptyings_in_30_days")):
        n = pl.col(column).fill_null(0)
        scarce = (pl.col("status") == "not_observable") & (n < limits.events)
        yield pl.when(scarce).then(reason(name, n, "count", pl.lit(limits.events)))
