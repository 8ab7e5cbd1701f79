"""Does each data-quality bit come when its flaw is there, and only then?"""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from pipeline.quality import Quality
from pipeline.validation.replay import Replayed
from pipeline.validation.rows import Figure, share

KEY = ["site", "unit"]
SHOWS: dict[str, Quality] = {
    "gaps": Quality.GAP,
    "sensor_stuck": Quality.STUCK_T,
    "clock_skew": Quality.CLOCK,
    "soc_drift": Quality.SOC_DRIFT | Quality.STUCK_SOC | Quality.I_OFFSET,
}
"""The bits by which a flaw of the simulator may show; any of them will do."""
SETTLED = {"soc_drift": 2}
"""Days that a flaw needs before it can be seen."""


def validate(done: Replayed) -> Iterator[Figure]:
    """Recall of each flaw's bits over its module-days, and their rate on all days of modules without a flaw.

    SOC_JUMP has no rate of false ones: it says what two readings say, and sound modules do jump when they are full.
    """
    days = done.tables["module_day"].select(*KEY, "day", "dq")
    flaws = done.truth["flaw"]
    sound = days.join(flaws.select(KEY), on=KEY, how="anti")
    for kind, bits in SHOWS.items():
        since = pl.col("onset").dt.offset_by(f"{SETTLED.get(kind, 0)}d")
        mine = flaws.filter(pl.col("kind") == kind).select(*KEY, since=since)
        concerned = days.join(mine, on=KEY).filter(pl.col("day") >= pl.col("since"))
        hits = concerned.filter(pl.col("dq") & int(bits) != 0).height
        yield share(f"data quality: {kind}, recall", 0.95, hits, concerned.height)
    for bit in (one for one in Quality if one is not Quality.SOC_JUMP):
        false = sound.filter(pl.col("dq") & int(bit) != 0).height
        yield share(f"data quality: {bit.name}, false", 0.01, false, sound.height, at_most=True)
