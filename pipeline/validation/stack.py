"""Validation of stacks: what the nights say of simulated modules in parallel against what was planted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

import polars as pl

from pipeline.validation.bars import frozen
from pipeline.validation.classes import EVEN, Case, macro_f1
from pipeline.validation.row import Row, rate, share

Tables: TypeAlias = Mapping[str, pl.DataFrame]
KEY = ["site", "unit"]
PLANTED = {
    "module_mismatch": "weak_module",
    "mixed_stack": "mixed_stack",
    "missing_module": "missing_module",
    "bad_connection": "poor_connection",
}
ORDER = (*PLANTED.values(), EVEN)
AWAY = ("missing_module", "reconnect_hazard")
"""What may be said of a module that was off for days and came back."""


def stack(tables: Tables, truth: Iterable[Tables]) -> list[Row]:
    """Rows from the nights' `finding` and the days' truths. The last night is judged, false alarms over all nights.

    A stack with two bad modules counts as two. Its sound modules count among the false alarms too.
    """
    days = list(truth)
    flaws = pl.concat([day["flaw"] for day in days])
    units = days[-1]["module"].select(KEY).unique(maintain_order=True)
    verdicts = tables["finding"].filter((pl.col("analysis") == "stack") & (pl.col("status") == "finding"))
    final = verdicts.filter(pl.col("day") == days[-1]["module"]["day"][0])
    true, said = (
        _by_unit(flaws.with_columns(told=pl.col("kind").replace_strict(PLANTED, default=None))),
        _by_unit(final.with_columns(told=pl.col("pattern"))),
    )
    cases = [Case(true.get(unit, frozenset()), said.get(unit, frozenset())) for unit in units.rows()]
    return [
        macro_f1(*frozen("stack: macro-F1 of the patterns"), [[case] for case in cases], ORDER),
        _share("stack: the right module is named", _named(final, true)),
        _share("stack: told of modules that went and came", _returns(verdicts, flaws)),
        _false_alarms(verdicts, units, flaws, len(days) / 30),
    ]


def _by_unit(rows: pl.DataFrame) -> dict[tuple[str, str], frozenset[str]]:
    told = rows.drop_nulls("told").group_by(KEY).agg(pl.col("told").unique())
    return {(site, unit): frozenset(names) for site, unit, names in told.rows()}


def _named(final: pl.DataFrame, true: Mapping[tuple[str, str], frozenset[str]]) -> list[bool]:
    """Of the findings in stacks with a planted flaw: whether their module has one."""
    sites = {site for site, _ in true}
    return [
        (site, unit) in true for site, unit in final.select(KEY).unique(maintain_order=True).rows() if site in sites
    ]


def _returns(verdicts: pl.DataFrame, flaws: pl.DataFrame) -> list[bool]:
    away = verdicts.filter(pl.col("pattern").is_in(AWAY)).select(KEY).unique()
    gone = flaws.filter(pl.col("kind") == "reconnect").select(KEY).unique(maintain_order=True)
    return gone.join(away.with_columns(told=True), on=KEY, how="left")["told"].fill_null(value=False).to_list()


def _false_alarms(verdicts: pl.DataFrame, units: pl.DataFrame, flaws: pl.DataFrame, months: float) -> Row:
    """Patterns, on any night, of modules without a planted flaw."""
    sound = units.join(flaws.select(KEY).unique(), on=KEY, how="anti")
    wrong = verdicts.select(*KEY, "pattern").unique().join(sound, on=KEY, how="semi")
    return rate(*frozen("stack: false alarms"), wrong.height, months * sound.height)


def _share(name: str, yes: Sequence[bool]) -> Row:
    return share(*frozen(name), sum(yes), len(yes))
