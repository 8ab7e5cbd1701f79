"""Where does counted charge err otherwise than by its sensor's offset? At rest, and while the current falls slowly.

A sensor that shows tenths of an ampere has another error at rest than under current, where noise and load carry it
over its steps. And a reading counts for all of the time since the one before: of a current that a charger or a BMS
lets fall slowly that leaves out half an interval, which nothing gives back where it had begun with a step. How long a
module rests and how often it is filled up follows the season, and so would every capacity.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from pipeline.chemistry import Floats

UNIT = ["site", "unit"]
WOBBLES = ("rest_h", "fall_mah")
OFFSET_MA, REST_MA, FALL = 1000.0, 50.0, 0.5
"""Standard deviations before anything is known: of the offset, of what it is at rest beside that, of the share of the
falls that is left out (none where readings are means, or come at no fixed time beside the loads; all at worst)."""
CLOSES_MAH, ROUNDS, FAR = 100.0, 4, 2.0
"""By how much a loop's end is wrong at least, and how often what lies FAR times farther off is given less weight."""


def of_a_day(rows: pl.LazyFrame, *marks: pl.DataFrame) -> pl.DataFrame:
    """miscount without its place, from `dynamics` and the rows of crossings and anchors: at each and at day's end."""
    ends = rows.group_by("unit").agg(pl.lit(None, pl.Int64).alias("ts"), pl.col(WOBBLES).last()).collect()
    at = [mark.select("unit", pl.col("ts").cast(pl.Int64), *WOBBLES) for mark in marks]
    return pl.concat([*at, ends.select("unit", "ts", *WOBBLES)], how="vertical_relaxed").unique().sort("unit", "ts")


def beside(events: pl.LazyFrame, counted: pl.LazyFrame) -> pl.LazyFrame:
    """crossing or anchor rows with `rest_h` and `fall_mah` since the record began, from miscount rows. Days and moments
    without any, which older code left, count as 0.
    """
    days = counted.filter(pl.col("ts").is_null()).sort(*UNIT, "day")
    before = {f"{name}_0": pl.col(name).cum_sum().over(UNIT) - pl.col(name) for name in WOBBLES}
    moments = counted.drop_nulls("ts").select(*UNIT, "day", "ts", *WOBBLES).unique([*UNIT, "day", "ts"])
    known = events.join(moments, on=[*UNIT, "day", "ts"], how="left", maintain_order="left")
    placed = known.join(days.select(*UNIT, "day", **before), on=[*UNIT, "day"], how="left", maintain_order="left")
    since = {name: (pl.col(name) + pl.col(f"{name}_0")).fill_null(0.0) for name in WOBBLES}
    return placed.with_columns(**since).drop(before)


def miscounts(tops: pl.DataFrame, least: int) -> pl.DataFrame:
    """(site, unit, rest_ma, fall_share) by least squares with a prior, from sorted upward crossings of `ledger` and
    `beside`.

    Counted charge at the moments when a cell is full, on hours, hours at rest and `fall_mah`, all cells of a module
    together, each about its own mean. Robust by Huber's weights. A unit without a cell with `least` moments: no row.
    """
    often = tops.filter(pl.len().over(*UNIT, "cell") >= least)
    columns = [(pl.col(name) - pl.col(name).mean().over(*UNIT, "cell")).alias(name) for name in WOBBLES]
    hours = (pl.col("ts") - pl.col("ts").mean().over(*UNIT, "cell")) / 3.6e6
    level = pl.col("mah") - pl.col("mah").mean().over(*UNIT, "cell")
    about = often.select(*UNIT, "cell", *columns, hours=hours, mah=level)
    found = [
        (*key, *_fitted(group.select("hours", *WOBBLES).to_numpy(), group["mah"].to_numpy(), cells))
        for key, group in about.group_by(UNIT, maintain_order=True)
        if (cells := group["cell"].n_unique())
    ]
    kinds = {**dict.fromkeys(UNIT, pl.String), "rest_ma": pl.Float64, "fall_share": pl.Float64}
    return pl.DataFrame(found, schema=kinds, orient="row")


def _fitted(terms: Floats, mah: Floats, cells: int) -> tuple[float, float]:
    """Cells of a module have the same current: what is wrong with one loop is wrong with all of them."""
    prior = cells * np.diag(1 / np.array([OFFSET_MA, REST_MA, FALL]) ** 2)
    weight, sigma = np.ones(len(mah)), CLOSES_MAH
    rest = fall = 0.0
    for _ in range(ROUNDS):
        weighed = terms * weight[:, None]
        found = np.linalg.solve(weighed.T @ terms + prior * sigma**2, weighed.T @ mah)
        off = np.abs(mah - terms @ found)
        sigma = max(1.48 * float(np.median(off)), CLOSES_MAH)
        weight = np.asarray(1 / np.maximum(1, off / (FAR * sigma)), np.float64)
        rest, fall = float(found[1]), float(found[2])
    return rest, fall
