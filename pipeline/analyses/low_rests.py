"""How much charge does each cell lack where a module rests low, and does it grow?"""

from __future__ import annotations

import polars as pl

from pipeline.analyses.drifts import drifts
from pipeline.analyses.fillings import CELL
from pipeline.analyses.ledger import UNIT
from pipeline.limits import Limits

REST = [*UNIT, "ts"]


def low_rests(anchors: pl.LazyFrame, balanced: pl.LazyFrame, nominal: pl.LazyFrame, limits: Limits) -> pl.LazyFrame:
    """By cell over low rests: rest_deficit, rests, and how it grows, as seen (drift_rest) and with the balancer's work
    undone (loses_rest): share an hour, which is mA once it is times nominal.

    Of a unit that counts in coarse steps, what is less than a few of them off the median cell is not apart: near 20 %
    a step of 10 mV would be 2 % of the charge. `nominal` has (site, unit, nominal_mah).
    """
    counts = balanced.group_by(UNIT).agg(coarse=_coarse(limits)).join(nominal, on=UNIT, how="left")
    rests = anchors.filter(pl.col("state") == "rest").join(counts, on=UNIT, how="left")
    worked = rests.join(balanced.select(*CELL, "day", "bleed_before_mah"), on=[*CELL, "day"], how="left")
    middle = pl.col("soc").median().over(REST)
    off = (pl.col("mv") - pl.col("mv").median().over(REST)).abs()
    noise = pl.col("coarse").fill_null(value=False) & (off < limits.coarse_floor_mv)
    lacking = pl.when(noise).then(0.0).otherwise(middle - pl.col("soc"))
    apart = worked.with_columns(apart=lacking).filter(middle <= limits.mismatch.rest_soc)
    told = apart.group_by(CELL).agg(rest_deficit=pl.col("apart").median(), rests=pl.len())
    enough = pl.col("rests") >= limits.mismatch.rests
    undone = (pl.col("bleed_before_mah") / pl.col("nominal_mah")).fill_null(0.0)
    grown = drifts(apart, {"drift_rest": pl.col("apart"), "loses_rest": pl.col("apart") + undone}, limits.mismatch)
    return told.with_columns(rest_deficit=pl.when(enough).then("rest_deficit")).join(grown, on=CELL, how="left")


def _coarse(limits: Limits) -> pl.Expr:
    """Whether all that a unit's cells showed in the window are whole steps of a device that counts in such."""
    shown = (pl.col(name) % limits.coarse_mv == 0 for name in ("min_mv", "max_mv"))
    return pl.all_horizontal(shown).all()
