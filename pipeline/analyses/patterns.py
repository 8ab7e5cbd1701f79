"""Which pattern does a cell's month show? A table of rules in their order: the first that holds is the cell's.

After a published troubleshooting table (one cell low, apart at the top or at the bottom, jumping, evenly spaced), with
the sign pair of charge and capacity: lacking charge at full and at empty is charge, at empty only is capacity, under
load only is resistance.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from pipeline.analyses.ledger import UNIT
from pipeline.limits import Mismatch

Test = Callable[[Mismatch], pl.Expr]
ASSUMED = 0.5
"""Share by which a leak may be off where a balancer's current had to be assumed."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """What a finding is called, the fault that it means, the catalogue entries that say what to do, the column that is
    its value (with unit and factor) and its limit in Mismatch, the column that counts what it rests on, and its rule.
    """

    name: str
    fault: str
    actions: tuple[str, ...]
    value: str
    limit: str
    unit: str = "%"
    factor: float = 100.0
    counts: str = "bottoms"
    test: Test | None = None


def _erratic(m: Mismatch) -> pl.Expr:
    shared = pl.col("beside_rate") > m.neighbour * pl.col("jump_rate")
    alone = pl.col("at_end") & (pl.col("rest_deficit").fill_null(0.0) < m.deficit)
    steady = pl.col("ratio").fill_null(1.0) < m.resists
    quiet = m.noise_times * pl.col("jump_rate").quantile(0.25, "lower").over(UNIT)  # where all jump it is no wire
    return (pl.col("jump_rate") > pl.max_horizontal(pl.lit(m.jump_rate), quiet)) & steady & (shared | alone)


def _weak(m: Mismatch) -> pl.Expr:
    return (pl.col("ratio") > m.resists) & (pl.col("steps") >= m.steps)


def _settled(m: Mismatch) -> pl.Expr:
    return pl.col("days") >= m.settled


def _small(m: Mismatch) -> pl.Expr:
    steady = pl.col("drift").fill_null(0.0).abs() < m.drift_ma
    fills = pl.coalesce(pl.col("unfilled_excess") < m.unfilled, steady & _fills_first(m))
    emptied = (pl.col("rest_deficit") > m.deficit) & (pl.col("first_empty") > m.first_empty) & fills & _settled(m)
    paired = pl.col("pairs") >= m.paired * pl.col("bottoms")
    deep = pl.when((pl.col("alone_empty") < m.alone_seldom) & paired).then(pl.col("deficit") > m.deficit)
    return pl.coalesce(deep, emptied).fill_null(value=False) | _stops_all(m)


def _fills_first(m: Mismatch) -> pl.Expr:
    """Near full it leads the others, as a cell does that holds less; asked where the module is never full."""
    return (pl.col("ahead") > m.ahead) & (pl.col("ahead") > pl.col("behind"))


def _stops_all(m: Mismatch) -> pl.Expr:
    """It ends every emptying before the others come down from the plateau, and was as full as they."""
    full = (pl.col("late_lag").abs() < m.top_lag) & (pl.col("unfilled_excess") < m.unfilled)
    return (full & (pl.col("alone_empty") > m.alone)).fill_null(value=False)


def _lagging(m: Mismatch) -> pl.Expr:
    """It misses the end of charge, and did so lately; at the other end it is among the first, or its drift shows."""
    missed = (pl.col("unfilled_excess") > m.unfilled) & (pl.col("late_unfilled") > m.unfilled)
    lacks = pl.max_horizontal("rest_deficit", "lead", "late_lag").fill_null(0.0) > m.lag
    grows = (pl.col("drift").fill_null(0.0) > m.drift_ma) | _surely_leaks(m)
    at_once = (pl.col("first_empty").fill_null(0.0) > m.lagging_empty) & (lacks | grows)
    idle = (pl.col("drift_from") == "rest") & (pl.col("bottoms").fill_null(0) < m.events)
    quietly = grows & idle & (pl.col("rest_deficit") > m.lag)
    never_full = pl.col("unfilled_excess").is_null() & (grows | ~_fills_first(m))
    held_back = missed & (pl.col("behind") > m.behind) & (pl.col("leak") > m.drift_ma)
    below = _settled(m) & never_full & (pl.col("rest_deficit") > m.lag) & (pl.col("first_empty") > m.lagging_empty)
    late = (pl.col("late_lag") > m.lag) & (grows | (pl.col("lag") > m.lag))
    told = [missed & at_once & (pl.col("days") >= m.week), held_back, quietly, below, late]
    return pl.any_horizontal(one.fill_null(value=False) for one in told)


def _surely_leaks(m: Mismatch) -> pl.Expr:
    """A leak also if the balancer moves as much less than assumed as it may, and loses more on the way."""
    doubt = ASSUMED * pl.col("bleed_ma").fill_null(0.0).abs() + m.yield_error * pl.col("given_ma").fill_null(0.0)
    return (pl.col("leak") - doubt > m.leak_ma).fill_null(value=False)


def _topped_up(m: Mismatch) -> pl.Expr:
    """A balancer that moves charge covers the leak: nothing lags, but this one cell is filled again and again.

    One that is ahead at full all the same is fed by mistake: under load it only looks low.
    """
    steady = (
        (pl.col("drift").fill_null(0.0) > -m.drift_ma) & (pl.col("days") >= m.settled) & (pl.col("tops") >= m.events)
    )
    kept = pl.col("lag").fill_null(0.0) > -m.top_lag
    return pl.col("shuttles") & (pl.col("bleed_ma") > m.topped_up_ma) & steady & kept


def _leaking(m: Mismatch) -> pl.Expr:
    losing = _lagging(m) & _surely_leaks(m)
    return losing.fill_null(value=False) | _topped_up(m).fill_null(value=False)


def _short(m: Mismatch) -> pl.Expr:
    fast = pl.col("leak") * 24 > m.short_a_day * pl.col("nominal_mah")
    return _leaking(m) & fast & (pl.col("warmer_k") > m.short_k)


def _drifted(m: Mismatch) -> pl.Expr:
    steady = pl.col("drift").fill_null(0.0).abs() < m.drift_ma
    lasting = pl.min_horizontal(pl.col("lag", "late_lag").abs()) > pl.max_horizontal(pl.lit(m.top_far), "moved")
    both_ends = pl.coalesce("deficit", pl.col("lead") - pl.col("lag")).fill_null(0.0).abs() < m.even_deficit / 2
    return lasting & _settled(m) & pl.col("late_lag").is_not_null() & steady & both_ends


CELLS = (
    Pattern("erratic_reading", "cell_reading_erratic", ("cell_reading_erratic", "sense_wire_fault"),
            "jump_rate", "jump_rate", counts="jumps", test=_erratic),
    Pattern("weak_under_load", "cell_group_failing", ("cell_group_failing",),
            "ratio", "resists", counts="steps", test=_weak),
    Pattern("capacity_deficit", "cell_capacity_mismatch", ("cell_capacity_mismatch",), "small", "deficit", test=_small),
    Pattern("possible_internal_short", "possible_internal_short", ("possible_internal_short",),
            "leak", "leak_ma", unit="mA", factor=1.0, counts="tops", test=_short),
    Pattern("leaking_cell", "cell_group_failing", ("cell_group_failing",),
            "leak", "leak_ma", unit="mA", factor=1.0, counts="tops", test=_leaking),
    Pattern("lagging_cell", "cell_imbalance_warning", ("cell_imbalance_warning", "balancing_slow"),
            "lacking", "lag", counts="tops", test=_lagging),
    Pattern("top_drift", "top_of_charge_drift", ("top_of_charge_drift",),
            "lag", "top_far", counts="lags", test=_drifted),
)  # fmt: skip
"""Of a cell: the first that holds. A short is a leak that is fast and warm, so it is asked before."""
MODULES = (
    Pattern("balancer_inactive", "balancing_inactive", ("balancing_inactive",),
            "top_mv", "balance_mv", unit="mV", factor=1.0, counts="tops"),
    Pattern("early_cut_off", "early_charge_cutoff", ("early_charge_cutoff",), "early", "cut_off", counts="ends"),
)  # fmt: skip
"""Of a module as a whole, from `charge_ends`."""


def patterns(month: pl.LazyFrame, limits: Mismatch) -> pl.LazyFrame:
    """The rows of `cell_month` (with `warmer_k` of their module) with `pattern`, null where none holds, and the numbers
    that it tells: small, lacking, leak.
    """
    tests = {rule.name: rule.test(limits).fill_null(value=False) for rule in CELLS if rule.test}
    first = pl.coalesce(pl.when(test).then(pl.lit(name)) for name, test in tests.items())
    return month.with_columns(leak=_leak()).with_columns(**_told(limits)).with_columns(pattern=first)


def _leak() -> pl.Expr:
    """mA. A balancer that moves charge holds the cell in place, so what it moves is the leak, drift or none."""
    return pl.coalesce("loses", pl.when("shuttles").then(pl.col("bleed_ma").fill_null(0.0)))


def _told(limits: Mismatch) -> dict[str, pl.Expr]:
    unseen = pl.when(pl.col("rest_deficit") > limits.deficit).then("rest_deficit")
    alone = pl.when(_stops_all(limits)).then(limits.deficit)
    return {
        "small": pl.max_horizontal(pl.when(pl.col("deficit") > limits.deficit).then("deficit"), unseen, alone),
        "lacking": pl.max_horizontal("rest_deficit", "late_lag", "lead"),
    }
