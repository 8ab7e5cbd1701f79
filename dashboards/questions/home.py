"""What `fleet-home` asks: the whole fleet, now and in the last nights."""

from __future__ import annotations

from cellherd.faults import catalogue
from dashboards.asking import Ask, Column, Where
from dashboards.datasets import Dataset, named
from dashboards.questions.shared import (
    A_NIGHT,
    COUNT,
    FLEET,
    LATEST,
    NONE_NEEDED,
    PERCENT,
    PLACE,
    URGENCY,
    latest,
    one,
    raw,
)

CUTTING = "|".join(sorted(f.id for f in catalogue().values() if f.severity in ("protection", "lockout")))
"""Faults that cut a path."""


def _reporting(by: tuple[str, ...]) -> Ask:
    heard = Ask("module", one("mv", "last", "voltage_mv"), FLEET, by, back="15m")
    return Ask(heard, one("n", "count", "mv"))


def _cut() -> Ask:
    each = Ask(
        "fault",
        one("on", "last", "active"),
        (*FLEET, Where("fault", "=~", f"({CUTTING})")),
        (*PLACE, "fault"),
        back="30d",
    )
    modules = Ask(each, one("on", "max", "on"), by=PLACE)
    return Ask(modules, one("n", "sum", "on"))


def _count(*only: Where) -> Ask:
    last = latest(one("urgency", "last", "urgency"))
    return Ask(last, one("n", "count", "urgency"), only)


def _judged(name: str, urgency: int, meaning: str) -> Dataset:
    return Dataset(
        name,
        _count(Where("urgency", "=", urgency)),
        "none",
        meaning,
        A_NIGHT,
        bucket="nightly",
        within={"n": COUNT},
        may_be_empty=True,
    )


ASKED = named(
    Dataset(
        "sites_reporting",
        _reporting(("site",)),
        "none",
        "Sites with a reading in the last 15 minutes.",
        "one reading in 15 minutes",
        within={"n": COUNT},
    ),
    Dataset(
        "modules_reporting",
        _reporting(PLACE),
        "none",
        "Modules with a reading in the last 15 minutes.",
        "one reading in 15 minutes",
        within={"n": COUNT},
    ),
    Dataset(
        "cut_off",
        _cut(),
        "none",
        "Modules whose charging or discharging a protection or lockout cuts right now.",
        NONE_NEEDED,
        may_be_empty=True,
        within={"n": COUNT},
    ),
    Dataset(
        "lowest_soc",
        Ask("module", one("SOC", "last", "soc_pm", 10), FLEET, PLACE, back="1d"),
        "percent",
        "State of charge, the lowest first.",
        "one reading within a day",
        table=True,
        within={"SOC": PERCENT},
    ),
    Dataset(
        "last_heard",
        Ask("module", one("voltage", "last", "voltage_mv", 1000), FLEET, ("site",), back="30d"),
        "volt",
        "When each site was last heard of, the longest silent first.",
        "one reading in 30 days",
        table=True,
        within={"voltage": (0, 1000)},
    ),
    Dataset(
        "faults_by_day",
        Ask("fault", one("came", "sum", "active"), (*FLEET, Where("priority", "<", 4)), ("fault",), "1d", "none"),
        "none",
        "How often each fault came, by day; states that never alert are left out.",
        NONE_NEEDED,
        may_be_empty=True,
        within={"came": COUNT},
    ),
    Dataset(
        "worklist",
        Ask(
            latest(
                (
                    Column("score", "last", "score"),
                    *raw("urgency", "text", "numbers", "why", "todo", "since_days", "confidence", "lockout_pc"),
                )
            ),
            raw(
                "site",
                "stack",
                "module",
                "urgency",
                "text",
                "numbers",
                "why",
                "todo",
                "since_days",
                "confidence",
                "lockout_pc",
                "score",
            ),
            (Where("score", ">", 0),),
        ),
        "none",
        "Every module with a finding, the most urgent first, with what it rests on. Click a module to see why.",
        A_NIGHT,
        table=True,
        bucket="nightly",
        within={"score": PERCENT, "confidence": (0, 1), "urgency": URGENCY},
    ),
    _judged("act_now", 3, "Modules with a finding that cannot wait."),
    _judged("today", 2, "Modules with a finding for today."),
    _judged("next_visit", 1, "Modules with a finding for the next visit."),
    _judged("nothing_found", 0, "Modules that were judged and are well."),
    _judged("not_judged", -1, "Modules that nobody can judge yet: not enough data."),
    Dataset(
        "site_days",
        Ask("verdict", one("worst", "max", "urgency"), FLEET, ("site",), "1d", "none"),
        "none",
        "The worst that each night found at each site.",
        "one night",
        bucket="nightly",
        within={"worst": URGENCY},
    ),
    Dataset(
        "coverage",
        Ask("module_day", (Column("came", "share", "n", 1, "expected"),), FLEET, back=LATEST),
        "percent",
        "Readings that came, of those expected, over the last nights.",
        A_NIGHT,
        bucket="nightly",
        within={"came": (0, 120)},
    ),
)
