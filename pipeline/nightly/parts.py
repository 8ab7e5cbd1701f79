"""A part of the night's work: some sites with the same midnights, read once, made into daily tables and findings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Literal

import polars as pl

from pipeline.analyses.cells import cells
from pipeline.analyses.doubts import doubts
from pipeline.analyses.dynamics import dynamics
from pipeline.analyses.episodes import episodes
from pipeline.analyses.findings import identified
from pipeline.analyses.imbalance import imbalance
from pipeline.analyses.lockouts import lockouts
from pipeline.analyses.mismatch import without_doubles
from pipeline.analyses.since import since
from pipeline.analyses.spread import spread
from pipeline.analyses.standing import standing
from pipeline.analyses.step_sums import step_sums
from pipeline.analyses.steps import in_order, timed
from pipeline.analyses.throughput import throughput
from pipeline.chemistry import chemistry_of
from pipeline.days import LocalDay
from pipeline.limits import LFP, limits_for
from pipeline.nightly.ageing import AGEING, ageing
from pipeline.nightly.estimates import carried, charge_marks, estimates
from pipeline.nightly.locked import Devices, devices, locked
from pipeline.nightly.month import out_of_step
from pipeline.nightly.stacks import metered_today, shared_today
from pipeline.nightly.store import Store, Tables
from pipeline.schema import CELL_COLUMNS, PLACE, TABLES, TEMP_COLUMNS, Schema

CODE_VERSION = 9
"""Raised when the daily tables would come out differently; every night within reach is then worked through again."""
MODULES = 200
"""Modules of a part: about 150 MB in memory at a reading every 10 s."""
HISTORY = timedelta(days=7)
"""How far back earlier findings are looked at."""
ELSEWHERE = ("edge", "stack", "module", "kind")
"""What the roster knows of a (site, unit)."""
READ = (
    *("ts", "arrival_ts", "clk", "voltage_mv", "current_ma", "soc_pm", "soh_pm", "full_mah", "balancing", "faults"),
    *("cell_min_mv", "cell_max_mv", "temp_min_dc", "temp_max_dc"),
)
"""What is read beside the cells and temperatures that the day's modules have."""

MEASURED = (
    *("module_day", "cell_day", "spread_hist", "lockout", "step_sum", "crossing", "anchor", "miscount"),
    "capacity",
    *AGEING,
    "stack_day",
)
ENGINE: dict[str, Literal["streaming"]] = {"module_day": "streaming", "spread_hist": "streaming"}
"""The faster one for these; the others' sums must come out the same to the last bit, and streaming's do not."""
METER: Schema = {**dict.fromkeys(("site", "stack", "unit"), pl.String), "bin": pl.Int64, "meter": pl.Float64}
RUNS: dict[str, pl.DataType | type[pl.DataType]] = {
    **dict.fromkeys(("site", "unit", "fault"), pl.String),
    **dict.fromkeys(("start", "end"), pl.Int64),
}


@dataclass(frozen=True, slots=True)
class About:
    """What the registry knows of a module besides: what it is, since when, and what its maker promises."""

    model: str = ""
    installed: date | None = None
    warranty: str = ""


@dataclass(frozen=True, slots=True)
class Site:
    """A place with batteries, as the night sees it; by (stack, module) what the registry knows of its modules."""

    id: str
    installer: str
    tz: str
    chemistry: Mapping[tuple[str, str], str] = field(default_factory=dict)
    nominal_mah: Mapping[tuple[str, str], int] = field(default_factory=dict)
    about: Mapping[tuple[str, str], About] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Part:
    """The modules that spoke at some sites on a day: numbered by `no` in the roster, which knows who they are."""

    day: LocalDay
    sites: tuple[str, ...]
    readings: pl.LazyFrame
    roster: pl.DataFrame
    meters: pl.DataFrame
    """Of shunts (METER): mA, means of the pieces of time in which modules are held together."""


def parts(store: Store, day: LocalDay, sites: Sequence[Site]) -> Iterator[Part]:
    """The work of one day at sites of one time zone, without tearing a site apart."""
    ids = [site.id for site in sites]
    within = pl.col("ts").is_between(day.start, day.end, closed="left") & pl.col("site").is_in(ids)
    heard = store.scan("reading", day.utc_dates()).filter(within)
    scanned = heard.filter(pl.col("kind") == "module")
    readings = scanned.select("site", "unit", *READ, *_said(scanned))
    places = _places(heard)
    roster = _roster(places.filter(pl.col("kind") == "module"), sites)
    meters = _metered(heard, places)
    heads = dict(roster.group_by("site").len().iter_rows())
    group: list[str] = []
    for site in ids:
        if group and sum(heads.get(s, 0) for s in (*group, site)) > MODULES:
            yield _part(day, group, (readings, meters), roster)
            group = []
        group.append(site)
    if group:
        yield _part(day, group, (readings, meters), roster)


def _part(day: LocalDay, sites: list[str], said: tuple[pl.LazyFrame, pl.DataFrame], roster: pl.DataFrame) -> Part:
    readings, meters = said
    mine = pl.col("site").is_in(sites)
    return Part(day, tuple(sites), readings, roster.filter(mine), meters.filter(mine))


def _said(readings: pl.LazyFrame) -> list[str]:
    """Cell and temperature columns that hold anything today; the others are not read again."""
    counts = readings.select(pl.col(*CELL_COLUMNS, *TEMP_COLUMNS).count()).collect(engine="streaming")
    return [name for name, count in counts.row(0, named=True).items() if count]


def _places(heard: pl.LazyFrame) -> pl.DataFrame:
    """Where modules and shunts were heard, until when."""
    told = heard.filter(pl.col("kind").is_in(["module", "shunt"])).group_by("site", "unit", *ELSEWHERE)
    return told.agg(pl.col("ts").max(), pl.col("arrival_ts").max()).collect(engine="streaming")


def _metered(heard: pl.LazyFrame, places: pl.DataFrame) -> pl.DataFrame:
    """What the shunts read (METER); readings are not looked through for any where there is none."""
    where = places.filter(pl.col("kind") == "shunt")["site"].unique().to_list()
    if not where:
        return pl.DataFrame(schema=METER)
    said = heard.filter((pl.col("kind") == "shunt") & pl.col("site").is_in(where))
    pieces = said.group_by("site", "stack", "unit", bin=pl.col("ts") // LFP.stack.bin_ms)
    return pieces.agg(meter=pl.col("current_ma").mean()).drop_nulls().collect(engine="streaming")


def _roster(places: pl.DataFrame, sites: Sequence[Site]) -> pl.DataFrame:
    newest = pl.col(ELSEWHERE).sort_by("ts").last()
    last = places.lazy().group_by("site", "unit").agg(newest, upto=pl.col("arrival_ts").max())
    known = [
        (site.id, *place, site.chemistry.get(place), site.nominal_mah.get(place), *_about(site, place))
        for site in sites
        for place in {*site.chemistry, *site.nominal_mah, *site.about}
    ]
    texts = dict.fromkeys(("site", "stack", "module", "chemistry"), pl.String)
    schema = {**texts, "rated_mah": pl.Float64, "model": pl.String, "installed": pl.Date, "warranty": pl.String}
    registry = pl.LazyFrame(known, schema=schema, orient="row").with_columns(stack_known=pl.len().over("site", "stack"))
    joined = last.join(registry, on=["site", "stack", "module"], how="left").sort("site", "unit")
    numbered = joined.with_columns(pl.col("chemistry").fill_null("lfp")).with_row_index("no")
    return numbered.collect()


def _about(site: Site, place: tuple[str, str]) -> tuple[str | None, date | None, str | None]:
    about = site.about.get(place, About())
    return about.model or None, about.installed, about.warranty or None


def tables_of(part: Part, store: Store) -> Tables:
    """module_day, cell_day, spread_hist and finding of a part, ready for the archive."""
    said, day = devices(store, part.day, part.sites), part.day.day
    grouped = part.roster.group_by("chemistry", maintain_order=True)
    groups = [_measured(part, group, str(name), said, store) for (name,), group in grouped]
    tables = {name: pl.concat([formed(name, day), *(group[name] for group in groups)]) for name in MEASURED}
    runs = pl.concat([pl.DataFrame(schema=RUNS), *(group["runs"] for group in groups)]).lazy()
    earlier = _earlier(store, part).lazy()
    verdicts = [group["finding"].lazy() for group in groups]
    again = lockouts(runs, earlier, part.day, LFP.lockouts)
    placed = pl.concat([*verdicts, again]).drop(ELSEWHERE).join(_who(part), on=["site", "unit"], how="left")
    dated = identified(placed.with_columns(day=pl.lit(part.day.day)))
    lasting = since(dated, earlier, part.day.day).sort("site", "unit", "analysis", "pattern", "cell")
    return tables | {"finding": formed("finding", part.day.day, lasting.collect())}


def _measured(part: Part, roster: pl.DataFrame, name: str, said: Devices, store: Store) -> Tables:
    """What one chemistry's modules say; their readings are in memory here, and only here."""
    limits, chemistry = limits_for(name), chemistry_of(name)
    numbered = part.readings.join(roster.lazy().select("site", "unit", "no"), on=["site", "unit"])
    named = numbered.drop("site", "unit").rename({"no": "unit"})
    before = carried(store, part.sites, part.day.day, roster)
    ordered = timed(in_order(named.collect(engine="streaming")).lazy(), limits)
    rows = dynamics(ordered, before, part.day, limits, chemistry).collect().lazy()
    doubtful = [doubts(rows, limits), standing(rows, limits)]
    if part.meters.height:
        doubtful.append(metered_today(rows, part.roster, part.meters.lazy(), limits))
    asked = {
        "module_day": _doubted(throughput(rows, part.day, limits), pl.concat(doubtful)),
        "cell_day": cells(rows, limits),
        "spread_hist": spread(rows, limits),
        "runs": episodes(rows, part.day, limits),
        "step_sum": step_sums(rows, limits, chemistry),
    }
    answers = {name: answer.collect(engine=ENGINE.get(name, "in-memory")) for name, answer in asked.items()}
    answers["lockout"] = locked(rows, answers["runs"].lazy(), said, (roster.lazy(), part.day), limits).collect()
    answers["module_day"] = _rated(answers["module_day"], roster)
    answers["stack_day"] = shared_today(rows, roster, answers["module_day"], (limits, chemistry)).collect()
    day, whose = part.day.day, _who(part).collect()
    tables = {name: formed(name, day, _placed(answers[name], part)) for name in MEASURED if name in answers}
    marks = charge_marks(store, day, tables, roster, chemistry)(rows, limits)
    tables |= {name: formed(name, day, _placed(frame, part)) for name, frame in marks.items()}
    held, verdicts, not_closed = estimates(store, day, tables, part.sites, chemistry)
    tables["module_day"] = _doubted(tables["module_day"].lazy(), not_closed.lazy(), ["site", "unit"]).collect()
    aged, outlook = ageing(store, day, tables | held, roster)
    tables |= {n: formed(n, day, f.join(whose, on=["site", "unit"], how="left")) for n, f in (held | aged).items()}
    hist, cell_day, module_day = (tables[name].lazy() for name in ("spread_hist", "cell_day", "module_day"))
    uneven = imbalance(hist, cell_day, module_day, limits).collect()
    runs = _placed(answers["runs"], part).select(*RUNS)
    patterns = out_of_step(store, day, tables, part.sites, (limits, chemistry))
    return {**tables, "runs": runs, "finding": without_doubles(pl.concat([uneven, *verdicts, *outlook, patterns]))}


def _placed(answer: pl.DataFrame, part: Part) -> pl.DataFrame:
    return answer.rename({"unit": "no"}).join(_who(part).collect(), on="no", maintain_order="left")


def _rated(module_day: pl.DataFrame, roster: pl.DataFrame) -> pl.DataFrame:
    """With `nominal_mah`: what the registry says, else what the BMS says, else not known."""
    rated = roster.select(unit="no", rated="rated_mah")
    joined = module_day.join(rated, on="unit", how="left", maintain_order="left")
    return joined.with_columns(nominal_mah=pl.coalesce("rated", pl.col("full_mah").cast(pl.Float64))).drop("rated")


def _doubted(days: pl.LazyFrame, more: pl.LazyFrame, by: str | list[str] = "unit") -> pl.LazyFrame:
    """module_day with the bits of more tests, each of which has bits of its own."""
    summed = more.group_by(by).agg(more=pl.col("dq").sum())
    joined = days.join(summed, on=by, how="left", maintain_order="left")
    return joined.with_columns(dq=pl.col("dq") | pl.col("more").fill_null(0)).drop("more")


def _who(part: Part) -> pl.LazyFrame:
    return part.roster.lazy().select("no", *PLACE)


def formed(table: str, day: date, frame: pl.DataFrame | None = None) -> pl.DataFrame:
    """The columns of a table in their order and types; without a frame its empty form."""
    schema = TABLES[table]
    if frame is None:
        return pl.DataFrame(schema=schema)
    stamped = frame.with_columns(day=pl.lit(day), code_version=pl.lit(CODE_VERSION))
    return stamped.select(pl.col(name).cast(kind) for name, kind in schema.items())


def _earlier(store: Store, part: Part) -> pl.DataFrame:
    before = pl.col("day").is_between(part.day.day - HISTORY, part.day.day, closed="left")
    rows = store.scan("finding").filter(before & pl.col("site").is_in(part.sites) & pl.col("fault").is_not_null())
    return rows.collect()
