"""When was a module surely full, or at rest so low that its voltage tells its charge? Fixed points to count between."""

from __future__ import annotations

import numpy as np
import polars as pl

from pipeline.analyses.curve import cells_in
from pipeline.chemistry import Chemistry, Floats
from pipeline.limits import HOUR, MINUTE, Limits

SIGMA_MV = 5.0
"""Of a rest voltage: quantisation, relaxation and hysteresis together."""
REST_MA, REST_MS, TAPER_C, APART_MS = 1500, 20 * MINUTE, 0.06, 6 * HOUR
COUNTERS = ("ts", "in_mah", "out_mah", "in_wh", "out_wh", "rest_h", "fall_mah", "temp_dc")


def anchors(rows: pl.LazyFrame, resistances: pl.LazyFrame, limits: Limits, chemistry: Chemistry) -> pl.LazyFrame:
    """anchor without its place, from `dynamics`: `full` once an event, `rest` at the end of each low rest, a cell each.

    Full: mean or highest cell at the chemistry's full voltage while the current has tapered below 0.06 C. Rest: below
    1.5 A for 20 minutes and the mean cell below `low_mv`. SOC comes from the curve, with its uncertainty.
    """
    nominal = pl.coalesce("nominal", pl.lit(float(limits.full_mah)))
    active = pl.when((pl.col("current_ma").abs() >= REST_MA) | pl.col("dt_ms").is_null()).then("ts").forward_fill()
    marked = rows.with_columns(active=active)

    def known(some: pl.LazyFrame) -> pl.LazyFrame:
        return some.join(resistances, on="unit", how="left", maintain_order="left")  # after the filter: they are few

    topped = (pl.col("mean") >= chemistry.full_mv[0]) | (pl.col("high") >= chemistry.full_mv[1])
    full = known(marked.filter(topped & (pl.col("current_ma") >= 0)))
    full = full.filter(pl.col("current_ma") <= TAPER_C * nominal)
    first = full.filter(
        ~((pl.col("unit") == pl.col("unit").shift(1)) & (pl.col("ts") - pl.col("ts").shift(1) < APART_MS)).fill_null(
            value=False
        )
    )
    resting = marked.filter((pl.col("ts") - pl.col("active") >= REST_MS) & (pl.col("mean") <= chemistry.low_mv))
    last = known(resting).filter(
        ((pl.col("unit") != pl.col("unit").shift(-1)) | (pl.col("active") != pl.col("active").shift(-1))).fill_null(
            value=True
        )
    )
    names = cells_in(rows)
    kept = ("unit", *COUNTERS, "kt", "current_ma", "lagged_ma", "fast_mohm", "slow_mohm", *names)
    eager = pl.concat([first.select(*kept, state=pl.lit("full")), last.select(*kept, state=pl.lit("rest"))])
    return _by_cell(eager.collect(engine="streaming"), names, chemistry).lazy()


def _by_cell(found: pl.DataFrame, names: list[str], chemistry: Chemistry) -> pl.DataFrame:
    """One row an anchor and cell; the rest voltage lies a hysteresis below a full cell's and above an emptied one's."""
    fixed = ["unit", "state", *COUNTERS]
    drop = pl.col("kt") * (pl.col("fast_mohm") * pl.col("current_ma") + pl.col("slow_mohm") * pl.col("lagged_ma")) / 1e3
    long = found.with_columns(drop=drop.fill_null(0.0)).unpivot(names, index=[*fixed, "drop"], variable_name="name")
    known = long.drop_nulls("value").with_columns(
        cell=pl.col("name").str.slice(1).cast(pl.Int16), mv=pl.col("value") - pl.col("drop")
    )
    toward = np.where(known["state"].to_numpy() == "full", -1.0, 1.0)
    soc = chemistry.soc_at(known["mv"].to_numpy() + toward * chemistry.hysteresis_mv)
    sigma: Floats = SIGMA_MV / np.maximum(chemistry.mv_per_soc(soc), 1e-9)
    told = known.with_columns(soc=pl.Series(soc, dtype=pl.Float64), soc_sigma=pl.Series(sigma, dtype=pl.Float64))
    return told.select("unit", "cell", "state", *COUNTERS, "mv", "soc", "soc_sigma")
