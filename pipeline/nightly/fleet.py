"""The night's last step: every module beside the others, from the small tables alone, and the findings written down."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

import polars as pl

from pipeline.analyses.bursts import bursts
from pipeline.analyses.clusters import clusters
from pipeline.analyses.cohorts import cohorts
from pipeline.analyses.features import LONG, UNIT, of_cells, of_days, of_findings, of_spread, out_of_step
from pipeline.analyses.findings import identified
from pipeline.analyses.lockout_causes import lockout_causes
from pipeline.analyses.lockout_fleet import lockout_bursts, lockout_clusters
from pipeline.analyses.lockout_risk import lockout_risk
from pipeline.analyses.near import STATED, near
from pipeline.analyses.ranking import distances, ranking
from pipeline.analyses.recurrence import one_over_midnight, recurrence
from pipeline.analyses.risk import risk
from pipeline.analyses.since import FORGOTTEN, since
from pipeline.analyses.step_sums import exact_mean
from pipeline.analyses.storage import storage
from pipeline.analyses.worklist import worklist
from pipeline.days import local_day
from pipeline.limits import DAY, LFP, Limits
from pipeline.nightly.parts import Site, formed
from pipeline.nightly.stacks import out_of_line
from pipeline.nightly.store import Store
from pipeline.schema import PLACE

LINKS = ("imbalance", "mismatch")
"""Analyses whose findings make another lockout of the same module likelier."""


def in_the_fleet(store: Store, day: date, sites: Sequence[Site], findings: pl.DataFrame) -> pl.DataFrame:
    """The findings of the parts with those that need history or neighbours, ranked, written to the archive."""
    ids = tuple(site.id for site in sites)
    units = _units(store, day, sites).collect().lazy()
    sessions = _sessions(store, day).collect().lazy()
    mine = pl.col("site").is_in(ids)
    shared = out_of_line(store, day, ids, units, LFP.stack).collect()
    known = pl.concat([findings, shared.select(findings.columns)], how="vertical_relaxed")
    more = [*_of_units(store, day, (units, sessions), known, LFP), *_of_fleet(day, units, sessions, LFP)]
    more.append(shared.lazy())
    joined = pl.concat(more).filter(mine | pl.col("site").is_null()).drop(*ELSEWHERE)
    where = units.select(*PLACE)  # also of those that are silent today
    placed = joined.join(where, on=UNIT, how="left", maintain_order="left").with_columns(day=pl.lit(day))
    lasting = formed("finding", day, since(identified(placed), _earlier(store, day), day).collect())
    told = worklist(pl.concat([findings, lasting]).lazy()).sort("site", "unit", "analysis", "pattern", "cell").collect()
    told = formed("finding", day, told)
    store.replace("finding", told.filter(pl.col("site").is_not_null()), where={"site": ids, "day": day})
    store.replace("finding", told.filter(pl.col("site").is_null()), where={"site": None, "day": day})
    return told


ELSEWHERE = ("edge", "stack", "module", "kind")


def _units(store: Store, day: date, sites: Sequence[Site]) -> pl.LazyFrame:
    """Every module of the last year: where it was last, since when it is known, its model, cohort and climate."""
    year = pl.col("day").is_between(day - timedelta(days=LFP.risk.history), day)
    rows = store.scan("module_day").filter(year)
    first = rows.group_by(UNIT).agg(from_day=pl.col("day").min())
    month = rows.filter(pl.col("day") > day - timedelta(days=LFP.cohorts.days)).sort("day")
    last = month.group_by(UNIT).agg(
        pl.col("day", *ELSEWHERE).last(), temp_dc=exact_mean(pl.col("temp_dc_mean")), days=pl.col("day").n_unique()
    )
    kinds = [(s.id, *place, kind) for s in sites for place, kind in s.chemistry.items()]
    schema = dict.fromkeys(("site", "stack", "module", "chemistry"), pl.String)
    registry = pl.LazyFrame(kinds, schema=schema, orient="row")
    installers = pl.LazyFrame([(s.id, s.installer) for s in sites], schema=["site", "installer"], orient="row")
    info = store.scan("device_info", (day - timedelta(days=60), day)).sort("ts")
    said = info.group_by(UNIT).agg(pl.col("model", "firmware").drop_nulls().last())
    known = last.join(first, on=UNIT).join(said, on=UNIT, how="left").join(installers, on="site", how="left")
    named = known.join(registry, on=["site", "stack", "module"], how="left").with_columns(
        age_days=(pl.lit(day) - pl.col("from_day")).dt.total_days(),
        from_ts=pl.col("from_day").cast(pl.Datetime("ms")).dt.epoch("ms"),
    )
    return cohorts(named, LFP.cohorts)


def _sessions(store: Store, day: date) -> pl.LazyFrame:
    year = pl.col("day").is_between(day - timedelta(days=LFP.risk.history), day)
    rows = store.scan("lockout").filter(year)
    return recurrence(one_over_midnight(rows, LFP.lockouts), LFP.lockouts)


def _of_units(
    store: Store,
    day: date,
    known: tuple[pl.LazyFrame, pl.LazyFrame],
    findings: pl.DataFrame,
    limits: Limits,
) -> list[pl.LazyFrame]:
    """Findings about single modules: what locked them out, how likely it comes back, what sets them apart, storage."""
    units, sessions = known
    as_of = local_day(day, "UTC").end
    uneven = findings.lazy().filter((pl.col("status") == "finding") & pl.col("analysis").is_in(LINKS))
    linked = uneven.group_by(UNIT).agg(linked=pl.col("confidence").max())
    warned = units.join(linked, on=UNIT, how="left").join(_near(store, day, limits), on=UNIT, how="left")
    risks = risk(sessions, warned, as_of, limits.risk).collect().lazy()
    month = pl.col("day").is_between(day - timedelta(days=limits.cohorts.days), day, closed="right")
    tables = {name: store.scan(name).filter(month) for name in ("module_day", "cell_day", "spread_hist")}
    features = pl.concat(
        frame.select(LONG)
        for frame in (
            of_days(tables["module_day"]),
            of_cells(tables["cell_day"]),
            of_spread(tables["spread_hist"]),
            of_findings(findings.lazy()),
            out_of_step(findings.lazy()),
            risks.select(*UNIT, feature=pl.lit("lockouts"), value="rate"),
        )
    ).collect()
    apart = distances(features.lazy(), units, limits.cohorts)
    today = sessions.filter(pl.col("day") == day)
    return [
        lockout_causes(today, limits),
        lockout_risk(risks, limits.risk),
        ranking(apart.collect().lazy(), units.filter(pl.col("day") == day), limits.cohorts),
        storage(_standing(store, day, limits), limits.storage),
    ]


def _near(store: Store, day: date, limits: Limits) -> pl.LazyFrame:
    """How often each module came near its stated limits of late."""
    days = (day - timedelta(days=limits.risk.near_days), day)
    recent = pl.col("day").is_between(*days, closed="right")
    kinds = pl.Struct(dict.fromkeys(STATED, pl.Int64))
    info = store.scan("device_info", days).filter(pl.col("limits").is_not_null()).sort("ts")
    said = info.with_columns(pl.col("limits").str.json_decode(kinds)).unnest("limits")
    about = said.group_by(UNIT).agg(pl.col(STATED).drop_nulls().last())
    module_day, cell_day = (store.scan(name).filter(recent) for name in ("module_day", "cell_day"))
    return near(module_day, cell_day, about, limits.risk)


def _standing(store: Store, day: date, limits: Limits) -> pl.LazyFrame:
    """module_day of the last weeks with a capacity, where the table tells one."""
    rows = store.scan("module_day").filter(
        pl.col("day").is_between(day - timedelta(days=limits.storage.days), day, closed="right")
    )
    capacity = pl.col("full_mah") if "full_mah" in rows.collect_schema() else pl.lit(limits.full_mah)
    return rows.with_columns(full_mah=capacity.fill_null(limits.full_mah))


def _of_fleet(day: date, units: pl.LazyFrame, sessions: pl.LazyFrame, limits: Limits) -> list[pl.LazyFrame]:
    as_of = local_day(day, "UTC").end
    watched = units.select(pl.col("from_ts").min()).collect().item()
    days = (as_of - watched) / DAY if watched is not None else 0.0
    exposed = units.with_columns(days=((as_of - pl.col("from_ts")) / DAY))
    return [
        lockout_clusters(clusters(sessions, exposed, limits.risk)),
        lockout_bursts(bursts(sessions, as_of, days, limits.risk)),
    ]


def _earlier(store: Store, day: date) -> pl.LazyFrame:
    recent = pl.col("day").is_between(day - FORGOTTEN, day, closed="left")
    return store.scan("finding").filter(recent)
