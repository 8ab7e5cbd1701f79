"""What sets each cell apart from its neighbours over a month? All that the patterns are judged by, a row a cell."""

from __future__ import annotations

from datetime import date

import polars as pl

from pipeline.analyses.fillings import CELL
from pipeline.analyses.gaps_of_charge import drift_of
from pipeline.analyses.ledger import UNIT
from pipeline.analyses.pulses import resistances
from pipeline.limits import DAY, Limits, Mismatch

REST = [*UNIT, "ts"]


def cell_month(
    gaps: pl.LazyFrame, cell_day: pl.LazyFrame, anchors: pl.LazyFrame, day: date, limits: Limits
) -> pl.LazyFrame:
    """A row a cell of cell_day (the window's): the columns of `gaps_of_charge` and these.

    ratio, steps (resistance over the month), jump_rate, beside and beside_rate (the neighbour that jumps more), at_end.
    rest_deficit: by how much its charge lies below the median cell's in low rests (share; where the others rest on the
    plateau it is at least so much), over `rests`. bleed_ma: what balancing took from the average other cell more than
    from this one, or gave to this one, at the current of `_bleed`. shuttles: the balancer moves charge into cells.
    behind, ahead: share of the readings near full in which it is the farthest, below or above. drift: charge lost
    beside the others, mA, as seen at full where the cell still is full, else between full and empty, else in rests
    (`drift_from`).
    """
    most = limits.mismatch
    near_full = (pl.col("top_first") + pl.col("top_last")).sum().over(UNIT)
    sums = cell_day.group_by(CELL).agg(
        pl.col("jumps", "quiet", "balancing_s", "filled_s", "top_first", "top_last").sum(),
        said=pl.col("balancing_s").count(),
        days=pl.col("day").n_unique(),
    )
    resists = resistances(cell_day, day).select(*CELL, ratio="ratio_30", steps="steps_30", ohm="r_30")
    rows = sums.sort(CELL).join(resists, on=CELL, how="left").join(gaps, on=CELL, how="left")
    counts = cell_day.group_by(UNIT).agg(coarse=_coarse(limits))
    rests = _rests(anchors.filter(pl.col("state") == "rest").join(counts, on=UNIT, how="left"), limits)
    return (
        rows.join(rests, on=CELL, how="left")
        .sort(CELL)
        .with_columns(
            jump_rate=pl.when(pl.col("quiet") >= most.quiet).then(pl.col("jumps") / pl.col("quiet")),
            at_end=(pl.col("cell") == pl.col("cell").min().over(UNIT))
            | (pl.col("cell") == pl.col("cell").max().over(UNIT)),
            drift_rest=pl.col("drift_rest") * pl.col("nominal_mah"),
            shuttles=pl.col("filled_s").sum().over(UNIT) > most.shuttled * pl.col("balancing_s").sum().over(UNIT),
            behind=pl.col("top_last") / near_full,
            ahead=pl.col("top_first") / near_full,
        )
        .with_columns(**_beside(), bleed_ma=_bleed(most))
        .with_columns(
            drift=pl.coalesce(_full(most), "drift_empty", "drift_rest"),
            drift_from=pl.when(_full(most).is_not_null()).then(pl.lit("full"))
            .when(pl.col("drift_empty").is_not_null()).then(pl.lit("empty"))
            .when(pl.col("drift_rest").is_not_null()).then(pl.lit("rest")),
        )
    )  # fmt: skip


def _coarse(limits: Limits) -> pl.Expr:
    """Whether all that a unit's cells showed in the window are whole steps of a device that counts in such."""
    shown = (pl.col(name) % limits.coarse_mv == 0 for name in ("min_mv", "max_mv"))
    return pl.all_horizontal(shown).all()


def _full(limits: Mismatch) -> pl.Expr:
    """The drift seen at full, unless the cell misses it by now: what is left is then from before it began to."""
    return pl.when(pl.col("late_unfilled").fill_null(0.0) <= limits.unfilled).then("drift_full")


def _rests(rests: pl.LazyFrame, limits: Limits) -> pl.LazyFrame:
    """By cell over low rests: rest_deficit, rests, and its growth (share an hour; mA once it is times nominal).

    Of a unit that counts in coarse steps, what is less than a few of them off the median cell is not apart: near 20 %
    a step of 10 mV would be 2 % of the charge.
    """
    middle = pl.col("soc").median().over(REST)
    off = (pl.col("mv") - pl.col("mv").median().over(REST)).abs()
    noise = pl.col("coarse").fill_null(value=False) & (off < limits.coarse_floor_mv)
    lacking = pl.when(noise).then(0.0).otherwise(middle - pl.col("soc"))
    apart = rests.with_columns(apart=lacking).filter(middle <= limits.mismatch.rest_soc)
    told = apart.group_by(CELL).agg(rest_deficit=pl.col("apart").median(), rests=pl.len())
    enough = pl.col("rests") >= limits.mismatch.rests
    grown = drift_of(apart, "apart", limits.mismatch).rename({"slope": "drift_rest"})
    return told.with_columns(rest_deficit=pl.when(enough).then("rest_deficit")).join(grown, on=CELL, how="left")


def _bleed(limits: Mismatch) -> pl.Expr:
    """Charge in and out of a cell over a month adds up to what it lost: so the balancer's work tells a leak."""
    taken = pl.col("balancing_s") - 2 * pl.col("filled_s")
    others = (taken.sum().over(UNIT) - taken) / (pl.len().over(UNIT) - 1).clip(1)
    current = pl.when("shuttles").then(limits.shuttle_ma).otherwise(limits.balance_ma)
    return (others - taken) * 1000 / (pl.col("days") * DAY) * current


def _beside() -> dict[str, pl.Expr]:
    """The neighbour with the higher rate of jumps. Cells lie in the module's order."""
    before, after = (pl.col("jump_rate").shift(n).over(UNIT).fill_null(-1.0) for n in (1, -1))
    which = pl.when(after >= before).then(pl.col("cell").shift(-1).over(UNIT))
    return {
        "beside_rate": pl.max_horizontal(before, after).clip(lower_bound=0),
        "beside": which.otherwise(pl.col("cell").shift(1).over(UNIT)),
    }
