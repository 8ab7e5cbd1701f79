"""Whose points go where: all into one pair of InfluxDB buckets, or each installer's into its own."""

from __future__ import annotations

from dataclasses import dataclass

from cellherd.settings import FleetConfig, Influx, Site


@dataclass(frozen=True, slots=True)
class Share:
    """Buckets with their token, and the sites by id whose points they hold. `installer` is None where all share."""

    installer: str | None
    settings: Influx
    sites: dict[str, Site]


def shares(fleet: FleetConfig) -> list[Share]:
    """One for all, or one for each installer that has sites; none where fleet.toml has no [influx]."""
    if fleet.influx is None:
        return []
    if not fleet.influx.by_installer():
        return [Share(None, fleet.influx, {site.id: site for site in fleet.site})]
    return [
        Share(name, fleet.influx.of(name), {site.id: site for site in fleet.site if site.installer == name})
        for name in sorted({site.installer for site in fleet.site})
    ]
