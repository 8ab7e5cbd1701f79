"""What sets each module apart from those beside it in its stack, over a month? A row a module, silent ones too."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl

from pipeline.analyses.ledger import UNIT
from pipeline.analyses.step_sums import exact_sum
from pipeline.limits import Stack

STACK = ["site", "stack"]
SUMS = ("sxy", "sxx", "dxy", "dxx", "moved_mah", "rest_ma")
COUNTS = ("steps", "rests", "tops", "led_top", "bottoms", "led_bottom", "whole")


STRETCHES = 3
"""From full to empty, before a cell's capacity counts."""


def stack_month(
    days: pl.LazyFrame, capacity: pl.LazyFrame, known: pl.LazyFrame, day: date, limits: Stack
) -> pl.LazyFrame:
    """From stack_day (the window's), capacity (the window's) and known (site, unit, nominal_mah, model, firmware, ease:
    by how much its cells alone let current through, 1/mOhm of the mean cell; null where it is not known).

    eased: its share of the stack's current steps by what its cells' own resistance makes its due (where that is not
    known of all, by its share of nominal), by that of the best of the larger models;
    carried: its share of the charge moved by its share of nominal; held: its capacity by nominal, by the best one's;
    smaller: the largest nominal of the stack by its own; odd_model, other_firmware; apart (median of the days'
    largest), apart_days; led: of the ends of charge or discharge that came early, whichever is more, and ends;
    circulating: its mean current at rest by nominal; silent_ms; behind_pm: its last SOC beside what the others' is now;
    back_pm; lost_mah: what all hold beyond what they would if each were as weak as the weakest.
    """
    last = days.sort("day").group_by(UNIT).agg(
        pl.col("stack", "module", "edge", "kind", "day", "members", "last_ts", "last_soc_pm").last()
    )  # fmt: skip
    today = pl.col("day") == day
    heaps = days.filter(today).group_by(STACK).agg(
        heap_ts=pl.col("heap_ts").max(), heap_pm=pl.col("last_soc_pm").median(), now=pl.col("members").first()
    )  # fmt: skip
    places = days.filter(today).select(*STACK, "module", taken=pl.col("unit")).unique([*STACK, "module"])
    there = last.join(heaps, on=STACK).join(places, on=[*STACK, "module"], how="left")
    mine = there.filter(pl.col("taken").is_null() | (pl.col("taken") == pl.col("unit")))
    same = days.join(heaps.select(*STACK, "now"), on=STACK).filter(pl.col("members") == pl.col("now"))
    back = _back(days, day)
    sums = same.group_by(UNIT).agg(
        *(exact_sum(pl.col(name)).alias(name) for name in SUMS),
        pl.col(COUNTS).sum(),
        pl.col("apart").median(),
        apart_days=pl.col("apart").count(),
    )
    by_cell = capacity.group_by(*UNIT, "cell").agg(pl.col("mah").median(), n=pl.len())
    held = by_cell.filter(pl.col("n") >= STRETCHES).group_by(UNIT).agg(pl.col("mah").median())
    for more in (back, sums, held, known):
        mine = mine.join(more, on=UNIT, how="left")
    told = mine.with_columns(silent_ms=pl.col("heap_ts") - pl.col("last_ts"))
    return told.with_columns(**_ratios(limits)).sort(UNIT)


def _back(days: pl.LazyFrame, day: date) -> pl.LazyFrame:
    """(site, unit, back_pm) of today: after a silence today, or after a day on which the others spoke."""
    before = days.filter(pl.col("day") == day - timedelta(days=1))
    others = before.select(STACK).unique().with_columns(spoke=True)
    own = before.select(UNIT).unique().with_columns(there=True)
    rows = days.filter(pl.col("day") == day).join(others, on=STACK, how="left").join(own, on=UNIT, how="left")
    away = pl.col("spoke").fill_null(value=False) & pl.col("there").is_null()
    return rows.select(*UNIT, back_pm=pl.coalesce(pl.when(away).then("first_pm"), "back_pm"))


def _ratios(limits: Stack) -> dict[str, pl.Expr]:
    speaks = pl.col("silent_ms") < limits.missing_ms
    due = pl.col("nominal_mah") / exact_sum(pl.col("nominal_mah").filter(speaks)).over(STACK)
    enough = pl.col("steps") >= limits.steps
    usual = pl.col("model").drop_nulls().mode(maintain_order=True).first().over(STACK)
    same_size = pl.col("nominal_mah").max().over(STACK) <= limits.other_model * pl.col("nominal_mah").min().over(STACK)
    whole_size = pl.col("nominal_mah") * limits.other_model >= pl.col("nominal_mah").max().over(STACK)
    lets = pl.col("ease").filter(speaks)
    own = pl.when(lets.null_count().over(STACK) == 0).then(pl.col("ease") / lets.sum().over(STACK)).otherwise(due)
    eased = pl.when(enough).then(pl.col("dxy") / pl.col("dxx") / own)
    held = pl.col("mah") / pl.col("nominal_mah")
    led = [
        pl.when(pl.col(f"{e}s") >= limits.ends).then(pl.col(f"led_{e}") / pl.col(f"{e}s")) for e in ("top", "bottom")
    ]
    resting = pl.when(pl.col("rests") >= limits.rests).then(pl.col("rest_ma") / pl.col("rests") / pl.col("nominal_mah"))
    strength = pl.col("mah").filter(speaks)
    return {
        "eased": eased / eased.filter(whole_size).max().over(STACK),
        "carried": pl.when(enough).then(pl.col("moved_mah") / exact_sum(pl.col("moved_mah")).over(STACK) / due),
        "held": held / held.filter(whole_size).max().over(STACK),
        "smaller": pl.col("nominal_mah").max().over(STACK) / pl.col("nominal_mah"),
        "odd_model": same_size & (pl.col("model") != usual),
        "other_firmware": pl.col("firmware").n_unique().over(STACK) > 1,
        "led": pl.max_horizontal(led),
        "ends": pl.max_horizontal("tops", "bottoms"),
        "circulating": resting,
        "behind_pm": pl.col("last_soc_pm") - pl.col("heap_pm"),
        "lost_mah": (exact_sum(strength).over(STACK) - strength.min().over(STACK) * strength.count().over(STACK)).round(
            3
        ),
    }
