"""Are lockouts found, with their trigger and their root cause?"""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from pipeline.analyses.recurrence import one_over_midnight
from pipeline.analyses.sessions import sessions
from pipeline.limits import LFP
from pipeline.validation.bars import frozen
from pipeline.validation.classes import scored
from pipeline.validation.replay import Replayed
from pipeline.validation.row import Row, share

KEY = ["site", "unit"]
ROOT_OF: dict[str, dict[str, str]] = {
    "OV_CELL": {
        **dict.fromkeys(("reset_chain", "charger_high", "deaf"), "charge_voltage_high"),
        **dict.fromkeys(
            ("leak", "imbalance", "balancer_off", "low_capacity", "high_resistance", "use"), "cell_runs_away"
        ),
    },
    "UV_CELL": {
        **dict.fromkeys(("leak", "imbalance", "balancer_off", "low_capacity", "high_resistance"), "weak_cell"),
        "idle_drain": "idle_drain",
        **dict.fromkeys(("cold_garage", "deaf", "surge_loads", "use"), "emptied"),
    },
    **{key: {"cold_garage": "climate", "use": "climate"} for key in ("UT_CHG", "UT_DSG")},
    **{key: {"hot_room": "hot_place", "use": "hot_place"} for key in ("OT_CHG", "OT_DSG")},
    "OC_DSG": {
        "surge_loads": "surge",
        "use": "overload",
        **dict.fromkeys(("reconnect", "bad_connection", "mixed_stack", "missing_module"), "sharing"),
    },
    "OC_CHG": {
        "use": "charge_limit",
        **dict.fromkeys(("reconnect", "bad_connection", "mixed_stack", "missing_module"), "sharing"),
    },
}
"""What the planted flaw should be called, by the session's trigger."""


def matched(done: Replayed, slack_ms: int) -> pl.DataFrame:
    """True and told sessions side by side (one null where the other has none): those that overlap by half or more.

    Both are widened by `slack_ms`, for a poll sees a flag up to a period late and a flag can be shorter than that.
    A module's true times are put onto its edge's clock where that is wrong: a session is where its readings say.
    """
    skewed = done.truth["flaw"].filter(pl.col("kind") == "clock_skew").select(*KEY, "onset", ms=1000 * pl.col("size"))
    joined = done.truth["lockout"].join(skewed, on=KEY, how="left")
    wrong = pl.from_epoch("start", time_unit="ms").dt.date() >= pl.col("onset")
    by = pl.when(wrong).then("ms").otherwise(0.0).round().cast(pl.Int64)
    truth = joined.with_columns(start=pl.col("start") + by, end=pl.col("end") + by).drop("ms", "onset").lazy()
    true = sessions(truth, KEY, LFP.lockouts.session_ms).select(*KEY, "start", "end", "cause", "fault").collect()
    caused = true.join(
        truth.select(*KEY, "fault", "start", "root_cause", "ended_by").collect(), on=[*KEY, "fault", "start"]
    )
    stored = done.tables["lockout"]
    told = one_over_midnight(stored.lazy(), LFP.lockouts).collect()
    said = told.select(*KEY, "start", "end", "cause", "root", "confidence", "ended_by", "evidence")
    both = caused.with_row_index("nth").join(said.with_row_index("mth"), on=KEY, suffix="_told")
    last, first = pl.min_horizontal("end", "end_told") + slack_ms, pl.max_horizontal("start", "start_told")
    union = pl.max_horizontal("end", "end_told") + slack_ms - pl.min_horizontal("start", "start_told")
    pairs = both.with_columns(common=(last - first) / union).filter(pl.col("common") >= 0.5)
    best = pairs.sort("common", descending=True).unique("nth", keep="first").unique("mth", keep="first")
    missed = caused.with_row_index("nth").join(best, on="nth", how="anti")
    extra = said.with_row_index("mth").join(best, on="mth", how="anti")
    spare = extra.rename({n: f"{n}_told" for n in ("start", "end", "cause", "ended_by")})
    return pl.concat([best, missed, spare], how="diagonal_relaxed")


def lockouts(done: Replayed, period_s: int) -> Iterator[Row]:
    """Session F1; macro-F1 of the trigger and of the root cause over the matched sessions; resets found."""
    rows = matched(done, 2 * period_s * 1000)
    hit = rows.filter(pl.col("nth").is_not_null() & pl.col("mth").is_not_null())
    halves = rows.height + hit.height
    yield share(*frozen("lockouts: session F1 (overlap >= 50 %)"), 2 * hit.height, halves)
    triggers, whys = dict[str, list[tuple[str, str]]](), dict[str, list[tuple[str, str]]]()
    for unit, *trigger in hit.select("unit", "cause", "cause_told").iter_rows():
        triggers.setdefault(unit, []).append((trigger[0], trigger[1]))
    for unit, why in zip(hit["unit"], roots(hit), strict=True):
        whys.setdefault(unit, []).append(why)
    yield scored(*frozen("lockouts: trigger, macro-F1"), triggers)
    yield scored(*frozen("lockouts: root cause, macro-F1"), whys)
    known = hit.filter(pl.col("ended_by") != "open").select("ended_by", "ended_by_told").rows()
    resets = [(a == "reset", b in {"reset", "power_cycle"}) for a, b in known]
    yield share(*frozen("lockouts: resets found"), sum(a and b for a, b in resets), sum(a for a, _ in resets))


def roots(hit: pl.DataFrame) -> list[tuple[str, str]]:
    """(true, told) root causes of matched sessions."""
    named = hit.select("cause", "root_cause", "root").rows()
    return [(ROOT_OF.get(cause, {}).get(flaw, "unknown"), SAME.get(told, told)) for cause, flaw, told in named]


SAME = {"charger_ignores_limit": "charge_voltage_high"}
"""The simulator's charger does both, it goes too high and heeds no limit, and which shows first is chance. Either
answer leads to the same fault of the catalogue and to the same action: set the inverter to what the BMS asks for."""
