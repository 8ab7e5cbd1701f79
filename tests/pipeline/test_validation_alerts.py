"""Alerts against a truth that is written by hand: what was deserved, what was due, and what was told of a made day."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import polars as pl
import pytest

from pipeline.alerts.rules import Rules
from pipeline.limits import DAY as A_DAY
from pipeline.limits import HOUR, MINUTE
from pipeline.schema import TABLES
from pipeline.simulation.plan import Flaw, FleetPlan
from pipeline.validation import alerts
from pipeline.validation.alerts import SETTLES, judged
from pipeline.validation.deserved import Truth
from pipeline.validation.watch import Push, Told, Watch
from tests.pipeline.fleets import DAY, MIDNIGHT, frame, reading

HERE = ("barn", "m1")
TRIP = "cell_overvoltage_protection"


def truth(*lockouts: tuple[int, int], flaws: Iterable[tuple[str, int]] = ()) -> Truth:
    """Lockouts of m1 by begin and end, and its flaws."""
    known = Truth()
    known.lockouts[HERE, TRIP] = [(MIDNIGHT + a, MIDNIGHT + b) for a, b in lockouts]
    known.flaws[HERE] = [(kind, MIDNIGHT + since) for kind, since in flaws]
    return known


CASES: list[tuple[str, Truth, str, str, int, bool]] = [
    ("a lockout while it stands", truth((HOUR, 2 * HOUR)), "m1", TRIP, HOUR + MINUTE, True),
    ("a moment after its end", truth((HOUR, 2 * HOUR)), "m1", TRIP, 2 * HOUR + 5 * MINUTE, True),
    ("long after its end", truth((HOUR, 2 * HOUR)), "m1", TRIP, 4 * HOUR, False),
    ("of the module beside it", truth((HOUR, 2 * HOUR)), "m2", TRIP, HOUR + MINUTE, False),
    ("a repeat of nothing", truth((HOUR, 2 * HOUR)), "m1", "repeat_lockout", HOUR + MINUTE, False),
    ("a repeat within ten minutes", truth((0, MINUTE), (5 * MINUTE, HOUR)), "m1", "repeat_lockout", 6 * MINUTE, True),
    ("not over for a minute", truth((0, MINUTE), (2 * MINUTE - 1, HOUR)), "m1", "repeat_lockout", 6 * MINUTE, False),
    ("over for a minute", truth((0, MINUTE), (2 * MINUTE, HOUR)), "m1", "repeat_lockout", 6 * MINUTE, True),
    ("a store that drains cells", truth(flaws=[("idle_drain", 0)]), "m1", "cell_extreme_voltage_lockout", HOUR, True),
    ("what a flaw shows", truth(flaws=[("leak", 0)]), "m1", "cell_group_failing", HOUR, True),
    ("before the flaw was there", truth(flaws=[("leak", HOUR)]), "m1", "cell_group_failing", MINUTE, False),
    ("what a flaw does not show", truth(flaws=[("leak", 0)]), "m1", "soc_jump", HOUR, False),
    ("the stack, for a module of it", truth(flaws=[("mixed_stack", 0)]), "", "mixed_stack_mismatch", HOUR, True),
]  # fmt: skip


@pytest.mark.parametrize(("known", "module", "fault", "at", "right"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_what_may_be_told(known: Truth, module: str, fault: str, at: int, right: bool) -> None:
    assert known.deserved(("barn", module), fault, MIDNIGHT + at) is right


def test_what_has_to_be_told_began_on_a_day_that_counts() -> None:
    known = truth((0, MINUTE), (A_DAY, A_DAY + MINUTE), flaws=[("wire_jumps", 0), ("leak", 0)])
    known.silences["barn", "m2"] = [(MIDNIGHT + A_DAY, MIDNIGHT + A_DAY + HOUR), (MIDNIGHT, MIDNIGHT + 5 * MINUTE)]
    due = list(known.due(MIDNIGHT + HOUR, MIDNIGHT + 2 * A_DAY))
    assert [(one.where[1], one.by[0]) for one in due] == [
        ("m1", TRIP), ("m2", "module_missing"), ("m1", "cell_reading_erratic"),
    ]  # fmt: skip


@dataclass(frozen=True)
class MadeDay:
    """A day of two modules in a stack."""

    readings: pl.DataFrame
    date: date = DAY
    infos: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=TABLES["device_info"]))
    counters: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=TABLES["device_counter"]))
    gaps: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=TABLES["gap"]))
    truth: dict[str, pl.DataFrame] = field(default_factory=dict)


def readings(module: str, spans: Iterable[tuple[int, int]], **said: Any) -> list[dict[str, Any]]:
    """Of a healthy module, every 20 s within these spans."""
    own = {"module": module, "unit": module, "charge_on": 1, "discharge_on": 1, "driver": "jbd", **said}
    return [reading(at, [3300] * 4, **own) for a, b in spans for at in range(a, b, 20_000)]


def watched(rows: list[dict[str, Any]]) -> Watch:
    watch = Watch({}, Rules())
    watch.day(MadeDay(frame(rows)))
    return watch


def said(watch: Watch) -> list[list[tuple[str, str]]]:
    return [[(one.module, one.fault) for one in push.about] for push in watch.pushes]


WHOLE, AROUND = (0, A_DAY), ((0, 2 * HOUR), (2 * HOUR + 2 * MINUTE, A_DAY))


def test_a_trip_is_one_push_and_its_span_ends_some_minutes_after_it() -> None:
    trip = readings("m1", [(2 * HOUR, 2 * HOUR + 2 * MINUTE)], faults=TRIP, charge_on=0)
    watch = watched([*readings("m1", AROUND), *trip, *readings("m2", [WHOLE])])
    assert said(watch) == [[("m1", TRIP)]]
    ((place, since, until),) = watch.told()
    assert place == ("barn", "m1", TRIP)
    assert 0 < since - MIDNIGHT - 2 * HOUR <= 10 * MINUTE
    assert 5 * MINUTE <= until - since <= 30 * MINUTE


def test_a_module_that_is_silent_for_half_an_hour_is_missing_and_for_two_minutes_is_not() -> None:
    silent = ((0, 3 * HOUR), (3 * HOUR + 2 * MINUTE, 5 * HOUR), (5 * HOUR + 30 * MINUTE, A_DAY))
    watch = watched([*readings("m1", silent), *readings("m2", [WHOLE])])
    assert said(watch) == [[("m1", "module_missing")]]


def test_a_reading_that_arrives_after_midnight_makes_nobody_silent() -> None:
    late = reading(A_DAY - 100, [3300] * 4, module="m1", unit="m1", charge_on=1, discharge_on=1)
    assert said(watched([*readings("m1", [WHOLE]), late, *readings("m2", [WHOLE])])) == []


def test_a_message_is_unneeded_if_nothing_in_it_was_deserved_and_only_days_that_count_are_counted() -> None:
    begin = MIDNIGHT + SETTLES * A_DAY
    known = truth((SETTLES * A_DAY, SETTLES * A_DAY + HOUR))
    right, wrong = (Told(begin + MINUTE, "a", "barn", "m1", fault) for fault in (TRIP, "soc_jump"))
    early = Told(MIDNIGHT, "b", "barn", "m1", "soc_jump")
    watch = Watch({}, Rules(), pushes=[Push(one[0].at, one) for one in ((right, wrong), (wrong,), (early,))])
    watch.spans = [(("barn", "m1", TRIP), begin + MINUTE, begin + HOUR)]
    seen = judged(watch, known, FleetPlan(modules=2, days=SETTLES + 1, start=DAY, stack_size=2))
    assert (seen.module_days, seen.pushes, dict(seen.unneeded)) == (2, 2, {"soc_jump": 1})
    assert (dict(seen.right), dict(seen.wrong)) == ({TRIP: 1}, {"soc_jump": 2})
    assert (dict(seen.hit), dict(seen.due)) == ({TRIP: 1}, {TRIP: 1})


def test_a_simulated_day_goes_through_and_a_silent_module_of_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alerts, "SETTLES", 0)
    gone = (Flaw(kind="gaps", module=1, size=0.25),)
    seen = alerts.watched(FleetPlan(modules=2, days=1, period_s=300, stack_size=2, flaws=gone, seed=101))
    assert (seen.module_days, seen.unneeded.total()) == (2, 0)
    assert seen.hit == seen.due != {}


def test_each_season_draws_other_modules_and_all_of_them_are_asked() -> None:
    plans = list(alerts.samples(101, alerts.PLAN))
    assert sum(plan.modules for plan in plans) == 4 * alerts.PLAN.modules
    assert len({plan.seed for plan in plans}) == len({plan.start for plan in plans}) == 4
    assert {plan.seed for plan in alerts.samples(120, alerts.PLAN)} == {120, 101, 102, 103}


def test_all_parts_are_added_up_and_each_says_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def seen(plan: FleetPlan) -> alerts.Seen:
        return alerts.Seen(7 * plan.modules, 3, unneeded=Counter({"soc_jump": int(plan.start.month == 1)}))

    monkeypatch.setattr(alerts, "ProcessPoolExecutor", lambda number, _: ThreadPoolExecutor(number))
    monkeypatch.setattr(alerts, "watched", seen)
    bar, jumps, every = list(alerts.alerts(1, quick=True))
    assert (round(bar.figure, 6), bar.ok, round(jumps.figure, 6)) == (1.25, False, 1.25)
    assert (every.name, round(every.figure, 6)) == ("all messages", 15)
    told = capsys.readouterr().err.splitlines()
    assert [line.split(" after ")[0] for line in told] == [f"alerts: {n} of 4 parts" for n in (1, 2, 3, 4)]
    assert told[-1].endswith("1 of 12 messages unneeded")
