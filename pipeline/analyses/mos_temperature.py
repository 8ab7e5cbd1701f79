"""How warm are the cells of a module that tells only its MOSFETs' temperature?"""

from __future__ import annotations

import polars as pl

ROOM, MOS = 0.0015, 0.0017
"""Shares a minute that the cells go towards their surroundings and the MOSFETs: batmon-ha's 0.0006 (room) and 0.0009
(outside) taken together, for we know one ambient; its held-out error was 1.42 K against 1.92 K of the raw value."""


def cell_temperature(rows: pl.LazyFrame, ambient_dc: float) -> pl.LazyFrame:
    """A day's `steps` with `temp_cells_dc` (0.1 degC): a low-pass of mos_temp_dc and the surroundings.

    T goes towards the weighted mean of both; written as an exponentially weighted mean over the time passed.
    """
    share = MOS / (MOS + ROOM)
    target = share * pl.col("mos_temp_dc") + (1 - share) * ambient_dc
    at = pl.col("ts").cast(pl.Datetime("ms"))
    half_life = f"{round(0.6931 / (MOS + ROOM) * 60)}s"
    return rows.with_columns(temp_cells_dc=target.ewm_mean_by(at, half_life=half_life).over("unit"))
