"""Are lockouts found, with their trigger and their root cause?"""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from pipeline.analyses.recurrence import one_over_midnight
from pipeline.analyses.sessions import sessions
from pipeline.limits import LFP
from pipeline.validation.replay import Replayed
from pipeline.validation.rows import Figure, macro_f1, share

KEY = ["site", "unit"]
ROOT_OF: dict[str, dict[str, str]] = {
    "OV_CELL": {
        **dict.fromkeys(("reset_chain", "charger_high"), "charge_voltage_high"),
        **dict.fromkeys(
            ("leak", "imbalance", "balancer_off", "low_capacity", "high_resistance", "use"), "cell_runs_away"
        ),
    },
    "UV_CELL": {
        **dict.fromkeys(("leak", "imbalance", "balancer_off", "low_capacity", "high_resistance"), "weak_cell"),
        "idle_drain": "idle_drain",
        "surge_loads": "emptied",
        "use": "emptied",
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
    Modules whose clock is wrong are left out: their sessions are found, but at the times that their edge says.
    """
    skewed = done.truth["flaw"].filter(pl.col("kind") == "clock_skew").select(KEY)
    truth = done.truth["lockout"].join(skewed, on=KEY, how="anti").lazy()
    true = sessions(truth, KEY, LFP.lockouts.session_ms).select(*KEY, "start", "end", "cause", "fault").collect()
    caused = true.join(
        truth.select(*KEY, "fault", "start", "root_cause", "ended_by").collect(), on=[*KEY, "fault", "start"]
    )
    stored = done.tables["lockout"].join(skewed, on=KEY, how="anti")
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


def validate(done: Replayed, period_s: int) -> Iterator[Figure]:
    """Session F1, macro-F1 of the trigger and of the root cause over matched sessions, and of the reset."""
    rows = matched(done, 2 * period_s * 1000)
    hit = rows.filter(pl.col("nth").is_not_null() & pl.col("mth").is_not_null())
    halves = rows.height + hit.height
    yield share("lockouts: session F1 (overlap >= 50 %)", 0.98, 2 * hit.height, halves)
    cause, _ = macro_f1(hit.select("cause", "cause_told").rows())
    yield _of("lockouts: trigger, macro-F1", 0.95, cause, hit.height)
    root, _ = macro_f1(roots(hit))
    yield _of("lockouts: root cause, macro-F1", 0.85, root, hit.height)
    known = hit.filter(pl.col("ended_by") != "open").select("ended_by", "ended_by_told").rows()
    resets = [(a == "reset", b in {"reset", "power_cycle"}) for a, b in known]
    yield share("lockouts: resets found", 0.9, sum(a and b for a, b in resets), sum(a for a, _ in resets))


def roots(hit: pl.DataFrame) -> list[tuple[str, str]]:
    """(true, told) root causes of matched sessions."""
    named = hit.select("cause", "root_cause", "root").rows()
    return [(ROOT_OF.get(cause, {}).get(flaw, "unknown"), SAME.get(told, told)) for cause, flaw, told in named]


SAME = {"charger_ignores_limit": "charge_voltage_high"}
"""The simulator's charger does both: it goes too high, and heeds no limit. The remedy is one."""


def _of(name: str, target: float, figure: float, n: int) -> Figure:
    """A macro-F1 with the interval of a share of so many cases, which is a rough one."""
    rough = share(name, target, figure * n, n)
    return Figure(name, target, figure, rough.lo, rough.hi)
