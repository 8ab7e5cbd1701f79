"""Does each data-quality bit come when its flaw is there, and only then?"""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from pipeline.quality import Quality
from pipeline.validation.bars import target
from pipeline.validation.replay import Replayed
from pipeline.validation.row import Row, share

KEY = ["site", "unit"]
SHOWS: dict[str, Quality] = {
    "gaps": Quality.GAP,
    "sensor_stuck": Quality.STUCK_T,
    "clock_skew": Quality.CLOCK,
    "soc_drift": Quality.SOC_DRIFT,
}
"""The bit by which a flaw of the simulator shows."""
DRIFTED = 0.10, 0.15
"""A state of charge so far from the truth may be called drifted, and from the second on must be."""
LOST_MS = 72 * 60_000, 30 * 60_000
"""Of a day in all, and in one piece."""
MOVES_C = 4.0
"""The rule's 3 K, and one for the rounding."""
NOT_A_FAULT = Quality.SOC_JUMP
"""Says what two readings say: a sound BMS does jump when its battery is full, and has no rate of false ones."""


def quality(done: Replayed) -> Iterator[Row]:
    """Recall of each flaw's bit over the module-days on which it can be seen, and its rate on all other days.

    What can be seen is worked out from the truth and the day's own numbers, never from the bit (`visible`).
    """
    days = _days(done).join(_lost(done), on=[*KEY, "day"], how="left")
    flaws = done.truth["flaw"]
    sound = days.join(flaws.select(KEY), on=KEY, how="anti")
    least = target("data quality: a flaw's bit on its days")
    for kind, bit in SHOWS.items():
        mine = flaws.filter(pl.col("kind") == kind).select(*KEY, "onset", "size")
        there = days.join(mine, on=KEY).filter((pl.col("day") >= pl.col("onset")) & visible(kind))
        hits = there.filter(pl.col("dq") & int(bit) != 0).height
        yield share(f"data quality: {bit.name} on days with {kind}", least, hits, there.height)
    yield from _on_sound(sound)


def sensors(done: Replayed) -> Iterator[Row]:
    """The same where readings were spoilt (`spoilt` of the truth): a day counts where the truth asks for its bit.

    A module of which no day was spoilt is a sound one.
    """
    spoilt, days = done.truth["spoilt"], _days(done)
    least = target("data quality: a flaw's bit on its days")
    for bit in Quality:
        mine = spoilt.filter((pl.col("bit") == bit.name) & pl.col("shows"))
        there = days.join(mine, on=[*KEY, "day"])
        hits = there.filter(pl.col("dq") & int(bit) != 0).height
        if bit.name in spoilt["bit"]:
            yield share(f"data quality: {bit.name} on days spoilt so", least, hits, there.height)
    yield from _on_sound(days.join(spoilt.select(KEY), on=KEY, how="anti"))


def _days(done: Replayed) -> pl.DataFrame:
    off = done.truth["module"].select(*KEY, "day", "soc_off", "temp_range_c")
    return done.tables["module_day"].filter(pl.col("n") > 1).join(off, on=[*KEY, "day"], how="left")


def _on_sound(sound: pl.DataFrame) -> Iterator[Row]:
    most = target("data quality: a bit on days of sound modules")
    for bit in (one for one in Quality if one is not NOT_A_FAULT):
        true = pl.col("soc_off") >= DRIFTED[0] if bit is Quality.SOC_DRIFT else pl.lit(value=False)
        clean = sound.filter(~true)
        false = clean.filter(pl.col("dq") & int(bit) != 0).height
        yield share(f"data quality: {bit.name} on days of sound modules", most, false, clean.height)


def _lost(done: Replayed) -> pl.DataFrame:
    """(site, unit, day, lost_ms, longest_ms) without readings."""
    long = pl.col("to_ts") - pl.col("from_ts")
    return done.truth["gap"].group_by(*KEY, day="date").agg(lost_ms=long.sum(), longest_ms=long.max())


def visible(kind: str) -> pl.Expr:
    """Whether a flaw can be seen in a module's day at all.

    Gaps count where a day lost more than 5 % of its readings, or 30 minutes in a piece, by the simulator's own gap
    rows: some of the pieces that it plants fall upon one another or over midnight.
    A stuck sensor shows only while the module's temperature moves, in whole degrees, by more than the 3 K of the rule;
    a clock that is off by less than two minutes is no flaw for a day's
    sums; a state of charge has drifted where it is 15 % from the truth: between 10 and 15 % it is
    neither asked for nor held against the rule, on sound modules neither, whose BMS may be off in a winter without
    one full charge.
    """
    if kind == "gaps":
        return (pl.col("lost_ms") > LOST_MS[0]) | (pl.col("longest_ms") > LOST_MS[1])
    if kind == "sensor_stuck":
        return pl.col("temp_range_c") > MOVES_C
    if kind == "clock_skew":
        return pl.col("size").abs() > 120
    if kind == "soc_drift":
        return pl.col("soc_off") >= DRIFTED[1]
    return pl.lit(value=True)
