"""Stacks in the night's work: the day's sums out of readings, and the month's verdicts out of the small tables."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING

import polars as pl

from pipeline.analyses.second_meter import gains
from pipeline.analyses.stack import stack
from pipeline.analyses.stack_month import stack_month
from pipeline.analyses.stack_sums import stack_sums
from pipeline.analyses.step_sums import polarisation
from pipeline.chemistry import Chemistry, chemistry_of
from pipeline.limits import Limits, Stack
from pipeline.quality import Quality
from pipeline.schema import STACK_DAY

if TYPE_CHECKING:
    from pipeline.nightly.store import Store

UNIT = ["site", "unit"]
STEPS = ("sxy", "sxx", "dxy", "dxx", "steps", "rests", "rest_ma")
"""Of stack_day: what compares modules within minutes."""
CHEMISTRY = chemistry_of("lfp")
"""Only what is measured counts here, and that is the same for all."""


def shared_today(
    rows: pl.LazyFrame, roster: pl.DataFrame, module_day: pl.DataFrame, kind: tuple[Limits, Chemistry]
) -> pl.LazyFrame:
    """stack_day without its place, by the roster's numbers; `module_day` with nominal_mah, by the same."""
    limits, chemistry = kind
    stacks = roster.with_columns(heap=pl.struct("site", "stack").rank("dense"), n=pl.len().over("site", "stack"))
    sizes = module_day.lazy().select("unit", nominal=pl.col("nominal_mah").fill_null(float(limits.full_mah)))
    mates = stacks.filter(pl.col("n") > 1).lazy().select("heap", unit="no").join(sizes, on="unit")
    return stack_sums(rows, mates, limits, chemistry)


def metered_today(rows: pl.LazyFrame, roster: pl.DataFrame, meters: pl.LazyFrame, limits: Limits) -> pl.LazyFrame:
    """I_GAIN by the roster's numbers, of the stacks that a shunt meters as a whole; `meters` as Part has them.

    A shunt meters the stack that it is read with, or else the only one of its site. Where a module that the registry
    knows was silent all day, or where there are two shunts, nothing can be held together.
    """
    place = ["site", "stack"]
    stacks = roster.lazy().group_by(place).agg(pl.len().alias("members"), pl.col("stack_known").max())
    numbered = stacks.sort(place).with_row_index("heap").with_columns(alone=pl.len().over("site") == 1)
    known = numbered.filter(pl.col("members") >= pl.col("stack_known").fill_null(0)).drop("stack_known")
    only = known.filter("alone").select("site", only="heap")
    beside = meters.join(known.select(*place, "heap"), on=place, how="left").join(only, on="site", how="left")
    none_beside = pl.col("heap").is_null().all().over("site")
    placed = beside.with_columns(heap=pl.when(none_beside).then("only").otherwise("heap")).drop_nulls("heap")
    single = placed.filter(pl.col("unit").n_unique().over("heap") == 1)
    sizes = pl.coalesce("rated_mah", pl.lit(float(limits.full_mah)))
    mates = roster.lazy().join(known, on=place).select("heap", "members", unit="no", nominal=sizes)
    return gains(rows, mates, single.select("heap", "bin", "meter"), limits.stack)


def out_of_line(store: Store, day: date, sites: tuple[str, ...], about: pl.LazyFrame, limits: Stack) -> pl.LazyFrame:
    """Findings on modules in stacks; `about` has (site, unit, model, firmware)."""
    month = pl.col("day").is_between(day - timedelta(days=limits.days), day, closed="right") & pl.col("site").is_in(
        sites
    )
    skewed = store.scan("module_day").filter(month & (pl.col("dq") & int(Quality.CLOCK) != 0))
    days = _in_step(store.scan("stack_day").filter(month), skewed).sort(*UNIT, "day").collect().lazy()
    held = store.scan("capacity").filter(month & (pl.col("method") != "anchors"))
    sized = store.scan("module_day").filter(month).sort("day").group_by(UNIT).agg(pl.col("nominal_mah").last())
    named = sized.join(about.select(*UNIT, "model", "firmware").unique(UNIT), on=UNIT, how="left")
    known = named.join(_eases(store.scan("step_sum").filter(month), sized), on=UNIT, how="left")
    return stack(stack_month(days, held, known, day, limits).collect().lazy(), limits)


def _in_step(days: pl.LazyFrame, skewed: pl.LazyFrame) -> pl.LazyFrame:
    """Rows of stack_day; on a day on which a clock of the stack was wrong no steps, for they were not held together."""
    wrong = skewed.select("site", "stack", "day", wrong=True).unique()
    known = days.join(wrong, on=["site", "stack", "day"], how="left").with_columns(
        pl.col("wrong").fill_null(value=False)
    )
    none = (pl.when(~pl.col("wrong")).then(name).otherwise(0).cast(STACK_DAY[name]).alias(name) for name in STEPS)
    return known.with_columns(none).drop("wrong")


def _eases(sums: pl.LazyFrame, sized: pl.LazyFrame) -> pl.LazyFrame:
    """(site, unit, ease): what a module's mean cell lets through after minutes, 1/mOhm, where its steps tell it."""
    found = polarisation(sums.join(sized, on=UNIT), CHEMISTRY, pl.col("nominal_mah"), UNIT).filter("regressed")
    return found.select(*UNIT, ease=1 / (pl.col("fast_mohm") + pl.col("slow_mohm")))
