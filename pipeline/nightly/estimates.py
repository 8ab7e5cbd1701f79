"""From the days behind and the day's own tables to what each cell holds and resists: the history that a night reads.

Readings are never read again: compensation looks at 30 days of step sums, charge at 60 days of module_day, crossings
and anchors. What reaches further back reads one row a module and day (soh, resistance).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from typing import TYPE_CHECKING

import polars as pl

from pipeline.analyses.anchors import anchors
from pipeline.analyses.capacity import capacity
from pipeline.analyses.crossings import crossings
from pipeline.analyses.health import health
from pipeline.analyses.ledger import ledger, offset, open_loops
from pipeline.analyses.miscounts import beside
from pipeline.analyses.miscounts import of_a_day as miscounted
from pipeline.analyses.pulses import WINDOWS, growth, of_a_day, resistances
from pipeline.analyses.resistance import resistance
from pipeline.analyses.soh import daily, trusted
from pipeline.analyses.step_sums import polarisation
from pipeline.chemistry import Chemistry
from pipeline.limits import Limits
from pipeline.schema import TABLES

if TYPE_CHECKING:
    from pipeline.nightly.store import Store, Tables

UNIT = ["site", "unit"]
COMPENSATED, CLOSED = timedelta(days=30), timedelta(days=60)
"""How far back current steps, and loops of charge, are looked at."""
ALL = timedelta(days=36500)
RATIO = (0.5, 3.0, 100)
"""A cell's own share of the resistance is believed within these, and from so many steps."""

Marks = Callable[[pl.LazyFrame, Limits], "Tables"]


def carried(store: Store, sites: tuple[str, ...], day: date, roster: pl.DataFrame) -> pl.LazyFrame:
    """(unit, lagged_before): the low-passed current at the end of the day before, by the roster's numbers."""
    yesterday = store.scan("step_sum").filter((pl.col("day") == day - timedelta(days=1)) & pl.col("site").is_in(sites))
    known = yesterday.select(*UNIT, lagged_before="lagged_ma").unique(UNIT)
    return (
        roster.lazy().select("site", "unit", "no").join(known, on=UNIT).select(unit="no", lagged_before="lagged_before")
    )


def charge_marks(store: Store, day: date, tables: Tables, roster: pl.DataFrame, chemistry: Chemistry) -> Marks:
    """A function from readings to the tables crossing and anchor, with each module's own resistances."""
    sites = tuple(roster["site"].unique())
    sums = with_today(store, "step_sum", tables, (day, sites, COMPENSATED))
    rated = tables["module_day"].lazy().select(*UNIT, "nominal_mah")
    own = polarisation(sums.join(rated, on=UNIT), chemistry, pl.col("nominal_mah"), UNIT)
    shares = _ratios(with_today(store, "cell_day", tables, (day, sites, COMPENSATED)), day)
    known = roster.lazy().select("site", "unit", "no").join(own, on=UNIT).join(rated, on=UNIT)
    resists = known.join(shares, on=UNIT, how="left").select(
        *("fast_mohm", "slow_mohm", "ratios"), unit="no", nominal=pl.col("nominal_mah").fill_null(100_000)
    )
    told = resists.collect().lazy()

    def marks(rows: pl.LazyFrame, limits: Limits) -> Tables:
        passed, fixed = (of(rows, told, limits, chemistry).collect() for of in (crossings, anchors))
        return {"crossing": passed, "anchor": fixed, "miscount": miscounted(rows, passed, fixed)}

    return marks


def _ratios(cell_day: pl.LazyFrame, day: date) -> pl.LazyFrame:
    least, most, steps = RATIO
    share = pl.when(pl.col("steps_30") >= steps).then(pl.col("ratio_30").clip(least, most)).otherwise(1.0)
    return resistances(cell_day, day).sort("cell").group_by(UNIT, maintain_order=True).agg(ratios=share.fill_null(1.0))


def estimates(
    store: Store, day: date, tables: Tables, sites: tuple[str, ...], chemistry: Chemistry
) -> tuple[Tables, list[pl.DataFrame], pl.DataFrame]:
    """The day's rows of capacity, soh and resistance without their place, the findings on health and resistance, and
    whose current does not close (dq).
    """
    back = (day, sites, CLOSED)
    modules = tables["module_day"].lazy()
    days = with_today(store, "module_day", tables, back)
    counted = with_today(store, "miscount", tables, back)
    passed, fixed = (
        beside(ledger(with_today(store, name, tables, back, whose="module_day"), days), counted)
        for name in ("crossing", "anchor")
    )
    offsets = offset(passed.filter(pl.col("direction") == 1))
    rated = modules.select(*UNIT, "nominal_mah", "period_ms")
    recent = pl.col("day") >= day - timedelta(days=3)  # a stretch of two days, begun by one cell before another
    held = capacity(passed.filter(recent), fixed.filter(recent), offsets, rated, chemistry)
    latest = held.filter(pl.col("day") >= day - timedelta(days=1)).collect()
    told = daily(latest.lazy(), rated.join(_spoke(tables["cell_day"].lazy()), on=UNIT)).filter(pl.col("day") == day)
    today = latest.filter(pl.col("day") == day)
    cells = with_today(store, "cell_day", tables, (day, sites, timedelta(days=max(WINDOWS)))).collect().lazy()
    pulse = of_a_day(tables["cell_day"].lazy(), modules)
    made = {"capacity": today, "soh": told.collect(), "resistance": pulse.collect()}
    known = (day, sites, ALL)
    seen = trusted(joined(store, "soh", made["soh"], known)).collect().lazy()
    grown = growth(joined(store, "resistance", made["resistance"].with_columns(day=pl.lit(day)), known), day)
    resists = resistance(resistances(cells, day), grown, modules)
    return made, pl.collect_all([health(seen, modules, day), resists]), open_loops(offsets).collect()


def _spoke(cell_day: pl.LazyFrame) -> pl.LazyFrame:
    return cell_day.group_by(UNIT).agg(n_cells=pl.col("cell").n_unique().cast(pl.Int64))


def with_today(
    store: Store, table: str, tables: Tables, back: tuple[date, tuple[str, ...], timedelta], *, whose: str = ""
) -> pl.LazyFrame:
    """Rows of the days before, within a reach, and today's, of the units that today has rows of, here or in `whose`."""
    today, known = tables[table], tables[whose or table].select(*UNIT).unique()
    past = _before(store, table, back).join(known.lazy(), on=UNIT, how="semi") if known.height else today.lazy().clear()
    return _in_order(past, today)


def joined(
    store: Store, table: str, today: pl.DataFrame, back: tuple[date, tuple[str, ...], timedelta]
) -> pl.LazyFrame:
    """Rows of the days before, within a reach, of all units, and today's; the columns of `today` that are stored."""
    stored = [name for name in TABLES[table] if name in today.columns]
    return _in_order(_before(store, table, back), today.cast({n: TABLES[table][n] for n in stored}).select(stored))


def _before(store: Store, table: str, back: tuple[date, tuple[str, ...], timedelta]) -> pl.LazyFrame:
    day, sites, reach = back
    return store.scan(table).filter(
        pl.col("day").is_between(day - reach, day, closed="none") & pl.col("site").is_in(sites)
    )


def _in_order(past: pl.LazyFrame, today: pl.DataFrame) -> pl.LazyFrame:
    order = [name for name in (*UNIT, "day", "method", "cell", "ts") if name in today.columns]
    return pl.concat([past.select(today.columns), today.lazy()]).sort(order)  # sums then come out the same every time
