"""What `fleet-lockouts` asks: what keeps coming back, and what precedes it?"""

from __future__ import annotations

from typing import Literal

from dashboards.asking import Ask, Column
from dashboards.datasets import Dataset, named
from dashboards.questions.shared import COUNT, FLEET, NONE_NEEDED, PERCENT, PLACE, analysis, one, raw

SESSION = ("text", "cause", "sure", "ended", "minutes", "soc", "warmest", "peak_a", "spread_mv", "cell_no", "times")


def _half(half: Literal["first", "second"], name: str) -> Ask:
    """How long each lockout in one half of the time shown lasted."""
    return Ask("lockout", one(name, "raw", "minutes"), FLEET, PLACE, half=half)


ASKED = named(
    Dataset(
        "lockout_count",
        Ask("lockout", one("n", "count", "minutes"), FLEET),
        "none",
        "Lockouts in the chosen time.",
        NONE_NEEDED,
        may_be_empty=True,
        bucket="nightly",
        within={"n": COUNT},
    ),
    Dataset(
        "lockout_modules",
        Ask(Ask("lockout", one("n", "count", "minutes"), FLEET, PLACE), one("n", "count", "n")),
        "none",
        "Modules that were locked out in the chosen time.",
        NONE_NEEDED,
        may_be_empty=True,
        bucket="nightly",
        within={"n": COUNT},
    ),
    Dataset(
        "lockout_repeats",
        Ask(
            "lockout",
            (
                Column("times", "count", "minutes"),
                Column("together", "sum", "minutes"),
                Column("typical", "median", "minutes"),
            ),
            FLEET,
            (*PLACE, "fault"),
        ),
        "none",
        "How often each module was locked out by which fault, and for how long.",
        "one lockout",
        table=True,
        bucket="nightly",
        within={"times": COUNT},
    ),
    Dataset(
        "lockout_halves",
        Ask(
            (_half("first", "before"), _half("second", "after")),
            (
                Column("times before", "count", "before"),
                Column("times after", "count", "after"),
                Column("together before", "sum", "before"),
                Column("together after", "sum", "after"),
            ),
            by=PLACE,
        ),
        "none",
        "Lockouts of each module in the first and in the second half of the chosen time. To see whether a repair "
        "helped, choose a time with the repair in its middle. Few may be chance: where nothing has changed, three "
        "lockouts all fall into the first half once in eight times.",
        "one lockout, and as many days after the repair as before it",
        table=True,
        bucket="nightly",
        within={"times before": COUNT, "times after": COUNT},
    ),
    Dataset(
        "lockout_risk",
        analysis("lockout_risk"),
        "percent",
        "Chance of another lockout within 30 days, with its interval.",
        "30 days of history",
        table=True,
        bucket="nightly",
        within={"value": PERCENT},
    ),
    Dataset(
        "lockout_days",
        Ask("lockout", one("lockouts", "count", "minutes"), FLEET, ("fault",), "1d", "none"),
        "none",
        "Lockouts by day and by the fault that came first.",
        NONE_NEEDED,
        may_be_empty=True,
        bucket="nightly",
        within={"lockouts": COUNT},
    ),
    Dataset(
        "lockout_places",
        Ask("lockout", one("lockouts", "count", "minutes"), FLEET, PLACE, "1d", "none"),
        "none",
        "Lockouts of each module by day: a row that comes again is one that nobody mended.",
        "one lockout",
        bucket="nightly",
        within={"lockouts": COUNT},
    ),
    Dataset(
        "lockout_waits",
        Ask("lockout", one("days", "elapsed", "minutes", 1440), FLEET, PLACE),
        "none",
        "Days between a module's lockouts.",
        "two lockouts of a module",
        bucket="nightly",
        within={"days": (0, 1e4)},
    ),
    Dataset(
        "lockout_hours",
        Ask("lockout", raw("hour"), FLEET),
        "none",
        "Local hour at which lockouts begin.",
        "one lockout",
        bucket="nightly",
        within={"hour": (0, 23)},
    ),
    Dataset(
        "lockout_minutes",
        Ask("lockout", raw("minutes"), FLEET),
        "m",
        "How long lockouts last.",
        "one lockout",
        bucket="nightly",
        within={"minutes": COUNT},
    ),
    Dataset(
        "lockout_sessions",
        Ask("lockout", raw(*PLACE, *SESSION), FLEET, newest=300),
        "none",
        "Each lockout with the numbers of its 10 minutes before and 2 after, and what it most likely comes from.",
        "cell voltages and current for a cause",
        table=True,
        bucket="nightly",
        within={"sure": (0, 1), "soc": PERCENT},
    ),
)
