"""What `fleet-mismatch` asks: which cell or module is out of step, and in what?"""

from __future__ import annotations

from dashboards.asking import Ask, Column, Where
from dashboards.datasets import Dataset, named
from dashboards.questions.shared import (
    A_NIGHT,
    APART,
    COUNT,
    LATEST,
    MODULE,
    PERCENT,
    PLACE,
    SITE,
    one,
    raw,
    unseen,
)

WHOLE = Where("installer", "=~", "$installer")
"""The list is of the whole fleet; what is below it is of the module that is chosen."""
FOUND = Where("status", "=", "finding")


def _uneven(by: tuple[str, ...]) -> Ask:
    columns = (
        Column("status", "last", "status"),
        *raw("cell_no", "text", "value", "lo", "hi", "unit", "confidence", "score"),
    )
    return Ask("finding", columns, (Where("analysis", "=~", "(mismatch|imbalance|resistance)"), WHOLE), by, back=LATEST)


ASKED = named(
    Dataset(
        "uneven_cells",
        Ask(
            _uneven((*PLACE, "analysis", "pattern")),
            raw(*PLACE, "cell_no", "pattern", "text", "value", "lo", "hi", "unit", "confidence", "score"),
            (FOUND,),
        ),
        "none",
        "Cells and modules out of step, with the pattern that tells charge, capacity, resistance and wiring apart.",
        "three fillings or emptyings in 30 days",
        table=True,
        bucket="nightly",
        within={"score": PERCENT},
    ),
    Dataset(
        "uneven_count",
        Ask(
            Ask(
                Ask(_uneven((*PLACE, "analysis", "pattern")), raw("score"), (FOUND,), PLACE),
                one("n", "count", "score"),
                by=PLACE,
            ),
            one("n", "count", "n"),
        ),
        "none",
        "Modules with a cell out of step.",
        A_NIGHT,
        bucket="nightly",
        within={"n": COUNT},
    ),
    Dataset(
        "uneven_unseen",
        unseen("mismatch", WHOLE),
        "none",
        "Modules without enough fillings and emptyings to tell.",
        A_NIGHT,
        bucket="nightly",
    ),
    Dataset(
        "spread_days",
        Ask("module_day", one("spread", "max", "spread_mv_max"), SITE, PLACE, "1d", "none"),
        "mvolt",
        "Widest spread of each module by day; near full and near empty it is widest.",
        "one night",
        bucket="nightly",
        within={"spread": (0, 5000)},
    ),
    Dataset(
        "rests",
        Ask("cell_rest", one("apart", "mean", "deviation_mv"), MODULE, ("cell",), "1d", "none"),
        "mvolt",
        "Each cell's distance from the median cell at rest, by day. "
        "A cell that drifts lacks charge; one that is off only when empty lacks capacity.",
        "a rest of half an hour",
        bucket="nightly",
        within={"apart": APART},
    ),
    Dataset(
        "rest_now",
        Ask("cell_rest", one("apart", "last", "deviation_mv"), MODULE, ("cell",)),
        "mvolt",
        "The last rest: each cell's distance from the median cell.",
        "a rest of half an hour",
        bucket="nightly",
        within={"apart": APART},
    ),
)
