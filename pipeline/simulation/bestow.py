"""Gives a simulated fleet its past: the modules that its archive tells of, aged by the simulator's law."""

from __future__ import annotations

import hashlib
from datetime import date

import polars as pl

from cellherd.errors import CellherdError
from cellherd.settings import FleetConfig
from pipeline.days import date_at
from pipeline.schema import CELL_COLUMNS, PLACE
from pipeline.simulation.past import MET, daily_health, past
from pipeline.stores.archive import Archive


def bestow(fleet: FleetConfig, store: Archive, days: int, seed: int, worn: list[str]) -> int:
    """Write the tables `capacity` and `soh` of the days before. Returns how many modules got a past.

    Raises CellherdError.
    """
    met = _met(store, fleet)
    rows = past(met, days, seed, _rows(met, worn))
    mark = hashlib.sha256(repr((days, seed, worn or None, met.rows())).encode()).hexdigest()[:16]
    for table, frame in {"capacity": rows, "soh": daily_health(rows, met)}.items():
        store.append(table, frame, app_id=f"past-{mark}", version=1)
    return met.height


def _met(store: Archive, fleet: FleetConfig) -> pl.DataFrame:
    """The modules that the archive's readings tell of, in the form MET. Raises CellherdError where there are none."""
    rows = store.scan("reading").filter(pl.col("kind") == "module", pl.col("full_mah") > 0)
    counted = pl.sum_horizontal(pl.col(name).is_not_null() for name in CELL_COLUMNS)
    last = {name: pl.col(name).last() for name in PLACE if name not in ("site", "unit")}
    told = rows.sort("ts").group_by("site", "unit").agg(
        **last, nominal_mah=pl.col("full_mah").last(), cells=counted.max(), first=pl.col("ts").min()
    )  # fmt: skip
    zones = {site.id: site.tz for site in fleet.site}
    seen = told.sort("site", "stack", "module").collect()
    if seen.is_empty():
        raise CellherdError(f"{store.uri} holds no reading of a module yet: let the fleet be read first")
    until: list[date] = [date_at(row["first"], zones.get(row["site"], "UTC")) for row in seen.iter_rows(named=True)]
    return seen.with_columns(until=pl.Series(until)).select(pl.col(name).cast(kind) for name, kind in MET.items())


def _rows(met: pl.DataFrame, worn: list[str]) -> frozenset[int]:
    names = met.select(pl.concat_str("site", "stack", "module", separator="/")).to_series().to_list()
    for name in worn:
        if name not in names:
            raise CellherdError(f"--worn {name}: there is {', '.join(names)}")
    return frozenset(names.index(name) for name in worn)
