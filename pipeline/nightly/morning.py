"""The morning after a night's work: what was found goes to InfluxDB for the dashboards, and to the people concerned."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from cellherd.config import FleetConfig
from pipeline.alerts import Delivered, deliver
from pipeline.alerts.picture import painter
from pipeline.nightly.site_day import Night, Publish, Site
from pipeline.stores.archive import archive_of
from pipeline.stores.derived import DERIVED
from pipeline.stores.errors import StoreAway
from pipeline.stores.influx import InfluxWriter, refused
from pipeline.stores.shares import shares

log = logging.getLogger(__name__)


def to_influx(fleet: FleetConfig) -> Publish | None:
    """A hook for nightly(): its tables into the derived bucket. None where fleet.toml has no [influx].

    A server that is away costs the dashboards a day, not the night's work: it is said, and the next run writes again.
    """
    if fleet.influx is None:
        return None
    writers = [(share, InfluxWriter(share.settings, refused)) for share in shares(fleet)]

    def publish(table: str, frame: pl.DataFrame) -> None:
        if table not in DERIVED:
            return
        for share, writer in writers:
            rows = frame if share.installer is None else frame.filter(pl.col("site").is_in(list(share.sites)))
            try:
                writer.write(share.settings.derived_bucket, DERIVED[table](rows, share.sites))
            except StoreAway as error:
                log.warning("%s is not on the dashboards: %s", table, error)

    return publish


def to_people(nights: Sequence[Night], sites: Sequence[Site], fleet: FleetConfig, state: Path) -> Delivered:
    """Tell whoever is routed to what the nights found, oldest night first, and send what waited from before."""
    draw = painter(archive_of(fleet, state), fleet)
    done = [
        deliver(night.findings, fleet, state, analysed={site.id: night.day for site in sites}, draw=draw)
        for night in nights
    ] or [deliver(pl.DataFrame(), fleet, state, analysed={}, draw=draw)]
    failed = tuple(reason for one in done for reason in one.failed)
    news, sent = sum(one.news for one in done), sum(one.sent for one in done)
    return Delivered(news, sent, done[-1].waiting, failed, done[-1].handed)
