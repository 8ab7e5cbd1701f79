"""Validation of the patterns: what the nights say of simulated cells against what is truly the matter with them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

import polars as pl

from pipeline.validation.bars import frozen
from pipeline.validation.classes import EVEN, Case, macro_f1
from pipeline.validation.degradation import Setting
from pipeline.validation.row import Row, rate, share

Tables: TypeAlias = Mapping[str, pl.DataFrame]
KEY = ["site", "unit"]
PLANTED = {"leak": "leaks", "wire_jumps": "jumps"}
TOLD = {
    "capacity_deficit": "small",
    "weak_under_load": "resists",
    "leaking_cell": "leaks",
    "erratic_reading": "jumps",
    "possible_internal_short": "leaks",
    "lagging_cell": "lags",
    "balancer_inactive": "lags",
    "top_drift": "drifts",
    "early_cut_off": "early",
}
ORDER = ("small", "resists", "leaks", "jumps", "lags", EVEN)
SINGLE = ("small", "resists", "leaks", "jumps", "lags")
BORDER = {"resists": (1.15, 1.3), "small": (0.02, 0.04), "lags": (0.01, 0.03), "drifts": (0.0025, math.inf)}
"""Beyond the second a cell truly is of the class, from the first on it may be called so. In the order of the rules: a
cell is of one class, and what else is true of it may be said or not.
"""
STRONG_LEAK_A, FACTOR = 0.030, 2.0


def mismatch(tables: Tables, truth: Iterable[Tables], fleet: Setting) -> list[Row]:
    """Rows from the nights' `finding` and the days' truths (Day.truth of the simulator, in order).

    The last night is judged: a month lies behind it. What a cell truly is follows from its planted flaw and from the
    charge, capacity and resistance that it truly has, for balancers heal some and make others. False alarms are
    counted over all nights, on modules without a planted flaw.
    """
    days = list(truth)
    flaws = pl.concat([day["flaw"] for day in days])
    rated = days[-1]["module"].select(*KEY, "rated_ah")
    cells = truly(days[-1]["cell"], rated, flaws, fleet)
    verdicts = tables["finding"].filter(pl.col("analysis") == "mismatch")
    final = verdicts.filter(pl.col("day") == days[-1]["cell"]["day"][0])
    judgeable = final.filter(pl.col("status").is_in(["finding", "ok"])).select(KEY).unique()
    seen = cells.join(judgeable, on=KEY, maintain_order="left").group_by(KEY, maintain_order=True)
    cases = [_case(unit, group, final) for unit, group in seen]
    return [
        macro_f1(*frozen("mismatch: macro-F1 of the patterns", fleet.level), [[case] for case in cases], ORDER),
        _share("mismatch: the right cell is named", _located(final, cells)),
        *_leaks(final, flaws),
        _false_alarms(verdicts, [truly(day["cell"], rated, flaws, fleet) for day in days], flaws, fleet),
        _share("mismatch: modules that could be judged", [
            unit in set(judgeable.rows()) for unit in cells.select(KEY).unique(maintain_order=True).rows()
        ]),
    ]  # fmt: skip


def truly(cells: pl.DataFrame, rated: pl.DataFrame, flaws: pl.DataFrame, fleet: Setting) -> pl.DataFrame:
    """A row a cell: true and either, the classes that it is and that it may be called (lists)."""
    lacks = (1 - pl.col("soc")) * pl.col("capacity_ah")
    pulse = pl.col("fast_mohm") + (1 - math.exp(-fleet.period_s / fleet.tau_s)) * pl.col("slow_mohm")
    numbers = {
        "small": 1 - pl.col("capacity_ah") / pl.col("capacity_ah").median().over(KEY),
        "resists": pulse / pulse.median().over(KEY),
        "lags": (lacks - lacks.median().over(KEY)) / pl.col("rated_ah"),
    }
    numbers["drifts"] = numbers["lags"].abs()
    own = flaws.filter(pl.col("kind").is_in(list(PLANTED))).select(*KEY, "cell", "kind")
    rows = cells.join(rated, on=KEY).with_columns(**numbers).join(own, on=[*KEY, "cell"], how="left")
    planted = [pl.when(pl.col("kind") == kind).then(pl.lit(name)) for kind, name in PLANTED.items()]
    true = [pl.when(pl.col(name) > hi).then(pl.lit(name)) for name, (_, hi) in BORDER.items()]
    first = pl.coalesce(*planted, *true)
    either = [pl.when(pl.col(name) >= lo).then(pl.lit(name)) for name, (lo, _) in BORDER.items()]
    return rows.select(
        *KEY, "cell",
        true=pl.concat_list(first).list.drop_nulls(),
        either=pl.concat_list(*(pl.when(one != first.fill_null("")).then(one) for one in either)).list.drop_nulls(),
    )  # fmt: skip


def _classes(final: pl.DataFrame) -> pl.DataFrame:
    found = final.filter(pl.col("status") == "finding")
    return found.with_columns(told=pl.col("pattern").replace_strict(TOLD, default=pl.col("pattern")))


def _case(unit: tuple[object, ...], cells: pl.DataFrame, final: pl.DataFrame) -> Case:
    at = (pl.col("site") == unit[0]) & (pl.col("unit") == unit[1])
    said = frozenset(_classes(final.filter(at))["told"].to_list())
    true, either = (frozenset(cells[name].explode().drop_nulls().to_list()) for name in ("true", "either"))
    return Case(true, said, either | {"early"})


def _located(final: pl.DataFrame, cells: pl.DataFrame) -> list[bool]:
    """Of the findings of a class that the module truly has: whether they name such a cell. Two cells share a lead."""
    hits = _classes(final).filter(pl.col("told").is_in(SINGLE)).drop_nulls("cell")
    true = cells.explode("true").drop_nulls("true").select(*KEY, told="true", at="cell")
    both = hits.join(true, on=[*KEY, "told"])
    near = pl.when(pl.col("told") == "jumps").then(1).otherwise(0)
    right = both.group_by(*KEY, "told", maintain_order=True).agg(
        ok=((pl.col("at") - pl.col("cell")).abs() <= near).any()
    )
    return right["ok"].to_list()


def _leaks(final: pl.DataFrame, flaws: pl.DataFrame) -> list[Row]:
    strong = flaws.filter((pl.col("kind") == "leak") & (pl.col("size") >= STRONG_LEAK_A)).select(*KEY, "cell", "size")
    told = _classes(final).filter(pl.col("told") == "leaks").select(*KEY, "cell", "value")
    both = strong.join(told, on=[*KEY, "cell"], how="left")
    factor = both.drop_nulls("value").select(pl.col("value") / (1000 * pl.col("size"))).to_series()
    found = _share("leak: found at 30 mA and more", both["value"].is_not_null().to_list())
    right = _share("leak: within a factor of 2", factor.is_between(1 / FACTOR, FACTOR).to_list())
    return [found, right]


def _false_alarms(verdicts: pl.DataFrame, days: list[pl.DataFrame], flaws: pl.DataFrame, fleet: Setting) -> Row:
    """Patterns that modules without a planted flaw were said to have on any night, and never had."""
    sound = pl.concat(days).join(flaws.select(KEY).unique(), on=KEY, how="anti")
    may = sound.select(*KEY, told=pl.concat_list("true", "either")).explode("told").drop_nulls().unique()
    said = _classes(verdicts).select(*KEY, "told").unique().join(sound.select(KEY).unique(), on=KEY, how="semi")
    wrong = said.join(may, on=[*KEY, "told"], how="anti")
    months = sound.select(KEY).unique().height * len(days) / 30
    return rate(*frozen("mismatch: false alarms"), wrong.height, months)


def _share(name: str, yes: Sequence[bool]) -> Row:
    return share(*frozen(name), sum(yes), len(yes))
