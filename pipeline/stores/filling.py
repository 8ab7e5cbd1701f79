"""The archive once more as points: into InfluxDB, or into files of line protocol."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import date
from pathlib import Path
from typing import TypeAlias

from cellherd.settings import FleetConfig
from pipeline.stores.archive import Archive
from pipeline.stores.influx import InfluxWriter, refused
from pipeline.stores.refill import points
from pipeline.stores.shares import shares

Wanted: TypeAlias = "tuple[Archive, tuple[date, date], str | None]"
"""From where, which days, and which bucket (None: both)."""


def to_files(fleet: FleetConfig, wanted: Wanted, out: Path) -> int:
    """Into `live.lp` and `nightly.lp`; returns how many points."""
    out.mkdir(parents=True, exist_ok=True)
    (archive, days, only), sites, count = wanted, {site.id: site for site in fleet.site}, 0
    with ExitStack() as stack:
        files = {name: stack.enter_context((out / f"{name}.lp").open("wb")) for name in ("live", "nightly")}
        for bucket, lines in points(archive, sites, days, only):
            files[bucket].write(lines)
            count += lines.count(b"\n")
    return count


def to_influx(fleet: FleetConfig, wanted: Wanted) -> int:
    """Into the InfluxDB that fleet.toml names, each installer's own where there are such; returns how many points."""
    (archive, days, only), count = wanted, 0
    for share in shares(fleet):
        own = share.settings
        buckets, writer = {"live": own.bucket, "nightly": own.derived_bucket}, InfluxWriter(own, refused)
        try:
            for bucket, lines in points(archive, share.sites, days, only):
                writer.write(buckets[bucket], lines)
                count += lines.count(b"\n")
        finally:
            writer.close()
    return count
