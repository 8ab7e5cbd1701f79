"""How much does each cell hold? Charge counted from full to empty, over stretches that can be trusted."""

from __future__ import annotations

import polars as pl

from pipeline.analyses.ledger import UNIT
from pipeline.analyses.miscounts import WOBBLES
from pipeline.chemistry import Chemistry
from pipeline.limits import HOUR, MINUTE
from pipeline.quality import Quality

LONGEST_MS = 48 * HOUR
LEAST_SHARE = 0.4
COLD_DC = 0
SAMPLING, COARSER = 0.003, 0.613
"""Share of the capacity that a reading a minute misses, and the power of the period by which it grows: 0.1 % at 10 s,
0.8 % at 300 s. What steps at random would grow with the root, what falls always the same way with the period itself."""
ONE_WAY = 0.02
"""Charge that may flow back, of nominal, in a stretch that counts as a full-cycle test."""
DOUBTFUL = int(Quality.GAP | Quality.CLOCK | Quality.N_CELLS)
CELL = [*UNIT, "cell"]


def capacity(
    crossings: pl.LazyFrame, anchors: pl.LazyFrame, offsets: pl.LazyFrame, modules: pl.LazyFrame, chemistry: Chemistry
) -> pl.LazyFrame:
    """capacity rows without their place: (site, unit, cell, day, method, ts, from_ts, mah, sigma, current, temp).

    `crossings` and `anchors` come from `ledger` and `beside`, `offsets` from `offset`, `modules` has (site, unit,
    nominal_mah, period_ms). Each emptying is paired with the filling before it, within 48 h. Reference: crossings need
    no curve but its window between the two marks; anchors need the curve at both ends.
    """
    up, down = (crossings.filter(pl.col("direction") == way) for way in (1, -1))
    full, rest = (anchors.filter(pl.col("state") == state) for state in ("full", "rest"))
    by_marks = _paired(up, down).with_columns(
        share=pl.lit(chemistry.window), share_sigma=pl.lit(chemistry.window_sigma)
    )
    by_curve = _paired(full, rest).with_columns(
        share=pl.col("soc_from") - pl.col("soc"),
        share_sigma=(pl.col("soc_sigma") ** 2 + pl.col("soc_sigma_from") ** 2).sqrt(),
    )
    columns = [*CELL, "day", "ts", "from_ts", "counted", "moved", "share", "share_sigma", "temp_dc", "current_ma", "dq"]
    columns += WOBBLES
    both = pl.concat(
        [
            by_marks.with_columns(method=pl.lit("crossings")).select(*columns, "method"),
            by_curve.with_columns(method=pl.lit("anchors"), current_ma=pl.lit(None, pl.Float64)).select(
                *columns, "method"
            ),
        ]
    )
    return _held(both.join(offsets, on=UNIT, how="left").join(modules, on=UNIT))


def _paired(filled: pl.LazyFrame, emptied: pl.LazyFrame) -> pl.LazyFrame:
    """Each emptying with the last filling before it."""
    ends = [name for name in ("soc", "soc_sigma") if name in filled.collect_schema()]
    starts = filled.select(
        *CELL,
        from_ts="ts",
        mah_from="mah",
        moved_from="moved_mah",
        dq_from="dq",
        at="ts",
        **{f"{e}_from": e for e in (*ends, *WOBBLES)},
    )
    joined = (
        emptied.with_columns(at=pl.col("ts"))
        .sort("at")
        .join_asof(starts.sort("at"), on="at", by=CELL, strategy="backward", check_sortedness=False)
    )
    near = joined.drop_nulls("from_ts").filter(pl.col("ts") - pl.col("from_ts") <= LONGEST_MS)
    return near.with_columns(
        counted=pl.col("mah_from") - pl.col("mah"),
        moved=pl.col("moved_mah") - pl.col("moved_from"),
        dq=pl.col("dq") | pl.col("dq_from"),
        **{name: pl.col(name) - pl.col(f"{name}_from") for name in WOBBLES},
    )


def _held(pairs: pl.LazyFrame) -> pl.LazyFrame:
    hours = (pl.col("ts") - pl.col("from_ts")) / HOUR
    odd = pl.col("rest_ma") * pl.col("rest_h") + pl.col("fall_share") * pl.col("fall_mah")
    corrected = pl.col("counted") + pl.col("offset_ma").fill_null(0) * hours + odd.fill_null(0)
    held = corrected / pl.col("share")
    missed = SAMPLING * (pl.col("period_ms") / MINUTE) ** COARSER
    sigma = (
        (pl.col("offset_sigma").fill_null(100.0) * hours / pl.col("share")) ** 2
        + (held * pl.col("share_sigma") / pl.col("share")) ** 2
        + (held * missed) ** 2
    ).sqrt()
    trusted = (
        (corrected > LEAST_SHARE * pl.col("nominal_mah"))
        & (pl.col("share") > LEAST_SHARE)
        & (pl.col("temp_dc") >= COLD_DC)
        & (pl.col("dq") & DOUBTFUL == 0)
    )
    tested = (pl.col("moved") - pl.col("counted") < ONE_WAY * pl.col("nominal_mah")) & (pl.col("method") == "crossings")
    told = pairs.filter(trusted).with_columns(
        mah=held, sigma=sigma, method=pl.when(tested).then(pl.lit("full_cycle")).otherwise("method")
    )
    return told.select(
        *CELL, "day", "method", "ts", "from_ts", "mah", "sigma", "offset_ma", "current_ma", "temp_dc"
    ).sort(*CELL, "ts", "method")
