"""The archive once more as points: into InfluxDB, or into files of line protocol."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import date
from pathlib import Path
from typing import TypeAlias

import typer

from cellherd.settings import FleetConfig
from pipeline.stores.archive import Archive
from pipeline.stores.influx import InfluxWriter, refused
from pipeline.stores.refill import points

Wanted: TypeAlias = "tuple[Archive, tuple[date, date], str | None]"
"""From where, which days, and which bucket (None: both)."""


def to_files(fleet: FleetConfig, wanted: Wanted, out: Path) -> None:
    """Into `live.lp` and `nightly.lp`."""
    out.mkdir(parents=True, exist_ok=True)
    (archive, days, only), sites, count = wanted, {site.id: site for site in fleet.site}, 0
    with ExitStack() as stack:
        files = {name: stack.enter_context((out / f"{name}.lp").open("wb")) for name in ("live", "nightly")}
        for bucket, lines in points(archive, sites, days, only):
            files[bucket].write(lines)
            count += lines.count(b"\n")
    typer.echo(f"{out}: {count} points from {days[0]} to {days[1]}")


def to_influx(fleet: FleetConfig, wanted: Wanted) -> None:
    """Into the InfluxDB that fleet.toml names, each installer's own where there are such."""
    influx, count = fleet.influx, 0
    archive, days, only = wanted
    if influx is None:
        return
    for installer in sorted({site.installer for site in fleet.site}) if influx.by_installer() else [None]:
        own = influx.of(installer or "")
        sites = {site.id: site for site in fleet.site if installer in (None, site.installer)}
        buckets, writer = {"live": own.bucket, "nightly": own.derived_bucket}, InfluxWriter(own, refused)
        try:
            for bucket, lines in points(archive, sites, days, only):
                writer.write(buckets[bucket], lines)
                count += lines.count(b"\n")
        finally:
            writer.close()
    typer.echo(f"InfluxDB at {influx.url}: {count} points from {days[0]} to {days[1]}")
