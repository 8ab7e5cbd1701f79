"""What the questions share: whose data, in which columns, and what a number may be.

A point of a night's table stands at noon UTC of the site's own date. `mean` because one pixel stands for many readings.
"""

from __future__ import annotations

from dashboards.asking import INTERVAL, Ask, Column, How, Where
from dashboards.datasets import Dataset

FLEET = (Where("installer", "=~", "$installer"), Where("site", "=~", "$site"))
SITE = (Where("site", "=", "$site"),)
STACK = (*SITE, Where("stack", "=", "$stack"))
MODULE = (*STACK, Where("module", "=", "$module"))
PLACE = ("site", "stack", "module")
COUNT, PERCENT, MILLIVOLTS, URGENCY = (0.0, 1e9), (0.0, 110.0), (0.0, 5000.0), (-1.0, 3.0)
DEGREES, AMPERES, APART = (-40.0, 100.0), (-1000.0, 1000.0), (-2000.0, 2000.0)
ONE, A_NIGHT = "one reading in the chosen time", "a night's work within four days"
MONTH = "three full cycles in 30 days; without them `not enough data` stands in its place"
NONE_NEEDED = "nothing; empty means none"
LATEST = "4d"
"""How far back the latest night may be: a night that failed at a weekend does not empty the worklist."""
WORDS = ("text", "numbers", "why", "todo", "since_days", "cell_no", "confidence")
NUMBERS = ("soh", "soh_lo", "soh_hi", "lockout_pc", "unlike")


def one(name: str, how: How, field: str, over: float = 1) -> tuple[Column, ...]:
    """A single column."""
    return (Column(name, how, field, over),)


def raw(*names: str) -> tuple[Column, ...]:
    """Columns as they are."""
    return tuple(Column(name, "raw", name) for name in names)


def curve(columns: tuple[Column, ...], where: tuple[Where, ...] = MODULE, by: tuple[str, ...] = ()) -> Ask:
    """Readings over time."""
    return Ask("module", columns, where, by, every=INTERVAL)


def latest(columns: tuple[Column, ...], where: tuple[Where, ...] = FLEET, by: tuple[str, ...] = PLACE) -> Ask:
    """The last verdict on each module."""
    return Ask("verdict", columns, where, by, back=LATEST)


def analysis(name: str, *more: Where) -> Ask:
    """An analysis's last word on each module, whatever its status: what cannot be told is shown as such."""
    columns = (Column("status", "last", "status"), *raw("value", "lo", "hi", "confidence"))
    return Ask("finding", columns, (Where("analysis", "=", name), *FLEET, *more), (*PLACE, "pattern"), back=LATEST)


def unseen(name: str, *whose: Where) -> Ask:
    """How many modules an analysis cannot judge."""
    mine = (Where("analysis", "=", name), *(whose or FLEET))
    last = Ask("finding", one("status", "last", "status"), mine, PLACE, back=LATEST)
    return Ask(last, one("n", "count", "status"), (Where("status", "=", "not_observable"),))


def fault_log(name: str, where: tuple[Where, ...], *place: str) -> Dataset:
    """Faults as they came and went, the newest first; `place` are the columns that tell whose."""
    cell = Column("cell", "raw", "cell", plus=1)
    columns = (*raw(*place, "fault", "active", "text", "code"), cell, *raw("value"))
    return Dataset(
        name,
        Ask("fault", columns, where, newest=200),
        "none",
        "The last 200 times that a fault came or went; `code` is the maker's own.",
        NONE_NEEDED,
        may_be_empty=True,
        table=True,
    )
