"""What did the neighbours do when a module locked out? Sites, stacks, stated limits and known firmware."""

from __future__ import annotations

import polars as pl

from pipeline.limits import Limits

FLOORS = {"us3000c": "1.7", "us5000": "2.8"}
"""Firmware below which a maker's module locks itself out: a guide's claim without a second source, so weighed last."""


def neighbours(
    windows: pl.LazyFrame, rows: pl.LazyFrame, roster: pl.LazyFrame, about: pl.LazyFrame, limits: Limits
) -> pl.LazyFrame:
    """Windows (unit, start, ..) with site_peers, site_units, share, stack_units, stack_missing (how many modules of its
    stack said nothing today), limit_ma, firmware_old, period_ms.

    `roster` has (unit, site, edge, stack, stack_known: how many the registry has there); `about` (unit, model,
    firmware, charge_ma, discharge_ma) as devices said.
    """
    spoke = roster.with_columns(stack_missing=(pl.col("stack_known") - pl.len().over("site", "stack")).clip(0))
    where = spoke.select("unit", "site", "edge", "stack", "stack_missing")
    placed = windows.join(where, on="unit", how="left", maintain_order="left")
    counts = roster.group_by("site", "edge").agg(site_units=pl.len())
    known = placed.join(counts, on=["site", "edge"], how="left", maintain_order="left")
    told = known.join(_peers(placed, limits), on=["unit", "start"], how="left", maintain_order="left")
    shared = told.join(_shares(placed, rows, roster, limits), on=["unit", "start"], how="left", maintain_order="left")
    limited = shared.join(about, on="unit", how="left", maintain_order="left")
    periods = rows.group_by("unit").agg(pl.col("period_ms").first())
    fallback = limits.roots.rate * pl.col("full_mah").fill_null(limits.full_mah)
    stated = pl.when(pl.col("i_peak") > 0).then("charge_ma").otherwise("discharge_ma")
    return (
        limited.join(periods, on="unit", how="left", maintain_order="left")
        .with_columns(pl.col("site_peers").fill_null(0), limit_ma=pl.coalesce(stated, fallback), firmware_old=_old())
        .drop("site", "edge", "stack", "model", "firmware", "charge_ma", "discharge_ma")
    )


def _peers(placed: pl.LazyFrame, limits: Limits) -> pl.LazyFrame:
    """How many other modules of the same edge have a session with the same cause within minutes."""
    at = placed.select("unit", "site", "edge", "cause", "start")
    both = at.join(at, on=["site", "edge", "cause"], suffix="_other").filter(
        (pl.col("unit") != pl.col("unit_other"))
        & ((pl.col("start") - pl.col("start_other")).abs() <= limits.lockouts.neighbour_ms)
    )
    return both.group_by("unit", "start").agg(site_peers=pl.col("unit_other").n_unique())


def _shares(placed: pl.LazyFrame, rows: pl.LazyFrame, roster: pl.LazyFrame, limits: Limits) -> pl.LazyFrame:
    """A module's share of its stack's current before an overcurrent, while it had a heavy one that way, and the
    stack's size.

    At rest and at small currents neighbours that share well differ by more than a few times, and it means nothing.
    """
    side = pl.col("cause").replace_strict({"OC_DSG": -1, "OC_CHG": 1}, default=None, return_dtype=pl.Int64)
    over = placed.select("unit", "start", "site", "stack", side=side).drop_nulls("side")
    currents = rows.select("unit", "ts", "period_ms", "current_ma", full=pl.col("full_mah").fill_null(limits.full_mah))
    before = pl.col("ts").is_between(pl.col("start") - limits.lockouts.before_ms, pl.col("start"))
    heavy = pl.col("side") * pl.col("current_ma") >= limits.roots.heavy_rate * pl.col("full")
    own = over.join(currents, on="unit").filter(before & heavy)
    mates = roster.select("site", "stack", mate="unit")
    asked = own.join(mates, on=["site", "stack"]).filter(pl.col("mate") != pl.col("unit"))
    said = currents.select(mate="unit", at="ts", mates_ma="current_ma").join(asked.select("mate").unique(), on="mate")
    beside = asked.sort("ts").join_asof(
        said.sort("at"), left_on="ts", right_on="at", by="mate", strategy="nearest", check_sortedness=False
    )
    near = beside.filter((pl.col("at") - pl.col("ts")).abs() <= pl.col("period_ms"))
    moments = near.group_by("unit", "start", "ts").agg(
        own=pl.col("current_ma").first().abs(), others=pl.col("mates_ma").abs().sum(), stack_units=pl.len() + 1
    )
    return moments.group_by("unit", "start").agg(
        share=pl.col("own").sum() / (pl.col("own") + pl.col("others")).sum(), stack_units=pl.col("stack_units").max()
    )


def _old() -> pl.Expr:
    """True, False, or null where the model has no floor or does not say its firmware."""
    version = pl.col("firmware").str.extract(r"(\d+\.\d+)").cast(pl.Float64)
    model = pl.col("model").str.to_lowercase()
    old = pl.lit(None, pl.Boolean)
    for name, floor in FLOORS.items():
        old = pl.when(model.str.contains(name, literal=True)).then(version < float(floor)).otherwise(old)
    return old
