"""`cellherd archive past`: a simulated fleet that was met today is given the year that it would have behind it."""

from __future__ import annotations

import hashlib
from datetime import date
from pathlib import Path
from typing import Annotated

import polars as pl
import typer

from cellherd.config import FleetConfig, load_fleet
from cellherd.errors import CellherdError
from cellherd.paths import default_state
from pipeline.days import date_at
from pipeline.schema import CELL_COLUMNS, PLACE
from pipeline.simulation.past import MET, daily_health, past
from pipeline.stores.archive import Archive


def give(
    config: Annotated[Path, typer.Option(help="fleet.toml", envvar="CELLHERD_CONFIG")] = Path("fleet.toml"),
    state: Annotated[Path | None, typer.Option(help="State folder.")] = None,
    days: Annotated[int, typer.Option(min=30, max=3650, help="How long a past.")] = 365,
    seed: Annotated[int, typer.Option(help="The same seed gives the same past.")] = 7,
    worn: Annotated[
        list[str] | None, typer.Option(help="SITE/STACK/MODULE that ages fast; may be given several times.")
    ] = None,
) -> None:
    """Give a simulated fleet a past: what its cells held in the days before each module's first reading.

    The modules age by the simulator's law (docs/simulation.md) into the tables `capacity` and `soh`, as rows of
    code_version 0. Only for a fleet.toml that says `simulated = true`. Again changes nothing.

    Example: cellherd archive past --config fleet.toml --state server --worn barn/shed/m4
    """
    fleet = load_fleet(config)
    if not fleet.simulated:
        raise CellherdError(
            f"{config} does not say `simulated = true`, and a past is made up for simulated fleets only; "
            "measured data comes in by `cellherd archive import`"
        )
    store = Archive(fleet.archive.uri or str((state or default_state()) / "archive"))
    met = _met(store, fleet)
    rows = past(met, days, seed, _rows(met, worn or []))
    mark = hashlib.sha256(repr((days, seed, worn, met.rows())).encode()).hexdigest()[:16]
    for table, frame in {"capacity": rows, "soh": daily_health(rows, met)}.items():
        store.append(table, frame, app_id=f"past-{mark}", version=1)
    typer.echo(f"{met.height} modules have a past of {days} days, simulated")


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
