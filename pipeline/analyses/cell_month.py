"""What sets each cell apart from its neighbours over a month? All that the patterns are judged by, a row a cell."""

from __future__ import annotations

from datetime import date

import polars as pl

from pipeline.analyses.fillings import CELL
from pipeline.analyses.ledger import UNIT
from pipeline.analyses.low_rests import low_rests
from pipeline.analyses.pulses import resistances
from pipeline.limits import Limits, Mismatch


def cell_month(
    gaps: pl.LazyFrame, cell_day: pl.LazyFrame, anchors: pl.LazyFrame, day: date, limits: Limits
) -> pl.LazyFrame:
    """A row a cell of `balanced` (the window's cell_day): the columns of `gaps_of_charge` and these.

    ratio, steps (resistance over the month), jump_rate, beside and beside_rate (the neighbour that jumps more), at_end.
    rest_deficit: by how much its charge lies below the median cell's in low rests (share; where the others rest on the
    plateau it is at least so much), over `rests`. bleed_ma: mean of what balancing took from the average other cell
    more than from this one, or gave to this one; given_ma: what it gave. shuttles: it moves charge into cells; moved:
    share of nominal that it so moves in the module in a day, by which cells come apart and together again. behind,
    ahead: share of the readings near full in which it is the farthest, below or above. drift: charge lost beside the
    others, mA, as seen at full where the cell still is full, else between full and empty, else in rests (`drift_from`).
    loses: the same with what the balancer did undone, event by event: what it moves to and fro is no leak.
    """
    most = limits.mismatch
    near_full = (pl.col("top_first") + pl.col("top_last")).sum().over(UNIT)
    sums = cell_day.group_by(CELL).agg(
        pl.col("jumps", "quiet", "balancing_s", "filled_s", "top_first", "top_last").sum(),
        (pl.col("bleed_mah", "given_mah").sum() / (24 * pl.col("day").n_unique())).name.replace("_mah", "_ma"),
        pl.col("shuttles").first(),
        said=pl.col("balancing_s").count(),
        days=pl.col("day").n_unique(),
    )
    resists = resistances(cell_day, day).select(*CELL, ratio="ratio_30", steps="steps_30", ohm="r_30")
    rows = sums.sort(CELL).join(resists, on=CELL, how="left").join(gaps, on=CELL, how="left")
    rests = low_rests(anchors, cell_day, gaps.select(*UNIT, "nominal_mah").unique(), limits)
    return (
        rows.join(rests, on=CELL, how="left")
        .sort(CELL)
        .with_columns(
            pl.col("drift_rest", "loses_rest") * pl.col("nominal_mah"),
            jump_rate=pl.when(pl.col("quiet") >= most.quiet).then(pl.col("jumps") / pl.col("quiet")),
            at_end=(pl.col("cell") == pl.col("cell").min().over(UNIT))
            | (pl.col("cell") == pl.col("cell").max().over(UNIT)),
            moved=24 * _shuttled().sum().over(UNIT) / pl.col("nominal_mah"),
            behind=pl.col("top_last") / near_full,
            ahead=pl.col("top_first") / near_full,
        )
        .with_columns(**_beside())
        .with_columns(
            drift=pl.coalesce(_full("drift_full", most), "drift_empty", "drift_rest"),
            loses=pl.coalesce(_full("loses_full", most), "loses_empty", "loses_rest"),
            drift_from=pl.when(_full("drift_full", most).is_not_null()).then(pl.lit("full"))
            .when(pl.col("drift_empty").is_not_null()).then(pl.lit("empty"))
            .when(pl.col("drift_rest").is_not_null()).then(pl.lit("rest")),
        )
    )  # fmt: skip


def _full(drift: str, limits: Mismatch) -> pl.Expr:
    """The drift seen at full, unless the cell misses it by now: what is left is then from before it began to."""
    return pl.when(pl.col("late_unfilled").fill_null(0.0) <= limits.unfilled).then(drift)


def _shuttled() -> pl.Expr:
    return pl.when("shuttles").then("given_ma").fill_null(0.0)


def _beside() -> dict[str, pl.Expr]:
    """The neighbour with the higher rate of jumps. Cells lie in the module's order."""
    before, after = (pl.col("jump_rate").shift(n).over(UNIT).fill_null(-1.0) for n in (1, -1))
    which = pl.when(after >= before).then(pl.col("cell").shift(-1).over(UNIT))
    return {
        "beside_rate": pl.max_horizontal(before, after).clip(lower_bound=0),
        "beside": which.otherwise(pl.col("cell").shift(1).over(UNIT)),
    }
