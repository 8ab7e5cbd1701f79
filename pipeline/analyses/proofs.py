"""What do a BMS's own counters and log prove that no poll has seen: trips between two readings, and restarts?"""

from __future__ import annotations

from functools import cache

import polars as pl

from cellherd.faults import brand, brands
from pipeline.analyses.causes import CAUSE

SEEN_MS = 60_000
"""A proven trip this close to a standing fault is the same one."""
RESTARTS = ("uptime_s", "boots", "reset_times")
"""Counters that tell of a restart: the first by falling, the others by growing."""


def proven(counters: pl.LazyFrame, log: pl.LazyFrame, runs: pl.LazyFrame) -> pl.LazyFrame:
    """Runs (site, unit, fault, start, end) that only the device's counters and log know of.

    A counter that grew by more than the runs seen since its last value proves the rest; they are dated to its report,
    for nobody knows better. A log entry has the device's own time, and counts where no run stands within a minute.
    """
    codes = pl.LazyFrame(_meanings(), schema=["code", "fault"], orient="row")
    key = ["site", "unit", "fault"]
    grown = (
        counters.join(codes, left_on="name", right_on="code")
        .sort(*key, "ts")
        .with_columns(grew=pl.col("value").diff().over(*key, "name"), since=pl.col("ts").shift(1).over(*key, "name"))
    )
    steps = grown.filter(pl.col("grew") > 0).select(*key, "ts", "since", "grew")
    counted = steps.join(runs.select(*key, "start"), on=key, how="left").with_columns(
        within=(pl.col("start") > pl.col("since")) & (pl.col("start") <= pl.col("ts"))
    )
    missed = (
        counted.group_by(*key, "ts", "grew").agg(seen=pl.col("within").sum()).filter(pl.col("grew") > pl.col("seen"))
    )
    named = log.join(codes, on="code").filter(pl.col("device_ts").is_not_null())
    entries = pl.concat([missed.select(*key, "ts"), named.select(*key, ts="device_ts")]).unique()
    near = entries.join(runs, on=key).filter(
        pl.col("ts").is_between(pl.col("start") - SEEN_MS, pl.col("end") + SEEN_MS)
    )
    fresh = entries.join(near, on=[*key, "ts"], how="anti")
    return fresh.select(*key, start="ts", end="ts").sort(*key, "start")


def restarts(counters: pl.LazyFrame) -> pl.LazyFrame:
    """(site, unit, ts) of reports by which a device has started anew."""
    told = counters.filter(pl.col("name").is_in(RESTARTS)).sort("site", "unit", "name", "ts")
    change = pl.col("value").diff().over("site", "unit", "name")
    fell = (pl.col("name") == RESTARTS[0]) & (change < 0)
    grew = (pl.col("name") != RESTARTS[0]) & (change > 0)
    return told.filter(fell | grew).select("site", "unit", "ts")


@cache
def _meanings() -> list[tuple[str, str]]:
    """Log codes and counter names of every brand that stand for a lockout.

    Numbers alone name a code of one brand only (the log of JK); where two brands mean different things by one code it
    is left out, for a trip that never was is worse than one that is missed.
    """
    found: dict[str, set[str]] = {}
    for name in brands():
        for word, table in brand(name).items():
            if word in ("log", "trips", "console_counter"):
                for code, meant in table.values.items():
                    if meant.fault in CAUSE and not meant.released:
                        found.setdefault(code.replace(" ", "_").lower(), set()).add(meant.fault)
    return [(code, next(iter(faults))) for code, faults in sorted(found.items()) if len(faults) == 1]
