"""What do lockouts of many modules have in common? Findings about the fleet, without a site."""

from __future__ import annotations

import polars as pl

from pipeline.analyses.findings import as_json, finding, reason


def lockout_clusters(found: pl.DataFrame) -> pl.LazyFrame:
    """A finding's row for each group of `clusters`: value = rate ratio against all other modules."""
    rows = found.lazy()
    firmware = pl.col("attribute") == "firmware"
    whys = [
        reason("times_the_rate_of_all_others", pl.col("ratio"), "", 2.0),
        reason("modules_concerned", pl.col("units"), ""),
        reason("lockouts_counted", pl.col("n"), ""),
    ]
    told = {
        "pattern": pl.concat_str(pl.lit("cluster:"), "attribute", pl.lit("="), "value", pl.lit(":"), "cause"),
        "status": pl.lit("finding"),
        "fault": pl.when(firmware).then(pl.lit("firmware_outdated")).otherwise(pl.lit("repeat_lockout")),
        "value": pl.col("ratio"),
        "threshold": pl.lit(2.0),
        "value_unit": pl.lit("times"),
        "confidence": 1 - pl.col("q"),
        "reasons": as_json(pl.concat_list(whys)),
        "action": as_json(pl.concat_list(pl.when(firmware).then(pl.lit("firmware_outdated"))).list.drop_nulls()),
        "evidence": as_json(pl.struct("attribute", "value", "cause", "n", "units", "p", "q", table=pl.lit("lockout"))),
    }
    return finding(rows.select(**told), "lockout_cluster")


def lockout_bursts(found: pl.DataFrame) -> pl.LazyFrame:
    """A finding's row for each window of `bursts`: many modules at once speak of weather, mains or a roll-out."""
    whys = [
        reason("lockouts_counted", pl.col("n"), "", pl.col("expected")),
        reason("modules_concerned", pl.col("units"), ""),
    ]
    told = {
        "pattern": pl.concat_str(pl.lit("burst:"), "cause", pl.lit(":"), "days", pl.lit("d")),
        "status": pl.lit("finding"),
        "fault": pl.lit("repeat_lockout"),
        "value": pl.col("n"),
        "threshold": pl.col("expected"),
        "value_unit": pl.lit("count"),
        "confidence": 1 - pl.col("p"),
        "reasons": as_json(pl.concat_list(whys)),
        "action": as_json(pl.concat_list(pl.lit("repeat_lockout"))),
        "evidence": as_json(pl.struct("cause", "days", "n", "units", "expected", "p", table=pl.lit("lockout"))),
    }
    return finding(found.lazy().select(**told), "lockout_burst")
