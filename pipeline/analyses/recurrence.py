"""Did a lockout come back, and had somebody only reset it? Sessions of many days become chains."""

from __future__ import annotations

import polars as pl

from pipeline.analyses.endings import BY_PERSON
from pipeline.limits import Lockouts

UNIT = ["site", "unit"]
KEY = [*UNIT, "cause"]


def one_over_midnight(history: pl.LazyFrame, limits: Lockouts) -> pl.LazyFrame:
    """Daily session rows with those joined that go on after midnight: less than a session's gap lies between them."""
    ordered = history.sort(*UNIT, "start")
    new = (pl.col("start") - pl.col("end").cum_max().shift(1).over(UNIT) > limits.session_ms).fill_null(value=True)
    numbered = ordered.with_columns(nth=new.cum_sum())
    whole = {"end": pl.col("end").max(), "ended_by": pl.col("ended_by").last(), "weight": pl.col("weight").max()}
    whole |= {"n_chatter": pl.col("n_chatter").sum(), "danger": pl.col("danger").any()}
    first = {n: pl.col(n).first() for n in history.collect_schema().names() if n not in whole}
    return numbered.group_by("nth", maintain_order=True).agg(**first, **whole).drop("nth")


def recurrence(sessions: pl.LazyFrame, limits: Lockouts) -> pl.LazyFrame:
    """The sessions with `again` (the same cause within 7 days), `after_reset` (within 24 h of one that a person ended)
    and their chain: `chain_n` sessions so far, `chain_resets` of them ended by a person, `chain_days` since the first.
    """
    ordered = sessions.sort(*KEY, "start")
    same = pl.all_horizontal(pl.col(name) == pl.col(name).shift(1) for name in KEY)
    since = pl.when(same).then(pl.col("start") - pl.col("end").shift(1))
    by_person = pl.col("ended_by").is_in(list(BY_PERSON))
    linked = ordered.with_columns(
        again=(since <= limits.repeat_ms).fill_null(value=False),
        after_reset=((since <= limits.after_reset_ms) & by_person.shift(1)).fill_null(value=False),
        reset=by_person.cast(pl.Int64),
    ).with_columns(nth=pl.int_range(pl.len()), resets=pl.col("reset").cum_sum())
    begin = {"nth": pl.col("nth"), "resets": pl.col("resets") - pl.col("reset"), "start": pl.col("start")}
    known = linked.with_columns(
        pl.when(~pl.col("again")).then(value).forward_fill().alias(f"first_{name}") for name, value in begin.items()
    )
    return known.with_columns(
        chain_n=pl.col("nth") - pl.col("first_nth") + 1,
        chain_resets=pl.col("resets") - pl.col("first_resets"),
        chain_days=(pl.col("start") - pl.col("first_start")) / 86_400_000,
    ).drop("reset", "resets", "nth", *(f"first_{name}" for name in begin))
