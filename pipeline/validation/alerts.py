"""Are alerts right, and few? A year of a labelled fleet through the live engine and the alert machine.

A whole year of readings at 10 s takes two hours of a core. So each of four seasons is sampled by two weeks, after some
days in which the engine gets to know the fleet; every season draws other modules, so that each flaw is met in many.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from multiprocessing import get_context
from os import cpu_count, environ
from time import monotonic

import typer

from pipeline.alerts.rules import Rules
from pipeline.limits import DAY
from pipeline.simulation.fleet import simulate
from pipeline.simulation.plan import FleetPlan, parts
from pipeline.simulation.seeds import TEST
from pipeline.validation.bars import target
from pipeline.validation.deserved import SLACK_MS, Due, Truth
from pipeline.validation.false_alarms import registry
from pipeline.validation.row import Row, rate, share
from pipeline.validation.watch import Push, Watch

SETTLES, COUNTED = 5, 14
"""Days that are not counted and days that are, of each season."""
SEASONS = (date(2026, 1, 5), date(2026, 4, 6), date(2026, 7, 6), date(2026, 10, 5))
PLAN = FleetPlan(
    modules=100, days=SETTLES + COUNTED, period_s=10, flaws=0.3, stack_size=2, polarisation="varied", seed=TEST[0]
)
QUICK = replace(PLAN, modules=20, days=SETTLES + 3, period_s=30)
AT_ONCE = 50
"""Modules of a part: about 1 GB in its process, at a reading every 10 s."""
A_WEEK = 7
ANY = (0.0, 1.0)
"""The target of what is only shown."""


@dataclass(slots=True)
class Seen:
    """What came of a part of the fleet: messages that nothing deserved, and what was told rightly or missed, by id."""

    module_days: float = 0.0
    pushes: int = 0
    unneeded: Counter[str] = field(default_factory=Counter)
    right: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    hit: Counter[str] = field(default_factory=Counter)
    due: Counter[str] = field(default_factory=Counter)

    def add(self, other: Seen) -> None:
        """Join another part."""
        self.module_days += other.module_days
        self.pushes += other.pushes
        for name in ("unneeded", "right", "wrong", "hit", "due"):
            getattr(self, name).update(getattr(other, name))


def alerts(seed: int, quick: bool) -> Iterator[Row]:
    """Unneeded messages for each 100 modules and week, then precision and recall of every fault that came or had to.

    A message is unneeded if nothing it speaks of is so. Its interval is Garwood's, those of shares are Wilson's; both
    take messages for independent, which those of one bad module are not.
    """
    whole = _all(list(samples(seed, QUICK if quick else PLAN)))
    weeks, each = whole.module_days / A_WEEK, "per 100 modules and week"
    bar = target("unneeded messages")
    yield rate(f"unneeded messages ({whole.module_days:.0f} module-days)", bar, whole.unneeded.total(), weeks, each)
    for fault, count in sorted(whole.unneeded.items(), key=lambda one: (-one[1], one[0])):
        yield rate(f"  {fault}", (0.0, float("inf")), count, weeks, each)
    yield rate("all messages", (0.0, float("inf")), whole.pushes, weeks, each)
    for fault in sorted({*whole.right, *whole.wrong}):
        yield share(f"precision: {fault}", ANY, whole.right[fault], whole.right[fault] + whole.wrong[fault])
    for fault in sorted(whole.due):
        yield share(f"recall: {fault}", ANY, whole.hit[fault], whole.due[fault])


def _all(work: Sequence[FleetPlan]) -> Seen:
    """What came of all parts, a process a core; says how far it is after each of them."""
    whole, begun = Seen(), monotonic()
    environ.setdefault("POLARS_MAX_THREADS", "1")  # of the processes to come
    with ProcessPoolExecutor(cpu_count(), get_context("spawn")) as pool:
        for nth, done in enumerate(as_completed([pool.submit(watched, plan) for plan in work]), start=1):
            whole.add(done.result())
            typer.echo(
                f"alerts: {nth} of {len(work)} parts after {(monotonic() - begun) / 60:.0f} min, "
                f"{whole.unneeded.total()} of {whole.pushes} messages unneeded",
                err=True,
            )
    return whole


def samples(seed: int, plan: FleetPlan) -> Iterator[FleetPlan]:
    """The seasons' fleets in parts, from the given seed on."""
    first = TEST.index(seed) if seed in TEST else 0
    for nth, start in enumerate(SEASONS):
        drawn = TEST[(first + nth) % len(TEST)] if seed in TEST else seed + nth
        yield from parts(replace(plan, seed=drawn, start=start), AT_ONCE)


def watched(plan: FleetPlan) -> Seen:
    """A part of the fleet from its first day to its last."""
    watch, truth = Watch({}, Rules(sites=10_000)), Truth()
    for nth, day in enumerate(simulate(plan)):
        watch.registry = watch.registry if nth else registry(day, plan)
        truth.day(day.infos, day.gaps, day.truth)
        watch.day(day)
    return judged(watch, truth, plan)


def judged(watch: Watch, truth: Truth, plan: FleetPlan) -> Seen:
    """What was told against what was so, of the days that count."""
    begin = round(datetime.combine(plan.start + timedelta(SETTLES), datetime.min.time(), UTC).timestamp() * 1000)
    end = begin + (plan.days - SETTLES) * DAY
    seen = Seen(module_days=plan.modules * (plan.days - SETTLES))
    for push in watch.pushes:
        if begin <= push.at < end:
            _count(push, truth, seen)
    spans = watch.told()
    for due in truth.due(begin, end):
        seen.due[due.by[0]] += 1
        seen.hit[due.by[0]] += _was_told(due, spans)
    return seen


def _count(push: Push, truth: Truth, seen: Seen) -> None:
    deserved = [truth.deserved((one.site, one.module), one.fault, one.at) for one in push.about]
    for one, is_so in zip(push.about, deserved, strict=True):
        (seen.right if is_so else seen.wrong)[one.fault] += 1
    seen.pushes += 1
    if not any(deserved):
        seen.unneeded[push.about[0].fault] += 1


def _was_told(due: Due, spans: Sequence[tuple[tuple[str, str, str], int, int]]) -> bool:
    """Whether people knew of it while it stood, or soon after: by a message, or by one that was not over yet."""
    site, module = due.where
    return any(
        place[0] == site and place[1] in {module, ""} and place[2].startswith(due.by) and since <= due.end + SLACK_MS
        and until >= due.begin
        for place, since, until in spans
    )  # fmt: skip
