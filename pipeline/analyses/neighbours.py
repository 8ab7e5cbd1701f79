"""What did the neighbours do when a module locked out? Sites, stacks, stated limits and known firmware."""

from __future__ import annotations

import polars as pl

from pipeline.limits import Limits

FLOORS = {"us3000c": "1.7", "us5000": "2.8"}
"""Firmware below which a maker's module locks itself out: a guide's claim without a second source, so weighed last."""


def neighbours(
    windows: pl.LazyFrame, rows: pl.LazyFrame, roster: pl.LazyFrame, about: pl.LazyFrame, limits: Limits
) -> pl.LazyFrame:
    """Windows (unit, start, ..) with site_peers, site_units, share, stack_units, limit_ma, firmware_old, period_ms.

    `roster` has (unit, site, edge, stack); `about` (unit, model, firmware, charge_ma, discharge_ma) as devices said.
    """
    placed = windows.join(roster.select("unit", "site", "edge", "stack"), on="unit", how="left", maintain_order="left")
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
    """A module's share of its stack's current in the minutes before an overcurrent, and the stack's size."""
    over = placed.filter(pl.col("cause").is_in(["OC_DSG", "OC_CHG"])).select("unit", "start", "site", "stack")
    mates = roster.select("site", "stack", mate="unit")
    asked = over.join(mates, on=["site", "stack"])
    currents = rows.select(mate="unit", ts="ts", current="current_ma").join(
        asked.select("mate").unique(), on="mate", how="semi"
    )
    near = asked.join(currents, on="mate").filter(
        pl.col("ts").is_between(pl.col("start") - limits.lockouts.before_ms, pl.col("start"))
    )
    means = near.group_by("unit", "start", "mate").agg(pl.col("current").abs().mean())
    own = pl.col("current").filter(pl.col("mate") == pl.col("unit")).first()
    return means.group_by("unit", "start").agg(share=own / pl.col("current").sum(), stack_units=pl.len())


def _old() -> pl.Expr:
    """True, False, or null where the model has no floor or does not say its firmware."""
    version = pl.col("firmware").str.extract(r"(\d+\.\d+)").cast(pl.Float64)
    model = pl.col("model").str.to_lowercase()
    old = pl.lit(None, pl.Boolean)
    for name, floor in FLOORS.items():
        old = pl.when(model.str.contains(name, literal=True)).then(version < float(floor)).otherwise(old)
    return old
