"""Are a module's cells apart, where on the curve, and which one is it? A verdict for top, middle and bottom."""

from __future__ import annotations

import polars as pl

from pipeline.analyses.findings import as_json, finding, reason
from pipeline.analyses.spread import percentile
from pipeline.limits import Limits
from pipeline.quality import CELLS_DOUBTFUL

UNIT = ["site", "unit"]
BAND = [*UNIT, "band"]
ROLES = {
    "top_first": ("top", "same_cell_highest_near_full"),
    "top_last": ("top", "same_cell_lowest_near_full"),
    "bottom_first": ("bottom", "same_cell_lowest_near_empty"),
    "mid_far": ("mid", "same_cell_farthest_from_the_mean"),
}
"""Statistics of cell_day that name a cell: the band that they speak of, and the reason that they give."""


def imbalance(
    spread_hist: pl.LazyFrame, cell_day: pl.LazyFrame, module_day: pl.LazyFrame, limits: Limits
) -> pl.LazyFrame:
    """Three findings' rows a unit of module_day, one a band: finding, ok, not_observable or low_quality.

    The value is the spread that 95 % of the band's readings stay below. Confidence grows with the number of readings
    behind it and with the share of them in which the same cell leads.
    """
    seen = spread_hist.group_by(BAND).agg(pl.col("n").sum())
    widest = percentile(spread_hist, 0.95, BAND)
    asked = module_day.select(*UNIT, "dq").join(_bands(limits), how="cross")
    rows = asked.join(seen, on=BAND, how="left").join(widest, on=BAND, how="left")
    judged = rows.join(_leader(cell_day), on=BAND, how="left").with_columns(_status(limits)).sort(BAND)
    named = judged.with_columns(
        cell=pl.when((pl.col("status") == "finding") & (pl.col("share") >= limits.same_cell)).then("cell")
    )
    return finding(named.select(*UNIT, "status", "cell", **_verdict(limits)), "imbalance")


def _bands(limits: Limits) -> pl.LazyFrame:
    rows = [(name, b.uneven_mv, b.severe_mv, b.fault, b.severe_fault) for name, b in limits.bands.items()]
    return pl.LazyFrame(rows, schema=["band", "uneven", "severe", "mild_fault", "severe_fault"], orient="row")


def _leader(cell_day: pl.LazyFrame) -> pl.LazyFrame:
    """The cell that most often leads each band, by how large a share, and in which role."""
    long = cell_day.unpivot(list(ROLES), index=[*UNIT, "cell"], variable_name="role", value_name="led")
    banded = long.with_columns(band=pl.col("role").replace_strict({role: band for role, (band, _) in ROLES.items()}))
    rows = banded.filter(pl.col("led") > 0).with_columns(share=pl.col("led") / pl.col("led").sum().over(BAND))
    best = rows.sort("share", "cell", descending=[True, False])
    return best.group_by(BAND, maintain_order=True).first().select(*BAND, "cell", "share", "role")


def _status(limits: Limits) -> pl.Expr:
    return (
        pl.when(pl.col("n").fill_null(0) < limits.enough)
        .then(pl.lit("not_observable"))
        .when(pl.col("dq") & int(CELLS_DOUBTFUL) != 0)
        .then(pl.lit("low_quality"))
        .when(pl.col("spread_mv") >= pl.col("uneven"))
        .then(pl.lit("finding"))
        .otherwise(pl.lit("ok"))
        .alias("status")
    )


def _verdict(limits: Limits) -> dict[str, pl.Expr]:
    found, n = pl.col("status") == "finding", pl.col("n").fill_null(0)
    fault = pl.when(pl.col("spread_mv") >= pl.col("severe")).then("severe_fault").otherwise("mild_fault")
    told = pl.when(found).then(fault).when(pl.col("status") == "ok").then(pl.lit("cell_spread_normal"))
    behind, consistent = n / (n + limits.enough), 0.5 + 0.5 * pl.col("share").fill_null(0)
    above = pl.when(found).then(reason("cell_spread_beyond_limit", pl.col("spread_mv"), "mV", pl.col("uneven")))
    leads = [
        pl.when(pl.col("cell").is_not_null() & (pl.col("role") == role)).then(
            reason(why, (100 * pl.col("share")).round(), "%")
        )
        for role, (_, why) in ROLES.items()
    ]
    return {
        "pattern": pl.concat_str(pl.lit("spread_"), "band"),
        "fault": told,
        "value": pl.col("spread_mv"),
        "threshold": pl.col("uneven"),
        "value_unit": pl.lit("mV"),
        "confidence": pl.when(found).then(behind * consistent).otherwise(behind),
        "reasons": as_json(pl.concat_list(above, *leads).list.drop_nulls()),
        "action": as_json(pl.concat_list(told).list.drop_nulls()),
        "evidence": as_json(
            pl.struct(table=pl.lit("spread_hist"), key="band", n="n", spread_mv="spread_mv", share="share", dq="dq")
        ),
    }
