"""A part's lockout sessions of a day: from readings and what the devices themselves have counted and logged."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Protocol

import polars as pl

from pipeline.analyses.endings import endings
from pipeline.analyses.findings import as_json
from pipeline.analyses.neighbours import neighbours
from pipeline.analyses.proofs import proven, restarts
from pipeline.analyses.roots import roots
from pipeline.analyses.sessions import sessions
from pipeline.analyses.window import window
from pipeline.days import LocalDay
from pipeline.limits import LFP, Limits

NUMBERS = (
    *("mean_hi", "mean_lo", "low", "high", "spread", "others_lo", "others_hi", "low_at", "high_at"),
    *("i_peak", "i_mean", "i_step", "i_last", "i_rms", "over_ms", "limit_ma", "full_mah"),
    *("t_lo", "t_hi", "t_apart", "t_rise", "t_least", "soc_pm", "gap_ms", "period_ms", "idle_h"),
    *("site_peers", "site_units", "share", "stack_units", "stack_missing"),
)
"""What of the window is kept with a session."""
SAID_WITHIN = timedelta(days=31)
"""What a device said of itself within it still counts."""


class Scans(Protocol):
    """As much of the archive as is read here."""

    def scan(self, table: str, days: tuple[date, date] | None = None) -> pl.LazyFrame:
        """A table, or the UTC dates from first to last of it."""


@dataclass(frozen=True, slots=True)
class Devices:
    """What the part's devices said of themselves: counters, log entries, restarts, (site, unit, model, firmware,
    charge_ma, discharge_ma), and which (site, unit) had no current the day before.
    """

    counters: pl.LazyFrame
    log: pl.LazyFrame
    restarts: pl.LazyFrame
    about: pl.LazyFrame
    rested: pl.LazyFrame


def devices(store: Scans, day: LocalDay, sites: tuple[str, ...]) -> Devices:
    """Read for one part; the tables are small, for devices say such things on change only."""
    dates = day.utc_dates()
    mine, today = pl.col("site").is_in(sites), pl.col("ts").is_between(day.start, day.end, closed="left")
    month = (dates[0] - SAID_WITHIN, dates[1])
    counted = store.scan("device_counter", month).filter(mine & (pl.col("ts") < day.end))
    last = counted.filter(pl.col("ts") < day.start).sort("ts").group_by("site", "unit", "name").last()
    columns = ["site", "unit", "name", "ts", "value"]
    counters = pl.concat([last.select(columns), counted.filter(today).select(columns)]).collect().lazy()
    noted = pl.col("device_ts").is_between(day.start, day.end, closed="left")
    log = store.scan("device_log", (dates[0], dates[1] + timedelta(days=1))).filter(mine & noted).collect().lazy()
    info = store.scan("device_info", month).filter(mine & (pl.col("ts") < day.end)).sort("ts")
    limits = pl.Struct({"charge_ma": pl.Int64, "discharge_ma": pl.Int64})
    said = info.with_columns(pl.col("limits").str.json_decode(limits)).unnest("limits")
    names = ("model", "firmware", "charge_ma", "discharge_ma")
    about = said.group_by("site", "unit").agg(pl.col(name).drop_nulls().last() for name in names)
    return Devices(counters, log, restarts(counters), about.collect().lazy(), _rested(store, day, sites))


def _rested(store: Scans, day: LocalDay, sites: tuple[str, ...]) -> pl.LazyFrame:
    yesterday = (pl.col("day") == day.day - timedelta(days=1)) & pl.col("site").is_in(sites)
    still = pl.max_horizontal(pl.col("current_ma_min").abs(), pl.col("current_ma_max").abs()) < LFP.roots.idle_ma
    return store.scan("module_day").filter(yesterday & still).select("site", "unit").collect().lazy()


def locked(
    rows: pl.LazyFrame, runs: pl.LazyFrame, said: Devices, who: tuple[pl.LazyFrame, LocalDay], limits: Limits
) -> pl.LazyFrame:
    """lockout without its place. `rows` are one chemistry's `steps` of the day and `runs` its faults, both by number;
    `who` is the roster of those numbers, and the day.
    """
    roster, day = who
    numbers = roster.select("no", "site", "unit")

    def numbered(frame: pl.LazyFrame) -> pl.LazyFrame:
        return frame.join(numbers, on=["site", "unit"]).drop("site", "unit").rename({"no": "unit"})

    named = runs.rename({"unit": "no"}).join(numbers, on="no").drop("no")
    proofs = numbered(proven(said.counters, said.log, named)).select("unit", "fault", "start", "end")
    every = pl.concat([runs.select("unit", "fault", "start", "end"), proofs])
    found = sessions(every, ["unit"], limits.lockouts.session_ms).collect().lazy()
    ended = endings(found, rows, numbered(said.restarts), day, limits.lockouts)
    rested = numbered(said.rested).with_columns(rested=pl.lit(value=True))
    longer = pl.when(pl.col("idle_all") & pl.col("rested")).then(24.0).otherwise(0.0)
    windows = window(rows, ended.collect().lazy(), limits).join(rested, on="unit", how="left", maintain_order="left")
    seen = windows.with_columns(idle_h=pl.col("idle_h") + longer).drop("rested", "idle_all").collect().lazy()
    mates = roster.select("site", "edge", "stack", "stack_known", unit="no")
    around = neighbours(seen, rows, mates, numbered(said.about), limits)
    judged = roots(around.collect().lazy(), limits.roots)
    return judged.with_columns(evidence=as_json(pl.struct(NUMBERS)))
