"""Hand-made readings whose right answers are known, and a store that is a dictionary."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime
from typing import Any

import polars as pl

from pipeline.analyses.dynamics import dynamics
from pipeline.analyses.steps import steps
from pipeline.chemistry import LFP as LFP_CURVE
from pipeline.days import local_day
from pipeline.limits import LFP
from pipeline.schema import READING, TABLES

DAY = date(2026, 6, 1)
MIDNIGHT = int(datetime(2026, 6, 1, tzinfo=UTC).timestamp() * 1000)
MINUTE = 60_000


def reading(at: int, cell_mv: Iterable[int | None] = (), /, **said: Any) -> dict[str, Any]:
    """One reading `at` ms after midnight of DAY; what is not said is as quiet as a battery can be."""
    cells = list(cell_mv)
    ts = MIDNIGHT + at
    row: dict[str, Any] = {
        "stream": "a" * 32,
        "epoch": "b" * 16,
        "seq": at,
        "edge": "e1",
        "site": "barn",
        "stack": "s1",
        "module": "m1",
        "unit": "u1",
        "kind": "module",
        "driver": "jbd",
        "clk": "ntp",
        "ts": ts,
        "arrival_ts": ts + 500,
        "current_ma": 0,
        "soc_pm": 500,
        "full_mah": 100_000,
        "faults": "",
        **{f"c{index:02}": value for index, value in enumerate(cells)},
    }
    if cells:
        row["voltage_mv"] = sum(value or 0 for value in cells)
    row |= said
    return row | {"date": datetime.fromtimestamp(row["ts"] / 1000, UTC).date()}


def frame(rows: Iterable[dict[str, Any]]) -> pl.DataFrame:
    """Readings as the archive gives them."""
    return pl.DataFrame(list(rows), schema=READING)


def lived(rows: Iterable[dict[str, Any]], before: float | None = None) -> pl.LazyFrame:
    """Readings of DAY as the analyses of a day see them; `before`: low-passed current of the evening before, mA."""
    readings = frame(rows)
    carried = readings.select("unit").unique().with_columns(lagged_before=pl.lit(before, pl.Float64))
    return dynamics(steps(readings.lazy(), LFP), carried.lazy(), local_day(DAY, "UTC"), LFP, LFP_CURVE)


class Shelf:
    """The three methods of the archive over a dictionary, for tests of what lies above it."""

    def __init__(self, readings: pl.DataFrame) -> None:
        self.tables = {"reading": readings}
        self.replaced: list[tuple[str, str, date]] = []

    def scan(self, table: str, days: tuple[date, date] | None = None) -> pl.LazyFrame:
        rows = self.tables.get(table, pl.DataFrame(schema=TABLES[table])).lazy()
        return rows if days is None else rows.filter(pl.col("date").is_between(*days))

    def replace(self, table: str, frame: pl.DataFrame, *, where: dict[str, Any]) -> None:
        sites = where["site"] or ()
        self.replaced += [(table, site, where["day"]) for site in sites]
        old = self.scan(table).collect()
        at = pl.col("site").is_in(sites) if sites else pl.col("site").is_null()
        mine = at & (pl.col("day") == where["day"])
        self.tables[table] = pl.concat([old.filter(~mine), frame])

    def append(self, table: str, frame: pl.DataFrame) -> None:
        self.tables[table] = pl.concat([self.scan(table).collect(), frame])
