"""What the report shows, asked of the archive: each module's state, its two days thinned, its faults, the findings.

Times become the site's wall time (`at`, ms, as if it were UTC), for that is the time an installer lives in.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Protocol, TypeAlias
from zoneinfo import ZoneInfo

import polars as pl

from cellherd.config import FleetConfig
from pipeline.days import local_day
from pipeline.schema import CELL_COLUMNS, TEMP_COLUMNS

Key: TypeAlias = tuple[str, str, str]
"""Site, stack and module."""

KEY = ["site", "stack", "module"]
LINES = ("spread_mv", "current_ma", "soc_pm", *CELL_COLUMNS, *TEMP_COLUMNS)
VALUES = 400_000
"""Numbers on the page, at about three bytes each."""
MOST = 1500
"""Points of one line."""
NOTHING = pl.DataFrame(schema={**dict.fromkeys(KEY, pl.String), "at": pl.Int64, **dict.fromkeys(LINES, pl.Int64)})
SPIKE = 3
"""A bucket that strays from its mean by this many usual widths shows its peak; a quieter one shows its mean."""
LOOK_BACK = timedelta(days=7)
"""A finding older than this is no news."""


class Tables(Protocol):
    """What the report needs of an archive."""

    def scan(self, table: str, days: tuple[date, date] | None = None) -> pl.LazyFrame:
        """Rows of a table, from one UTC date to another."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A fault that stood from `start` to `end` (wall ms)."""

    fault: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class ModuleFacts:
    """One module: its latest values, its curves (columns `at` and LINES, thinned) and its faults."""

    site: str
    stack: str
    module: str
    zone: ZoneInfo
    state: Mapping[str, Any]
    curves: pl.DataFrame
    bars: tuple[Bar, ...]

    @property
    def key(self) -> Key:
        """Site, stack and module."""
        return self.site, self.stack, self.module


def readings(store: Tables, fleet: FleetConfig, day: date) -> pl.LazyFrame:
    """Readings of `day` and the day before in each site's own time, with spread_mv and hottest_dc."""
    spans = {site.id: _span(site.tz, day) for site in fleet.site}
    names = {"site": pl.String, "from_ts": pl.Int64, "to_ts": pl.Int64}
    windows = pl.LazyFrame([(site, *span) for site, span in spans.items()], schema=names, orient="row")
    first, last = _span("UTC", day)  # of sites that nobody registered
    cells, temps = pl.concat_list(CELL_COLUMNS), pl.concat_list(*TEMP_COLUMNS, "temp_max_dc")
    return (
        store.scan("reading", (day - timedelta(days=2), day + timedelta(days=1)))
        .join(windows, on="site", how="left")
        .filter(pl.col("ts") >= pl.col("from_ts").fill_null(first), pl.col("ts") < pl.col("to_ts").fill_null(last))
        .with_columns(spread_mv=cells.list.max() - cells.list.min(), hottest_dc=temps.list.max())
        .sort("ts")
    )


def _span(tz: str, day: date) -> tuple[int, int]:
    return local_day(day - timedelta(days=1), tz).start, local_day(day, tz).end


def states(rows: pl.LazyFrame) -> pl.DataFrame:
    """The latest of everything, one row a module, in the order of their names."""
    latest = ["ts", "kind", "soc_pm", "spread_mv", "hottest_dc", "voltage_mv", "current_ma", "faults"]
    said = [pl.col(name).drop_nulls().last() for name in latest]
    faulty = pl.struct("ts", "faults").filter(pl.col("faults") != "").last()
    worst = pl.col("spread_mv").max().alias("worst_spread_mv")
    asked = rows.group_by(KEY).agg(
        *said, worst, faulty.alias("last_fault"), pl.len().alias("n"), first=pl.col("ts").min()
    )
    return asked.sort(KEY).collect()


def curves(rows: pl.LazyFrame, modules: pl.DataFrame) -> pl.DataFrame:
    """Each line of these modules (a frame with KEY, first, ts), thinned to one point a bucket, no spike lost."""
    if modules.is_empty():
        return NOTHING
    width = _bucket_ms(rows, modules)
    bucket = (pl.col("ts") // width * width + width // 2).alias("at")
    asked = rows.join(modules.lazy().select(KEY), on=KEY, how="semi").group_by(*KEY, bucket)
    return asked.agg(_ends()).select(*KEY, "at", *map(_point, LINES)).sort(*KEY, "at").collect()


def _ends() -> list[pl.Expr]:
    lines = pl.col(LINES)
    return [lines.min().name.prefix("lo_"), lines.max().name.prefix("hi_"), lines.mean().name.prefix("mid_")]


def _point(line: str) -> pl.Expr:
    low, high, mean = (pl.col(f"{end}_{line}") for end in ("lo", "hi", "mid"))
    usual = (high - low).median().over(KEY)
    peak = pl.when(high - mean >= mean - low).then(high).otherwise(low)
    strays = pl.max_horizontal(high - mean, mean - low) > SPIKE * usual
    return pl.when(strays).then(peak).otherwise(mean).round().cast(pl.Int64).alias(line)


def _bucket_ms(rows: pl.LazyFrame, modules: pl.DataFrame) -> int:
    present = rows.select(pl.col(LINES).is_not_null().any()).collect()
    lines: int = sum(present.row(0)) or 1
    points = max(min(MOST, VALUES // (lines * len(modules))), 100)
    span: int = modules.select(pl.col("ts").max() - pl.col("first").min()).item()
    return max(span // points, 1000)


def fault_bars(rows: pl.LazyFrame) -> dict[Key, list[Bar]]:
    """Which faults stood from when to when, by module, from the readings' own words."""
    said = rows.filter(pl.col("faults").is_not_null()).select(*KEY, "ts", "faults")
    changed = said.filter(pl.col("faults").ne_missing(pl.col("faults").shift().over(KEY))).collect()
    ends = {_key(row[:3]): row[3] for row in said.group_by(KEY).agg(pl.col("ts").max()).collect().iter_rows()}
    steps = {_key(key): list(frame.select("ts", "faults").iter_rows()) for key, frame in changed.group_by(KEY)}
    return {key: list(_bars([*found, (ends[key], "")])) for key, found in steps.items()}


def _bars(steps: list[tuple[int, str]]) -> Iterator[Bar]:
    standing: dict[str, int] = {}
    for ts, said in steps:
        now = set(said.split())
        yield from (Bar(fault, standing.pop(fault), ts) for fault in sorted(standing.keys() - now))
        standing.update(dict.fromkeys(now - standing.keys(), ts))


def findings(store: Tables, day: date) -> list[dict[str, Any]]:
    """Findings of each site's latest analysed day, not older than a week, worst first."""
    recent = store.scan("finding").filter(pl.col("day") <= day, pl.col("day") > day - LOOK_BACK)
    latest = recent.filter(pl.col("day") == pl.col("day").max().over("site"), pl.col("status") == "finding")
    return (
        latest.sort(["priority", "rank", "score"], descending=[False, False, True], nulls_last=True)
        .collect()
        .to_dicts()
    )


def limits(store: Tables, day: date) -> dict[Key, dict[str, int]]:
    """The limits that each module stated last, in mV and mA."""
    said = store.scan("device_info", (day - timedelta(days=30), day + timedelta(days=1))).filter(
        pl.col("limits").is_not_null()
    )
    last = said.sort("ts").group_by(KEY).agg(pl.col("limits").last()).collect()
    return {(site, stack, module): json.loads(text) for site, stack, module, text in last.iter_rows()}


def gather(store: Tables, fleet: FleetConfig, day: date, most: int) -> list[ModuleFacts]:
    """Every module that spoke or is registered; curves for the `most` of them with the widest spread."""
    rows = readings(store, fleet, day)
    seen = states(rows)
    shown = seen.sort("worst_spread_mv", descending=True, nulls_last=True).head(most)
    lines = {_key(key): frame for key, frame in curves(rows, shown).group_by(KEY)}
    bars = fault_bars(rows)
    spoken = {_key(row[name] for name in KEY): row for row in seen.iter_rows(named=True)}
    registered: dict[Key, dict[str, Any]] = {(m.site, m.stack, m.id): {} for m in fleet.module}
    found = []
    for key, state in sorted({**registered, **spoken}.items()):
        zone = zone_of(key[0], fleet)
        told = tuple(Bar(bar.fault, wall_ms(bar.start, zone), wall_ms(bar.end, zone)) for bar in bars.get(key, []))
        found.append(ModuleFacts(*key, zone, state, local(lines.get(key, NOTHING), zone), told))
    return found


def _key(parts: Iterable[Any]) -> Key:
    site, stack, module = parts
    return site, stack, module


def zone_of(site: str, fleet: FleetConfig) -> ZoneInfo:
    """A site's time zone; UTC where it is not registered."""
    return ZoneInfo(next((s.tz for s in fleet.site if s.id == site), "UTC"))


def local(curves: pl.DataFrame, zone: ZoneInfo) -> pl.DataFrame:
    """The same with `at` (ms) as the zone's wall clock shows it."""
    at = pl.col("at").cast(pl.Datetime("ms", "UTC")).dt.convert_time_zone(str(zone))
    return curves.with_columns(at.dt.replace_time_zone(None).dt.epoch("ms"))


def wall_ms(ts: int, zone: ZoneInfo) -> int:
    """UTC ms as the wall clock of a zone shows it, in ms as if that were UTC."""
    shown = datetime.fromtimestamp(ts / 1000, zone)
    return int(shown.replace(tzinfo=UTC).timestamp() * 1000)
