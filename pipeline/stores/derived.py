"""The night's tables as points for the dashboards (bucket `cellherd_derived`, design A.6).

Every field is written every time: InfluxDB merges a point with the one that stood there, so that a text left out would
be the one of the night before it was done again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import polars as pl

from cellherd.faults import catalogue
from pipeline.schema import PLACE, TABLES
from pipeline.stores.lines import Sites, at_noon, finding_lines, lines, module_day_lines, placed
from pipeline.words import brief

MODULE = ("installer", "site", "stack", "module")
KEY = ["site", "stack", "module", "day"]
NOTHING_FOUND, NOT_ENOUGH_DATA = 0, -1
"""`urgency` where there is no finding; else 3 is act now, 2 today, 1 next visit: the largest is the worst."""
EVIDENCE = {"soc_pm": ("soc", 0.1), "t_hi": ("warmest", 0.1), "i_peak": ("peak_a", 0.001), "spread": ("spread_mv", 1.0)}
"""Numbers of a lockout's window that are shown: their field and factor."""
_TRIED = ("text", "why", "numbers", "todo", "fault", "analysis", "pattern")

Lines: TypeAlias = Callable[[pl.DataFrame, Sites], bytes]


def verdict_lines(findings: pl.DataFrame, sites: Sites) -> bytes:
    """Measurement `verdict`: one point a module and day, what is worst with it in words, and its main numbers."""
    of_modules = findings.filter(pl.col("site").is_not_null() & pl.col("module").is_not_null())
    if of_modules.is_empty():
        return b""
    found = pl.col("status") == "finding"
    judged = pl.col("analysis") != "ranking"
    urgency = pl.when(found.any()).then(4 - pl.col("priority").filter(found).min().cast(pl.Int64))
    calm = pl.when((judged & (pl.col("status") == "ok")).any()).then(NOTHING_FOUND).otherwise(NOT_ENOUGH_DATA)
    days = of_modules.group_by(KEY, maintain_order=True).agg(
        urgency=urgency.otherwise(calm.cast(pl.Int64)),
        findings=found.sum().cast(pl.Int64),
        **{name: _of(analysis, column) for name, (analysis, column) in _NUMBERS.items()},
    )
    worst = of_modules.filter(found).sort("score", descending=True, nulls_last=True).unique(KEY, keep="first")
    told = pl.DataFrame(
        [{**{key: row[key] for key in KEY}, **_worst(row)} for row in worst.to_dicts()],
        schema={**{key: worst.schema[key] for key in KEY}, **_WORST},
    )
    rows = days.join(told, on=KEY, how="left").with_columns(
        pl.col(_TRIED).fill_null(""), pl.col("score", "confidence").fill_null(0.0), pl.col("since_days").fill_null(0)
    )
    timed = placed(at_noon(rows), sites)
    return lines("verdict", MODULE, timed.drop("day"))


_NUMBERS = {
    "unlike": ("ranking", "value"),
    "lockout_pc": ("lockout_risk", "value"),
    "soh": ("health", "value"),
    "soh_lo": ("health", "lo"),
    "soh_hi": ("health", "hi"),
}
_WORST: dict[str, Any] = {
    **dict.fromkeys(_TRIED, pl.String),
    **dict.fromkeys(("score", "confidence"), pl.Float64),
    **dict.fromkeys(("cell_no", "since_days"), pl.Int64),
}


def _of(analysis: str, column: str) -> pl.Expr:
    return pl.col(column).filter(pl.col("analysis") == analysis).first()


def _worst(row: dict[str, Any]) -> dict[str, Any]:
    said = brief(row)
    return {
        "text": said.what,
        "why": said.why,
        "numbers": said.numbers,
        "todo": said.todo,
        **{name: row[name] or "" for name in ("fault", "analysis", "pattern")},
        "score": row["score"],
        "confidence": row["confidence"],
        "since_days": said.days,
        "cell_no": None if row["cell"] is None else row["cell"] + 1,
    }


def lockout_lines(lockouts: pl.DataFrame, sites: Sites) -> bytes:
    """Measurement `lockout`: a point a session, at its begin; tagged with the fault that came first."""
    if lockouts.is_empty():
        return b""
    kind = pl.Struct(dict.fromkeys(EVIDENCE, pl.Float64))
    said = pl.col("evidence").str.json_decode(kind).struct
    titles = {name: fault.title for name, fault in catalogue().items()}
    zones = {name: site.tz for name, site in sites.items()}
    hours = [_hour(ts, zones.get(site, "UTC")) for ts, site in zip(lockouts["start"], lockouts["site"], strict=True)]
    rows = lockouts.with_columns(
        ts=pl.col("start"),
        minutes=(pl.col("end") - pl.col("start")) / 60_000,
        text=pl.col("fault").replace_strict(titles, default=pl.col("fault"), return_dtype=pl.String),
        cause=pl.col("likeliest").fill_null("unknown").str.replace_all("_", " "),
        sure=pl.col("confidence").fill_null(0.0),
        ended=pl.col("ended_by").fill_null("unknown").str.replace_all("_", " "),
        cell_no=pl.col("cell").cast(pl.Int64) + 1,
        hour=pl.Series(hours, dtype=pl.Int64),
        times=pl.col("n_chatter"),
        **{name: said.field(number) * factor for number, (name, factor) in EVIDENCE.items()},
    )
    fields = ("minutes", "text", "cause", "sure", "ended", "cell_no", "hour", "times")
    shown = [name for name, _ in EVIDENCE.values()]
    return lines("lockout", (*MODULE, "fault"), placed(rows, sites).select("ts", *MODULE, "fault", *fields, *shown))


def _hour(ts: int, zone: str) -> int:
    stamp = pl.Series([ts]).cast(pl.Datetime("ms", "UTC")).dt.convert_time_zone(zone)
    return int(stamp.dt.hour()[0])


def rest_lines(anchors: pl.DataFrame, sites: Sites) -> bytes:
    """Measurement `cell_rest`: by cell the mean of its rests' distance from the median cell (mV), and how many."""
    apart = pl.col("mv") - pl.col("mv").median().over("site", "unit", "ts")
    rests = anchors.filter((pl.col("state") == "rest") & pl.col("cell").is_not_null()).with_columns(apart=apart)
    days = rests.group_by(*KEY, "cell", maintain_order=True).agg(
        deviation_mv=pl.col("apart").mean(), rests=pl.len().cast(pl.Int64)
    )
    timed = placed(at_noon(days), sites).with_columns(pl.col("cell").cast(pl.String))
    return lines("cell_rest", (*MODULE, "cell"), timed.drop("day")) if days.height else b""


def _daily(table: str) -> Lines:
    """The table's numbers as they are, at noon UTC of the local `day`."""
    named = [name for name, kind in TABLES.get(table, {}).items() if name not in PLACE and kind != pl.String]
    numbers = [name for name in named if name not in {"day", "code_version", "cell", "ts", "from_ts"}]

    def told(frame: pl.DataFrame, sites: Sites) -> bytes:
        return lines(table, MODULE, placed(at_noon(frame), sites).select("ts", *MODULE, *numbers))

    return told


def _both(findings: pl.DataFrame, sites: Sites) -> bytes:
    return finding_lines(findings, sites) + verdict_lines(findings, sites)


DERIVED: dict[str, Lines] = {
    "module_day": module_day_lines,
    "finding": _both,
    "lockout": lockout_lines,
    "anchor": rest_lines,
    "trend": _daily("trend"),
}
"""By table of the night: how it becomes points. Tables that are not here stay in the archive."""
