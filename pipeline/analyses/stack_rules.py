"""What can be wrong with a module in a stack: a table of rules in their order, and how each is told in numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from pipeline.analyses.findings import as_json, reason
from pipeline.limits import Stack

Test = Callable[[Stack], pl.Expr]
STEP_ERROR = 0.3
"""Of one step of the current: sampling at different moments; a share is as sure as its steps are many."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A pattern: the fault that it means, its value (column, factor, unit), its threshold, what it rests on, its test,
    and its reasons: (column, id, factor, unit).
    """

    name: str
    fault: str
    value: tuple[str, float, str]
    threshold: Callable[[Stack], float]
    counts: str
    test: Test
    reasons: tuple[tuple[str, str, float, str], ...] = ()


def _missing(m: Stack) -> pl.Expr:
    return pl.col("silent_ms") >= m.missing_ms


def _hazard(m: Stack) -> pl.Expr:
    """It came back today with another state of charge."""
    return pl.col("back_pm").abs() > m.hazard_pm


def _mixed(m: Stack) -> pl.Expr:
    """Beyond doubt: a ratio just above the limit may as well lie below it."""
    return (pl.col("smaller") * (1 - m.nominal_error) > m.other_model) | pl.col("odd_model")


def _poor(m: Stack) -> pl.Expr:
    """Resistance decides how a step of the current is shared; a smaller charge does not."""
    return pl.col("eased") < m.share


def _weak(m: Stack) -> pl.Expr:
    return pl.col("held") < m.capacity


def _apart(m: Stack) -> pl.Expr:
    return (pl.col("apart").abs() > m.apart[0]) & (pl.col("apart_days") >= m.apart_days)


def _limiting(m: Stack) -> pl.Expr:
    """One of sound modules always ends the charge; it limits the others where charge is truly left in them."""
    return (pl.col("led") > m.leads) & (pl.col("apart").abs() > m.left)


def _circulating(m: Stack) -> pl.Expr:
    return pl.col("circulating") > m.circulates


RULES = (
    Rule("missing_module", "module_missing", ("silent_ms", 1 / 3.6e6, "h"), lambda m: m.missing_ms / 3.6e6, "members",
         _missing, (("behind_pm", "charge_beside_the_others", 0.1, "%"),)),
    Rule("reconnect_hazard", "parallel_reconnect_hazard", ("back_pm", 0.1, "%"), lambda m: m.hazard_pm / 10, "members",
         _hazard, (("back_pm", "charge_beside_the_others_when_it_came_back", 0.1, "%"),)),
    Rule("mixed_stack", "mixed_stack_mismatch", ("smaller", 100.0, "%"), lambda m: 100 * m.other_model, "members",
         _mixed, (("held", "holds_of_the_best_module", 100.0, "%"),)),
    Rule("poor_connection", "module_imbalance", ("eased", 100.0, "%"), lambda m: 100 * m.share, "steps", _poor,
         (("eased", "takes_of_the_current_due", 100.0, "%"), ("carried", "moves_of_the_charge_due", 100.0, "%"))),
    Rule("weak_module", "module_imbalance", ("held", 100.0, "%"), lambda m: 100 * m.capacity, "whole", _weak,
         (("held", "holds_of_the_best_module", 100.0, "%"), ("lost_mah", "charge_the_stack_cannot_use", 1.0, "mAh"))),
    Rule("charge_apart", "module_imbalance", ("apart", 100.0, "%"), lambda m: 100 * m.apart[0], "apart_days", _apart,
         (("apart", "charge_gone_beside_the_others", 100.0, "%"),)),
    Rule("limiting_module", "module_imbalance", ("led", 100.0, "%"), lambda m: 100 * m.leads, "ends", _limiting,
         (("led", "ends_the_charge_or_discharge_of_all", 100.0, "%"),)),
    Rule("circulating_current", "module_imbalance", ("circulating", 100.0, "%"), lambda m: 100 * m.circulates, "rests",
         _circulating, (("circulating", "current_while_the_stack_rests", 100.0, "%"),)),
)  # fmt: skip
"""The first that holds is the module's."""
ALONE = ("charge_apart", "limiting_module", "circulating_current")
"""What follows from a poor connection or a weak module, and tells something new only without one."""
EVIDENCE = (
    *("members", "steps", "eased", "carried", "held", "smaller", "odd_model", "other_firmware", "apart"),
    *("apart_days", "led", "ends", "circulating", "silent_ms", "behind_pm", "back_pm", "lost_mah"),
)


def evidence() -> pl.Expr:
    """The month's numbers behind a verdict, as a struct."""
    return pl.struct(pl.lit("stack_day").alias("table"), *EVIDENCE)


def numbers(limits: Stack) -> dict[str, pl.Expr]:
    """The columns of a finding for rows of `stack_month` with pattern and status."""
    value = _of(lambda rule: rule.value[1] * _float(rule.value[0]))
    n, unseen = _of(lambda rule: _float(rule.counts)).fill_null(pl.col("steps")), pl.col("status") == "not_observable"
    half = (
        pl.when(pl.col("pattern") == "poor_connection")
        .then(196 * STEP_ERROR / pl.col("steps").sqrt())
        .when(pl.col("pattern") == "mixed_stack")
        .then(limits.nominal_error * value)
    )
    action = _of(lambda rule: pl.concat_list(pl.lit(rule.fault)))
    return {
        "fault": _of(lambda rule: pl.lit(rule.fault)),
        "value": value,
        "lo": value - half,
        "hi": value + half,
        "threshold": _of(lambda rule: pl.lit(rule.threshold(limits))),
        "value_unit": _of(lambda rule: pl.lit(rule.value[2])),
        "confidence": pl.when(unseen).then(0.0).otherwise(_sure(n.fill_null(0), limits)),
        "reasons": as_json(pl.concat_list(*_why(), _scarce(limits)).list.drop_nulls()),
        "action": as_json(action.fill_null([])),
        "pattern": pl.col("pattern").fill_null("even_share"),
    }


def _sure(n: pl.Expr, limits: Stack) -> pl.Expr:
    """What a day shows as it is, is sure; a share is as sure as it rests on much."""
    said = pl.col("pattern").is_in(["reconnect_hazard", "missing_module", "mixed_stack"])
    return pl.when(said).then(0.95).otherwise(n / (n + limits.ends))


def _of(told: Callable[[Rule], pl.Expr]) -> pl.Expr:
    return pl.coalesce(pl.when(pl.col("pattern") == rule.name).then(told(rule)) for rule in RULES)


def _float(name: str) -> pl.Expr:
    return pl.col(name).cast(pl.Float64)


def _why() -> list[pl.Expr]:
    return [
        pl.when((pl.col("pattern") == rule.name) & pl.col(column).is_not_null()).then(
            reason(name, (factor * pl.col(column).cast(pl.Float64)).round(1), unit)
        )
        for rule in RULES
        for column, name, factor, unit in rule.reasons
    ]


def _scarce(limits: Stack) -> pl.Expr:
    unseen = pl.col("status") == "not_observable"
    return pl.when(unseen).then(reason("steps_of_the_current", pl.col("steps").fill_null(0), "count", limits.steps))
