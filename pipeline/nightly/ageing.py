"""From a module's past, one row a day, and its siblings' newest rows: trend, remaining life, warranty, efficiency."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from cellherd.warranty import Warranty, warranty
from pipeline.analyses.fading import fading
from pipeline.analyses.life import END, lives
from pipeline.analyses.loops import efficiency, loops
from pipeline.analyses.promises import margin, remaining
from pipeline.analyses.siblings import leaning, named
from pipeline.analyses.soh import monthly, trusted
from pipeline.analyses.step_sums import exact_mean, exact_sum
from pipeline.analyses.trend import trends, weekly
from pipeline.methods.forecast import Course
from pipeline.methods.stress import calendar, cyclic
from pipeline.nightly.estimates import ALL, CLOSED, UNIT, joined, with_today

if TYPE_CHECKING:
    from pipeline.nightly.store import Store, Tables

AGEING = ("soh", "resistance", "loop", "trend")
NEWEST = timedelta(days=14)
"""How far back a sibling's row of trend is looked for."""


def ageing(store: Store, day: date, tables: Tables, roster: pl.DataFrame) -> tuple[Tables, list[pl.DataFrame]]:
    """The day's rows of loop and trend without their place, and findings of trend, life, warranty and efficiency.

    Siblings are read as they stood the day before, at all sites: no night waits for another, and a night done again
    comes out the same.
    """
    sites, modules = tuple(roster["site"].unique()), tables["module_day"].lazy()
    back = (day, sites, CLOSED)
    closed = loops(
        with_today(store, "anchor", tables, back), with_today(store, "module_day", tables, back), day
    ).collect()
    seen = trusted(joined(store, "soh", tables["soh"], (day, sites, ALL))).collect().lazy()
    weeks = weekly(seen, day).collect()
    rows = _standing(store, day, tables, roster, trends(weeks)).join(
        monthly(seen, day).select(*UNIT, "soh", soh_sigma="sigma").collect(), on=UNIT, how="left"
    )
    leant = leaning(rows, _newest(store, day))
    told = lives(leant, _courses(weeks, leant), _ended(store, day))
    outlook = leant.join(told, on=UNIT, how="left").lazy()
    everyone = modules.select(UNIT).join(outlook, on=UNIT, how="left").sort(UNIT)
    loop_rows = joined(store, "loop", closed, back)
    verdicts = [fading(leant.lazy(), modules), remaining(everyone), margin(everyone), efficiency(loop_rows, modules)]
    return {"loop": closed, "trend": leant}, pl.collect_all(verdicts)


def _standing(store: Store, day: date, tables: Tables, roster: pl.DataFrame, found: pl.DataFrame) -> pl.DataFrame:
    """`found` with what each module is, how old, how it is used and promised, and the stresses it has borne."""
    days = with_today(store, "module_day", tables, (day, tuple(roster["site"].unique()), ALL))
    used = days.group_by(UNIT).agg(
        first=pl.col("day").min(),
        n=pl.len(),
        temp_dc=exact_mean(pl.col("temp_dc_mean")),
        soc=exact_mean(pl.col("soc_pm_mean")) / 1000,
        depth=exact_mean(pl.col("soc_pm_max") - pl.col("soc_pm_min")) / 1000,
        moved=exact_sum(pl.col("charge_mah") + pl.col("discharge_mah")) / 2,
        mwh=exact_sum(pl.col("discharge_wh")) / 1e6,
        nominal=pl.col("nominal_mah").sort_by("day").last(),
    )
    registry = roster.select(*UNIT, "installed", pl.coalesce("model", "chemistry").alias("model"), *_terms(roster))
    known = found.lazy().join(used, on=UNIT).join(registry.lazy(), on=UNIT)
    aged = known.with_columns(
        age_days=(pl.lit(day) - pl.coalesce("installed", "first")).dt.total_days().cast(pl.Float64).clip(1.0),
        use_years=(pl.lit(day) - pl.col("first")).dt.total_days().clip(1) / 365,
        cycles=pl.col("moved") / pl.col("nominal"),
    )
    rows = named(aged.with_columns(
        used_cycles=pl.col("cycles") * pl.col("age_days") / 365 / pl.col("use_years"),
        used_mwh=pl.col("mwh") * pl.col("age_days") / 365 / pl.col("use_years"),
    )).sort(UNIT).collect()  # fmt: skip
    return rows.with_columns(**_stresses(rows))


def _terms(roster: pl.DataFrame) -> list[pl.Series]:
    promised = [warranty(text or "") or Warranty(float("nan")) for text in roster["warranty"]]
    columns = {"percent": "percent", "term_years": "years", "warranty_cycles": "cycles", "warranty_mwh": "mwh"}
    told = [pl.Series(name, [getattr(p, of) for p in promised], dtype=pl.Float64) for name, of in columns.items()]
    return [series.fill_nan(None) for series in told]


def _stresses(rows: pl.DataFrame) -> dict[str, pl.Series]:
    temp, soc, depth = (rows[n].fill_null(d).to_numpy() for n, d in (("temp_dc", 200), ("soc", 0.5), ("depth", 0.8)))
    age, cycles = rows["age_days"].to_numpy(), rows["used_cycles"].fill_null(0).to_numpy()
    hours = np.maximum(age * 24, 1)
    rate = 2 * cycles / hours
    return {
        "calendar": pl.Series(calendar(temp / 10, soc, age), dtype=pl.Float64),
        "cyclic": pl.Series(cyclic(temp / 10, depth, rate, cycles), dtype=pl.Float64),
    }


def _newest(store: Store, day: date) -> pl.DataFrame:
    recent = store.scan("trend").filter(pl.col("day").is_between(day - NEWEST, day, closed="none"))
    return recent.sort(*UNIT, "day").group_by(UNIT, maintain_order=True).last().collect()


def _courses(weeks: pl.DataFrame, rows: pl.DataFrame) -> dict[tuple[str, str], Course]:
    """Age (years) and loss of each module, from the oldest week on."""
    ages = rows.select(*UNIT, "age_days")
    aged = (
        weeks.join(ages, on=UNIT).with_columns(age=(pl.col("age_days") + pl.col("at")) / 365).filter(pl.col("age") > 0)
    )
    each = aged.group_by(UNIT, maintain_order=True)
    return {(str(s), str(u)): Course(g["age"].to_numpy(), 1 - g["soh"].to_numpy()) for (s, u), g in each}


def _ended(store: Store, day: date) -> list[Course]:
    """The courses of all modules that have come to 80 %, up to there."""
    last = store.scan("trend").filter((pl.col("day") < day) & (pl.col("soh") <= END)).sort(*UNIT, "day")
    ended = (
        last.group_by(UNIT, maintain_order=True).agg(pl.col("day", "age_days").first().name.prefix("end_")).collect()
    )
    if not ended.height:
        return []
    past = store.scan("soh").join(ended.lazy(), on=UNIT).filter(pl.col("day") <= pl.col("end_day")).collect()
    back = (past["end_day"] - past["day"]).dt.total_days()
    aged = past.with_columns(age=(pl.col("end_age_days") - back) / 365, loss=1 - pl.col("soh")).filter(
        pl.col("age") > 0
    )
    each = aged.sort(*UNIT, "age").group_by(UNIT, maintain_order=True)
    return [Course(g["age"].to_numpy(), g["loss"].to_numpy()) for _, g in each]
