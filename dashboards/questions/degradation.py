"""What `fleet-degradation` asks: who ages faster, and how sure is that?"""

from __future__ import annotations

from dashboards.asking import Ask, Column, Where
from dashboards.datasets import Dataset, named
from dashboards.questions.shared import A_NIGHT, COUNT, FLEET, LATEST, MONTH, PLACE, analysis, latest, one, raw, unseen

ASKED = named(
    Dataset(
        "health_seen",
        Ask(latest(one("soh", "last", "soh")), one("n", "count", "soh")),
        "none",
        "Modules whose health is known.",
        MONTH,
        bucket="nightly",
        within={"n": COUNT},
    ),
    Dataset(
        "health_unseen",
        unseen("health"),
        "none",
        "Modules that did not run full to empty often enough.",
        A_NIGHT,
        bucket="nightly",
        within={"n": COUNT},
    ),
    Dataset(
        "health_band",
        Ask(
            "verdict",
            (
                Column("10 %", "percentile", "soh", n=10),
                Column("median", "median", "soh"),
                Column("90 %", "percentile", "soh", n=90),
            ),
            FLEET,
            every="1d",
            fill="none",
        ),
        "percent",
        "Health of the chosen modules: the median one, and the band that holds four of five.",
        f"five modules, each with {MONTH}",
        bucket="nightly",
        within={"median": (20, 130)},
    ),
    Dataset(
        "health_modules",
        Ask("verdict", one("SOH", "mean", "soh"), FLEET, PLACE, "1d", "none"),
        "percent",
        "Health of each chosen module; choose a site to see its own.",
        MONTH,
        bucket="nightly",
        within={"SOH": (20, 130)},
    ),
    Dataset(
        "health_table",
        analysis("health"),
        "percent",
        "Share of the nominal capacity that a module still holds, with its 95 % interval.",
        MONTH,
        table=True,
        bucket="nightly",
        within={"value": (20, 130)},
    ),
    Dataset(
        "trend_table",
        analysis("trend"),
        "percent",
        "Change of health in a year, drawn to its siblings', with its 95 % interval.",
        "eight weeks with a full cycle",
        table=True,
        bucket="nightly",
    ),
    Dataset(
        "life_table",
        analysis("life", Where("pattern", "=", "remaining_life")),
        "none",
        "Years until 80 % of nominal: the middle, and the interval that holds eight of ten.",
        "a trend; where it cannot be told the reason stands instead",
        table=True,
        bucket="nightly",
    ),
    Dataset(
        "health_cycles",
        Ask("trend", (Column("soh", "last", "soh", 0.01), *raw("cycles")), FLEET, PLACE, back=LATEST),
        "percent",
        "Health against full cycles: a module below its siblings at the same age stands out.",
        "eight weeks with a full cycle",
        table=True,
        bucket="nightly",
        may_be_empty=True,
    ),
    Dataset(
        "resistance_table",
        analysis("resistance"),
        "percent",
        "Resistance of the worst cell against its neighbours (100 % = like them), with its 95 % interval.",
        "100 current steps in 30 days",
        table=True,
        bucket="nightly",
        within={"value": (50, 1000)},
    ),
    Dataset(
        "efficiency_table",
        analysis("efficiency"),
        "percent",
        "Energy that comes out again, of what went in.",
        "three loops from full to full in 60 days",
        table=True,
        bucket="nightly",
    ),
)
